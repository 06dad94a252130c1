"""Opening a SQLite file: encrypted where a key is given, plain where none is, and always in the durable mode.

The only SQLite library of a process is sqlcipher3: a second one on the same file unlinks the first one's
write-ahead log, and acknowledged commits with it.
"""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING, Final

from sqlcipher3 import dbapi2 as sqlcipher

from medxz.errors import MedxzError, StorageFull, StoreDamaged, StoreError, StoreKeyWrong, StoreLocked
from medxz.limits import MIB, STORAGE_FULL_RETRY_S
from medxz.store.damage import is_damage
from medxz.store.durable import sync

if TYPE_CHECKING:
    from pathlib import Path

KEY_BYTES: Final = 32
BUSY_TIMEOUT_MS: Final = 5_000
_LOCKED_AGAIN_S: Final = 0.005
_STATEMENTS_CACHED: Final = 64
_NO_ROOM_BYTES: Final = 1 * MIB

# What a blob is bound as where there are many: the driver looks for an adapter for each `bytes` and each `bool`, a
# microsecond long, and takes a `bytearray` and an `int` as they are.
Blob: Final = bytearray


def open_database(
    path: Path, key: bytes | str | None, *, create: bool = False, is_open: bool = False
) -> sqlcipher.Connection:
    """A connection in autocommit mode with WAL, synchronous=FULL and foreign keys on.

    All that can be read by it survives a power cut. `is_open`: by another connection of this process already.

    `key`: 32 bytes are used as they are, a text is a passphrase, None opens a plain file.
    StoreKeyWrong where the file does not open with it; StoreError where there is no file and `create` is off. One that
    is made is closed to others from its first byte on, and what SQLite puts beside it takes its mode from it.
    """
    if create:
        make_closed(path)
    elif not path.exists():
        raise StoreError(f"there is no store at {path}; make one first")
    if not is_open:
        _settle(path)
    connection = sqlcipher.connect(
        str(path), isolation_level=None, check_same_thread=False, cached_statements=_STATEMENTS_CACHED
    )
    try:
        connection.execute("PRAGMA cipher_log_level = NONE").fetchall()
        if key is not None:
            connection.execute(f"PRAGMA key = {_key_literal(key)}").fetchall()
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}").fetchall()
        connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        _write_ahead(connection)
        for pragma in (
            "synchronous = FULL",
            "foreign_keys = ON",
            "trusted_schema = OFF",
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()
    except sqlcipher.DatabaseError as error:
        connection.close()
        if isinstance(error, sqlcipher.OperationalError):
            if "locked" in str(error):
                raise StoreLocked(f"{path} is in use by another process") from None
            raise failure_to_open(error, path) from None
        raise StoreKeyWrong(f"{path} does not open with this key, or is no store") from None
    return connection


def _write_ahead(connection: sqlcipher.Connection) -> None:
    """Turn the write-ahead log on. Where two connections do so at once, SQLite refuses one without waiting: we wait."""
    give_up_at = time.monotonic() + BUSY_TIMEOUT_MS / 1_000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
        except sqlcipher.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() >= give_up_at:
                raise
            time.sleep(_LOCKED_AGAIN_S)
        else:
            return


def make_closed(path: Path) -> None:
    """A file that only its owner reads, where there is none: the driver would make it with the umask's mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise StoreError(f"{path} can't be made: {error.strerror}") from None


def failure(error: sqlcipher.Error | MemoryError, path: Path) -> MedxzError:
    """What an error of the driver means: its own exceptions never leave the store."""
    if "full" in str(error) or shutil.disk_usage(path.parent).free < _NO_ROOM_BYTES:
        return StorageFull(
            "the server's disk is full: nothing of this was stored", retry_after_s=STORAGE_FULL_RETRY_S
        )
    if is_damage(error):
        return StoreDamaged(f"{path} is damaged: {error}")
    return StoreError(f"{path} could not be read or written: {error}")


def failure_to_open(error: sqlcipher.Error | MemoryError, path: Path) -> MedxzError:
    """What an error of the driver means before anything can be read."""
    told = failure(error, path)
    if isinstance(told, StorageFull):
        told = StorageFull(f"the disk is full: there is not even room to open {path}")
        told.hint = "free some space, and start it again"
    return told


def _settle(path: Path) -> None:
    """Bring to the disk what a process committed that died before it had synced it.

    SQLite reads that as committed. Told to others, it must not be lost any more.
    """
    log = path.with_name(path.name + "-wal")
    try:
        if log.stat().st_size:
            for place in (log, log.parent):
                sync(place)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StoreError(f"{log} can't be synced to the disk: {error.strerror}") from None


def _key_literal(key: bytes | str) -> str:
    if isinstance(key, bytes):
        if len(key) != KEY_BYTES:
            raise StoreKeyWrong(f"a raw key has {KEY_BYTES} bytes, not {len(key)}")
        return f"\"x'{key.hex()}'\""
    return "'" + key.replace("'", "''") + "'"
