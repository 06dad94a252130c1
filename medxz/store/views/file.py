"""The file of a server's views: opened when it is first asked for, and thrown away whenever it is not what it should be.

Missing, damaged, of another schema, of another log: never an error, always a new and empty one. One transaction stays
open until `keep`: what it wrote is seen by those who ask, and pages that many ops change are written once. Losing it,
or the last ones to a power cut, costs reading those ops again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from sqlcipher3 import dbapi2 as sqlcipher

from medxz.errors import StorageFull, StoreError, StoreLocked
from medxz.store.cipher import failure, make_closed, open_database
from medxz.store.views.schema import is_current, make
from medxz.store.views.views import Views
from medxz.work import Worker

T = TypeVar("T")

_CACHE_KIB: Final = 1_024
# Between two checkpoints: a page that many batches change is copied once.
_WAL_PAGES_MAX: Final = 4_000
_WAL_BYTES_MAX: Final = _WAL_PAGES_MAX * 4_096
# What says that the file is not what was written to it, or cannot be read: not that a statement was wrong.
_DAMAGES: Final = {"SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_IOERR", "SQLITE_FORMAT", "SQLITE_CONSTRAINT"}

_FAULTS_OF_A_ROW: Final = (
    "SQLITE_CONSTRAINT",
    "SQLITE_TOOBIG",
    "SQLITE_MISMATCH",
    "SQLITE_RANGE",
    "SQLITE_ERROR",
)


class ViewsLost(Exception):
    """The file was damaged; it has been removed, and the next to ask finds an empty one."""


class ViewsFile:
    """`views.db` beside a log, under the log's key. All of it runs in its own worker."""

    def __init__(self, path: Path, key: bytes | None, worker: Worker) -> None:
        self.path = path
        self._key = key
        self._worker = worker
        self._connection: sqlcipher.Connection | None = None
        self._source: str | None = None

    async def run(self, source: str, fn: Callable[[Views], T]) -> T:
        """Call it with the views of that log; ViewsLost, StorageFull or StoreError where that was not possible."""
        return await self._worker.run(self._run, source, fn)

    async def keep(self) -> None:
        """Write down what was put in so far; StorageFull, StoreError or ViewsLost where that was not possible."""
        await self._worker.run(self._attempt, self._commit)

    async def throw_away(self) -> None:
        await self._worker.run(self._throw_away)

    async def close(self) -> None:
        await self._worker.run(self._close)

    def _run(self, source: str, fn: Callable[[Views], T]) -> T:
        return self._attempt(lambda: fn(Views(self._begun(source))))

    def _attempt(self, act: Callable[[], T]) -> T:
        try:
            return act()
        except sqlcipher.Error as error:
            told = failure(error, self.path)
            if isinstance(told, StorageFull) or not _is_damage(error):
                raise told from None
            self._throw_away()
            raise ViewsLost(str(told)) from None

    def _begun(self, source: str) -> sqlcipher.Connection:
        connection = self._opened(source)
        if not connection.in_transaction:
            connection.execute("BEGIN")
        return connection

    def _commit(self) -> None:
        if self._connection is not None and self._connection.in_transaction:
            self._connection.execute("COMMIT")

    def _opened(self, source: str) -> sqlcipher.Connection:
        if self._connection is not None and self._source == source:
            return self._connection
        self._close()
        connection = self._open()
        if not is_current(connection, source):
            connection.close()
            self._throw_away()
            connection = self._open()
            make(connection, source)
        self._connection, self._source = connection, source
        return connection

    def _open(self) -> sqlcipher.Connection:
        make_closed(self.path)
        try:
            connection = open_database(self.path, self._key)
        except StoreLocked:
            raise
        except StoreError as error:  # another key's, damaged, no database at all
            self._throw_away()
            raise ViewsLost(str(error)) from None
        for pragma in (
            "synchronous = NORMAL",
            f"cache_size = -{_CACHE_KIB}",
            f"wal_autocheckpoint = {_WAL_PAGES_MAX}",
            f"journal_size_limit = {_WAL_BYTES_MAX}",
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        return connection

    def _throw_away(self) -> None:
        self._close()
        for ending in ("", "-wal", "-shm"):
            try:
                self.path.with_name(self.path.name + ending).unlink(missing_ok=True)
            except OSError as error:
                raise StoreError(f"{self.path} can't be removed: {error.strerror}") from None

    def _close(self) -> None:
        if self._connection is not None:
            with suppress(sqlcipher.Error):  # a damaged or full file may not even be closed well
                self._commit()
            with suppress(sqlcipher.Error):
                self._connection.close()
        self._connection = self._source = None


def is_of_the_file(error: Exception) -> bool:
    """Whether it says something of the file or the disk, not of what was to be written."""
    if not isinstance(error, sqlcipher.Error):
        return False
    name = getattr(error, "sqlite_errorname", "") or ""
    return bool(name) and not any(name.startswith(fault) for fault in _FAULTS_OF_A_ROW)


def _is_damage(error: sqlcipher.Error) -> bool:
    name = getattr(error, "sqlite_errorname", "") or ""
    return any(name.startswith(damage) for damage in _DAMAGES)
