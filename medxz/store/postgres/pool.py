"""Connections to a PostgreSQL: a pool that follows a fail-over, and what the driver's errors mean.

The URL may name several hosts; a connection is made to the one that takes writes. What asyncpg raises never leaves the
stores: `Pool.connection` turns it into ours on the way out. Where nobody knows what became of a statement, the
connection is dropped and the answer is Overloaded: whoever asks again is answered by what is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urlsplit

import asyncpg

from medxz.errors import MedxzError, Overloaded, StorageFull, StoreError
from medxz.limits import COMMIT_S_MAX, OVERLOADED_RETRY_S, STORAGE_FULL_RETRY_S

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]

CONNECTIONS_MAX: Final = 16
_CONNECT_S: Final = 10.0
_STATEMENTS_CACHED: Final = 200
# For as long as a connection lasts. A relay that stands still in the middle of a transaction, or is gone without a word,
# would keep others from its clinic: the server ends its session. A statement that runs is never cut off.
SETTINGS: Final = {
    "application_name": "medxz",
    "jit": "off",
    "timezone": "UTC",
    "idle_in_transaction_session_timeout": "30s",
    "tcp_keepalives_idle": "15",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}

DRIVER_ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""Everything that the driver raises where a database does not do what it is asked."""

_GONE: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.TargetServerAttributeNotMatched,
    asyncpg.InterfaceError,
    # what the driver says of a connection that the server has ended, between that word and the end itself
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)


class Pool:
    """The connections of one process to one database."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], url: str, described: str) -> None:
        self._pool = pool
        self._url = url
        self.described: Final = described

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """One connection, for as long as the block lasts. Inside it the driver's errors may be caught as they are.

        A connection that may be broken, or belongs to a server that takes no writes any more, is not used again.
        """
        with self.errors_told():
            async with self._pool.acquire(timeout=COMMIT_S_MAX) as connection:
                try:
                    yield connection
                except (*_GONE, asyncio.CancelledError):
                    connection.terminate()
                    raise

    async def connect(self) -> asyncpg.Connection[asyncpg.Record]:
        """A connection of its own, beside the pool; whoever asked closes it."""
        with self.errors_told():
            return await asyncpg.connect(self._url, **_arguments())

    @contextmanager
    def errors_told(self) -> Iterator[None]:
        """What the driver raises inside becomes ours."""
        try:
            yield
        except DRIVER_ERRORS as error:
            raise failure(error, self.described) from None

    async def close(self) -> None:
        """Let go of every connection, when those who have one have given it back."""
        with self.errors_told():
            await self._pool.close()


async def open_pool(url: str, connections_max: int = CONNECTIONS_MAX) -> Pool:
    """Connect to `postgresql://…`; StoreError where that can't be done, and why."""
    described = describe(url)
    try:
        pool = await asyncpg.create_pool(
            url, min_size=1, max_size=connections_max, reset=_keep, **_arguments()
        )
    except (*DRIVER_ERRORS, ValueError) as error:
        raise StoreError(f"{described} can't be used: {_told(error)}") from None
    return Pool(pool, url, described)


def describe(url: str) -> str:
    """Which database that is, without the password that is in it."""
    parts = urlsplit(url)
    return f"the database {parts.path.lstrip('/') or 'postgres'!r} at {parts.netloc.rpartition('@')[2] or 'this machine'}"


def failure(error: Exception, described: str) -> MedxzError:
    """What an error of the driver means."""
    if isinstance(error, asyncpg.DiskFullError):
        return StorageFull(
            f"the disk of {described} is full: nothing of this was stored", retry_after_s=STORAGE_FULL_RETRY_S
        )
    if isinstance(error, _GONE):
        return Overloaded(
            f"{described} does not answer now; try again ({_told(error)})", retry_after_s=OVERLOADED_RETRY_S
        )
    return StoreError(f"{described} could not be read or written: {_told(error)}")


def _told(error: Exception) -> str:
    """What it says, in one line: its details may hold what was being stored."""
    if isinstance(error, asyncpg.PostgresError):
        # one that the driver raised by itself has no message, and its text holds the value
        return f"{error.sqlstate}: {getattr(error, 'message', type(error).__name__)}"
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def _arguments() -> dict[str, Any]:
    """Nothing here sets a session's state, so that nothing has to be put back; no statement is ever cut off."""
    return {
        "target_session_attrs": "read-write",
        "timeout": _CONNECT_S,
        "statement_cache_size": _STATEMENTS_CACHED,
        "max_cached_statement_lifetime": 0,
        "server_settings": dict(SETTINGS),
    }


async def _keep(connection: object) -> None:
    """The driver would reset a session at each release, which is one round trip more; nobody here changes one."""
