"""The authority's tables on PostgreSQL: serializable transactions, run again where another one came between.

A COMMIT is never cut off. Where its answer is lost, the connection is dropped and nobody is told that it failed: the
refusal is Overloaded, and whoever asks again finds what is there.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import asyncpg

from medxz import limits
from medxz.errors import Overloaded, StoreError
from medxz.store.authority.base import Changed, Effects, TryAgain, Tx
from medxz.store.postgres.channel import Channel
from medxz.store.postgres.migrate import migrate
from medxz.store.postgres.pool import Pool

if TYPE_CHECKING:
    from medxz.store.postgres.pool import Connection

T = TypeVar("T")

RUNS_MAX: Final = 12
CHANNEL: Final = "medxz_directory"
_STALE_RUNS: Final = 3
_DELAY_S: Final = 0.005
_DELAY_S_MAX: Final = 0.2

_Isolation = Literal["serializable", "repeatable_read"]

# Somebody else wrote what this one read or wrote. A unique key that is taken is one of these too: those that a caller
# can choose are asked for with ON CONFLICT.
_SQLSTATES: Final = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.UniqueViolationError,
)


class _CameBetween(Exception):
    """This run was for nothing: the next one may do it."""


class PostgresTransactions:
    """`Transactions` (medxz/store/authority/base.py has the promises) over a pool, which is not closed with it."""

    def __init__(self, pool: Pool, random_unit: Callable[[], float] = random.random) -> None:
        """`random_unit` spreads those who met, so that they do not meet again."""
        self._pool: Final = pool
        self._random_unit: Final = random_unit
        self._listeners: Final[list[Changed]] = []

    @property
    def place(self) -> str:
        return self._pool.described

    @property
    def pool(self) -> Pool:
        return self._pool

    async def run(self, fn: Callable[[Tx], Awaitable[T]]) -> T:
        # in a task of its own: where whoever waits is told to come again, the commit is not cut off
        running = asyncio.create_task(self._run(fn), name="decision")
        running.add_done_callback(_look_at)
        try:
            done, _ = await asyncio.wait([running], timeout=limits.COMMIT_S_MAX)
        except asyncio.CancelledError:
            running.cancel()
            await asyncio.wait([running])
            raise
        if not done:
            raise Overloaded(
                f"{self.place} has not acknowledged a commit within {limits.COMMIT_S_MAX} s: its standby may be away; "
                "try again",
                retry_after_s=limits.OVERLOADED_RETRY_S,
            )
        return running.result()

    async def _run(self, fn: Callable[[Tx], Awaitable[T]]) -> T:
        for run in range(RUNS_MAX):
            if run:
                await asyncio.sleep(min(_DELAY_S * 2**run, _DELAY_S_MAX) * self._random_unit())
            try:
                tx, result = await self._once(fn, "serializable", run)
            except _CameBetween:
                continue
            tx.committed()
            await tx.tell(self._listeners)
            return result
        raise Overloaded(
            f"others are writing to the same rows of {self.place}; try again",
            retry_after_s=limits.OVERLOADED_RETRY_S,
        )

    async def read(self, fn: Callable[[Tx], Awaitable[T]]) -> T:
        _, result = await self._once(fn, "repeatable_read", RUNS_MAX)
        return result

    def on_change(self, listener: Changed) -> None:
        self._listeners.append(listener)

    def hints(self, heard: Callable[[str | None], None]) -> Channel:
        return Channel(self._pool, CHANNEL, heard, self._random_unit)

    async def close(self) -> None:
        """Nothing is kept open here."""

    async def _once(
        self, fn: Callable[[Tx], Awaitable[T]], isolation: _Isolation, run: int
    ) -> tuple[_PostgresTx, T]:
        async with self._pool.connection() as connection:
            tx = _PostgresTx(connection, may_be_stale=run < _STALE_RUNS)
            try:
                async with connection.transaction(isolation=isolation, readonly=isolation != "serializable"):
                    result = await fn(tx)
            except (*_SQLSTATES, TryAgain):
                raise _CameBetween from None
            except asyncpg.ReadOnlySQLTransactionError:
                if isolation == "serializable":  # a server that is a standby now
                    raise
                raise StoreError("a reading transaction was asked to write") from None
            return tx, result


class _PostgresTx(Effects):
    def __init__(self, connection: Connection, *, may_be_stale: bool) -> None:
        super().__init__()
        self._connection: Final = connection
        self.may_be_stale: Final = may_be_stale

    async def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self._connection.fetch(sql, *values)]


def _look_at(ended: asyncio.Task[Any]) -> None:
    """What it failed with was told to whoever waited, or concerns nobody any more."""
    if not ended.cancelled():
        ended.exception()


async def open_postgres(pool: Pool) -> PostgresTransactions:
    """Bring the tables up to date, beside others who do the same."""
    await migrate(pool, "authority", resources.files("medxz.store.authority") / "sql" / "postgres")
    return PostgresTransactions(pool)
