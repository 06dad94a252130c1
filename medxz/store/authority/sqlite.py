"""The authority's tables in a SQLite file, which several processes may have open: a command beside a running cloud.

One transaction at a time in this process; the others of the machine are waited for, up to the driver's busy timeout.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlcipher3 import dbapi2 as sqlcipher

from medxz.errors import MedxzError, Overloaded
from medxz.limits import OVERLOADED_RETRY_S
from medxz.store.authority.base import Changed, Effects, Tx
from medxz.store.cipher import failure, failure_to_open, open_database
from medxz.store.damage import Damage
from medxz.store.migrate import migrate
from medxz.store.shape import Shape, shape_of
from medxz.work import Worker

T = TypeVar("T")
# of its pages, kept in memory: the driver's own default is 8 MiB, which an audit that is only added to fills for nothing
_CACHE_KIB: Final = 1_024


class SqliteTransactions:
    """`Transactions` (medxz/store/authority/base.py has the promises) in a file. Made by `open_sqlite`."""

    def __init__(
        self, path: Path, connection: sqlcipher.Connection, worker: Worker, damage: Damage | None = None
    ) -> None:
        """`worker` is this object's own, and closed with it; `damage` is told of whatever damage is met."""
        self._damage: Final = damage or Damage()
        self._path: Final = path
        self._connection: Final = connection
        self._worker: Final = worker
        self._turn: Final = asyncio.Lock()
        self._listeners: Final[list[Changed]] = []

    @property
    def place(self) -> str:
        return str(self._path)

    async def run(self, fn: Callable[[Tx], Awaitable[T]]) -> T:
        return await self._transaction(_begin, fn)

    async def read(self, fn: Callable[[Tx], Awaitable[T]]) -> T:
        return await self._transaction(_begin_reading, fn)

    def on_change(self, listener: Changed) -> None:
        self._listeners.append(listener)

    def hints(self, heard: Callable[[str | None], None]) -> None:
        """Other processes of this machine tell nothing."""

    async def shape(self) -> Shape:
        """How the file is laid out, for whoever may have to read it when it is damaged."""
        async with self._turn:
            with _told(self._path, self._damage):
                return await self._worker.run(shape_of, self._connection)

    async def close(self) -> None:
        async with self._turn:
            await self._worker.run(self._connection.close)
        self._worker.close()

    async def _transaction(
        self, begin: Callable[[sqlcipher.Connection], None], fn: Callable[[Tx], Awaitable[T]]
    ) -> T:
        tx = _SqliteTx(self._connection, self._worker)
        async with self._turn:
            with _told(self._path, self._damage):
                try:
                    await self._worker.run(begin, self._connection)
                    result = await fn(tx)
                    await self._commit(tx)
                except BaseException:
                    # one worker runs all in order: this is done before the next transaction begins, whoever waits
                    await asyncio.shield(self._worker.run(_abandon, self._connection))
                    raise
        await tx.tell(self._listeners)  # who may well begin a transaction
        return result

    async def _commit(self, tx: _SqliteTx) -> None:
        """Whoever stops waiting does not stop it, nor what comes of it: nobody else here would be told."""
        commit = asyncio.ensure_future(self._worker.run(_end, self._connection))
        try:
            await asyncio.shield(commit)
        except asyncio.CancelledError:
            await commit
            tx.committed()
            raise
        tx.committed()


class _SqliteTx(Effects):
    may_be_stale = False

    def __init__(self, connection: sqlcipher.Connection, worker: Worker) -> None:
        super().__init__()
        self._connection: Final = connection
        self._worker: Final = worker

    async def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return await self._worker.run(_execute, self._connection, sql, values)


async def open_sqlite(
    path: Path, key: bytes | None, worker: Worker, damage: Damage | None = None
) -> SqliteTransactions:
    """Open the file, which is made where there is none, and bring its tables up to date."""
    return SqliteTransactions(path, await worker.run(_open, path, key), worker, damage)


def make_sqlite(path: Path, key: bytes | None) -> None:
    """A new file with empty tables, closed again."""
    _open(path, key).close()


def _open(path: Path, key: bytes | None) -> sqlcipher.Connection:
    connection = open_database(path, key, create=True)
    try:
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}").fetchall()
        migrate(connection, resources.files("medxz.store.authority") / "sql" / "sqlite")
    except sqlcipher.Error as error:
        connection.close()
        raise failure_to_open(error, path) from None
    except BaseException:
        connection.close()
        raise
    return connection


def _execute(connection: sqlcipher.Connection, sql: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = connection.execute(_numbered(sql), values).fetchall()
    return rows


@lru_cache(maxsize=1_000)
def _numbered(sql: str) -> str:
    """`$1` is a name to SQLite, which would count it where it first stands; `?1` is the first value."""
    return sql.replace("$", "?")


def _begin(connection: sqlcipher.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")


def _begin_reading(connection: sqlcipher.Connection) -> None:
    """PostgreSQL refuses to write in such a transaction, so this does too."""
    connection.execute("PRAGMA query_only = ON")
    connection.execute("BEGIN")


def _end(connection: sqlcipher.Connection) -> None:
    connection.execute("COMMIT")
    connection.execute("PRAGMA query_only = OFF")


def _abandon(connection: sqlcipher.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")
    connection.execute("PRAGMA query_only = OFF")


@contextmanager
def _told(path: Path, damage: Damage) -> Iterator[None]:
    """The driver's exceptions never leave the store."""
    try:
        with damage.watching(path, "reading or writing"):
            yield
    except sqlcipher.Error as error:
        raise _failure(error, path) from None


def _failure(error: sqlcipher.Error, path: Path) -> MedxzError:
    if isinstance(error, sqlcipher.OperationalError) and "locked" in str(error):
        return Overloaded(f"another process is writing to {path.name}", retry_after_s=OVERLOADED_RETRY_S)
    return failure(error, path)
