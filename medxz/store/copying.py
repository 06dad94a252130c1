"""A copy of a database that is in use, as it stood at one moment: page by page, while others write on.

The copy has the same key and a salt of its own; it is one file, with no write-ahead log beside it, and what reads it
changes nothing. Refused: a target that is there.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from sqlcipher3 import dbapi2 as sqlcipher

from medxz.errors import StoreDamaged, StoreError, StoreKeyWrong
from medxz.store.cipher import failure, make_closed, open_database
from medxz.store.dictionaries import Dictionaries
from medxz.store.durable import sync
from medxz.store.files import Identity
from medxz.store.reader import Reader
from medxz.store.rows import Beside

PAGES_AT_ONCE: Final = 256
ROWS_AT_ONCE: Final = 500
_STEPS_AT_ONCE: Final = 10_000

Progress = Callable[[int, int], None]
"""So many of so many; what it raises stops the work."""


@dataclass(frozen=True, slots=True)
class LogCopy:
    """A copy of a log's file: whose it is, and how long it is."""

    identity: Identity
    last_seq: int


def copy_database(source: Path, key: bytes, target: Path, progress: Progress) -> None:
    """Copy what is committed when this begins; durable when it returns. Whatever stops it leaves half a target.

    What it holds was not looked at: `check_copy` does.
    """
    if target.exists():
        raise StoreError(f"there is a {target} already")
    with closing(open_database(source, key, is_open=True)) as reading:
        try:
            # one view of it until the end: else each commit would begin the copy anew
            reading.execute("BEGIN").fetchall()
            reading.execute("SELECT count(*) FROM sqlite_master").fetchall()
            _copy(reading, key, target, progress)
        except sqlcipher.Error as error:
            raise failure(error, target) from None
    sync(target)
    sync(target.parent)


def open_log_copy(path: Path, key: bytes) -> LogCopy:
    """What a copy of a log says of itself; StoreKeyWrong or StoreDamaged where it does not open."""
    with closing(_opened(path, key)) as connection:
        try:
            rows = connection.execute("SELECT clinic_id, server_id, epoch, cursor_key FROM log").fetchall()
            [(last_seq,)] = connection.execute("SELECT ifnull(max(seq), 0) FROM op").fetchall()
        except sqlcipher.Error as error:
            raise failure(error, path) from None
    if not rows:
        raise StoreDamaged(f"{path} holds no log")
    return LogCopy(Identity(*rows[0]), last_seq)


def damaged_rows(path: Path, key: bytes, progress: Progress) -> list[int]:
    """Hold each row of a copy of a log against its checksum: those that are not what was written."""
    last_seq, damaged = open_log_copy(path, key).last_seq, list[int]()
    with closing(_opened(path, key)) as connection:
        dictionaries = Dictionaries.load(connection)
    beside = Beside(lambda: _opened(path, key))
    reader = Reader(beside, dictionaries)
    try:
        for first in range(0, last_seq, ROWS_AT_ONCE):
            through = min(first + ROWS_AT_ONCE, last_seq)
            damaged += reader.check(first, through)
            progress(through, last_seq)
    finally:
        beside.close()
    return damaged


def check_copy(path: Path, key: bytes, progress: Progress) -> None:
    """Read all of a copy, as far as anything is in it; StoreKeyWrong or StoreDamaged where it is not well.

    A page of the source that is not what was written is copied as an empty one: that is found here.
    """
    steps, stopped = 0, list[Exception]()

    def went_on() -> int:
        nonlocal steps
        steps += 1
        try:
            progress(steps, 0)
        except Exception as error:  # noqa: BLE001  the driver would swallow it: it is raised below
            stopped.append(error)
        return len(stopped)

    with closing(_opened(path, key)) as connection:
        connection.set_progress_handler(went_on, _STEPS_AT_ONCE)
        try:
            [(verdict, *_), *_] = connection.execute("PRAGMA quick_check(1)").fetchall()
        except sqlcipher.Error as error:
            raise stopped[0] if stopped else failure(error, path) from None
    if verdict != "ok":
        raise StoreDamaged(f"{path} is damaged")


def begin_epoch_in_copy(path: Path, key: bytes, epoch: str, cursor_key: bytes) -> None:
    """Give a copy that is to be a log again an epoch of its own. It is one file still when this returns."""
    with closing(open_database(path, key)) as connection:
        try:
            connection.execute(
                "UPDATE log SET epoch = ?, cursor_key = ?, clean_stop = 1", (epoch, bytearray(cursor_key))
            )
        except sqlcipher.Error as error:
            raise failure(error, path) from None


def _copy(reading: sqlcipher.Connection, key: bytes, target: Path, progress: Progress) -> None:
    make_closed(target)
    with closing(sqlcipher.connect(str(target), isolation_level=None, check_same_thread=False)) as writing:
        _unlock(writing, key)
        # nobody else has it, and half of it is worth nothing: no journal, and one sync at the end
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE"):
            writing.execute(f"PRAGMA {pragma}").fetchall()
        reading.backup(
            writing,
            pages=PAGES_AT_ONCE,
            progress=lambda _status, remaining, total: progress(total - remaining, total),
        )


def _opened(path: Path, key: bytes) -> sqlcipher.Connection:
    """A connection that changes neither the file nor anything beside it."""
    try:
        connection = sqlcipher.connect(
            f"file:{quote(str(path))}?mode=ro&immutable=1",
            uri=True, isolation_level=None, check_same_thread=False,
        )  # fmt: skip
    except sqlcipher.Error as error:
        raise StoreError(f"{path} can't be opened: {error}") from None
    try:
        _unlock(connection, key)
        connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
    except sqlcipher.Error as error:
        connection.close()
        if isinstance(error, sqlcipher.OperationalError):
            raise failure(error, path) from None
        raise StoreKeyWrong(f"{path} does not open with its key, or is damaged") from None
    return connection


def _unlock(connection: sqlcipher.Connection, key: bytes) -> None:
    connection.execute("PRAGMA cipher_log_level = NONE").fetchall()
    connection.execute(f"PRAGMA key = \"x'{key.hex()}'\"").fetchall()
