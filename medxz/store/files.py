"""The file that a server keeps: made, opened, given a new epoch, closed. Log and registry share it, and one writer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Final, Self, TypeVar, TypeVarTuple

from sqlcipher3 import dbapi2 as sqlcipher

from medxz import limits
from medxz.errors import StoreError
from medxz.store.cipher import failure_to_open, open_database
from medxz.store.dictionaries import shipped_dictionary
from medxz.store.migrate import migrate

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# Pages are read once, one after the other: keeping them would only cost memory.
_READING_CACHE_KIB: Final = 256
# What is written lies at the right edge of each tree: a quarter of the usual cache writes as much in as much time.
_WRITING_CACHE_KIB: Final = 2_048

_SQL = resources.files("medxz.store") / "sql"


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose log this is, which server's, and which epoch of it."""

    clinic_id: str
    server_id: str
    epoch: str
    cursor_key: bytes


class LogFile:
    """An open file. `writing` is the one connection that writes; it belongs to the writer's worker."""

    def __init__(self, path: Path, key: bytes | None, writing: sqlcipher.Connection) -> None:
        self.path = path
        self.writing = writing
        self._key = key
        rows = writing.execute(
            "SELECT clinic_id, server_id, epoch, cursor_key, clean_stop FROM log"
        ).fetchall()
        if not rows:
            raise StoreError(
                f"{path} holds no log; it was never made to the end: remove it and make it again"
            )
        self.identity = Identity(*rows[0][:4])
        self.stopped_cleanly = bool(rows[0][4])

    @classmethod
    def create(cls, path: Path, key: bytes | None, identity: Identity) -> None:
        """Make the file of an empty log; StoreError where there is one."""
        if path.exists():
            raise StoreError(f"there is a store at {path} already")
        connection = open_database(path, key, create=True)
        try:
            migrate(connection, _SQL)
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(
                "INSERT INTO log (only_row, clinic_id, server_id, epoch, cursor_key, clean_stop) VALUES (1,?,?,?,?,1)",
                (identity.clinic_id, identity.server_id, identity.epoch, identity.cursor_key),
            )
            connection.execute(
                "INSERT INTO dictionary (first_seq, bytes) VALUES (1, ?)", (shipped_dictionary(),)
            )
            connection.execute("COMMIT")
        except sqlcipher.Error as error:
            raise failure_to_open(error, path) from None
        finally:
            connection.close()

    @classmethod
    def open(cls, path: Path, key: bytes | None) -> Self:
        """Open it for writing, and note in it that it is open: only `close` takes that back."""
        writing = open_database(path, key)
        try:
            migrate(writing, _SQL)
            file = cls(path, key, writing)
            writing.execute("PRAGMA wal_autocheckpoint = 0").fetchall()
            # what it once grew to while somebody read for long is given back when it begins anew
            writing.execute(f"PRAGMA journal_size_limit = {limits.WAL_BYTES_KEPT}").fetchall()
            writing.execute(f"PRAGMA cache_size = -{_WRITING_CACHE_KIB}").fetchall()
            if file.stopped_cleanly:  # else nothing has to be written, and a full disk can be read
                writing.execute("UPDATE log SET clean_stop = 0")
        except BaseException as error:
            writing.close()
            if isinstance(error, sqlcipher.Error):
                raise failure_to_open(error, path) from None
            raise
        return file

    def open_reading(self) -> sqlcipher.Connection:
        """A further connection, which only reads and copies the write-ahead log."""
        connection = open_database(self.path, self._key, is_open=True)
        connection.execute("PRAGMA wal_autocheckpoint = 0").fetchall()
        connection.execute(f"PRAGMA cache_size = -{_READING_CACHE_KIB}").fetchall()
        return connection

    def use(self, fn: Callable[[*Ts], T], *args: *Ts) -> tuple[T, bool]:
        """What it gives, and whether it wrote anything."""
        before = self.writing.total_changes
        told = fn(*args)
        return told, self.writing.total_changes != before

    def begin_epoch(self, epoch: str) -> None:
        self.writing.execute("UPDATE log SET epoch = ?", (epoch,))
        self.identity = replace(self.identity, epoch=epoch)

    def join_clinic(self, clinic_id: str) -> None:
        """Be another clinic's from now on; StoreError where something of this one's is in it."""
        rows = self.writing.execute(
            "SELECT EXISTS (SELECT 1 FROM op) OR EXISTS (SELECT 1 FROM dead_letter)"
        ).fetchall()
        if rows[0][0]:
            raise StoreError(f"{self.path} holds ops of the clinic {self.identity.clinic_id}")
        self.writing.execute("UPDATE log SET clinic_id = ?", (clinic_id,))
        self.identity = replace(self.identity, clinic_id=clinic_id)

    def close(self, *, clean: bool) -> None:
        """Let go of it. Not `clean`, or on a full disk: the next to open it checks every row."""
        # what was acknowledged is durable without it; a connection that met a damaged page says that memory is short
        with suppress(sqlcipher.Error, MemoryError):
            self.writing.execute("UPDATE log SET clean_stop = ?", (clean,))
            self.writing.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self.writing.close()


def copy_wal(connection: sqlcipher.Connection) -> None:
    """As much of the write-ahead log into the file as nobody is reading."""
    with suppress(sqlcipher.OperationalError):  # a full disk: the next checkpoint copies this too
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
