"""The hub's store, open: the encrypted file, what reads and writes it, and the lock that keeps others out.

Refused: a directory in which no hub was made, and one that another process uses.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

import msgspec

from hub.clock import HubClock
from hub.config import HubPlaces
from medxz.clock import Clock, parse_time
from medxz.op import Operation
from medxz.program.errors import CommandFailed
from medxz.program.lock import LOCK_WAIT_S, lock_held, lock_held_now
from medxz.store.authority.secrets import Seal
from medxz.store.authority.sqlite import SqliteTransactions, open_sqlite
from medxz.store.files import LogFile
from medxz.store.passed import PassedSessions
from medxz.store.registry import SqliteRegistry
from medxz.store.sqlite import SqliteLog, Workers, open_log
from medxz.store.views.file import ViewsFile
from medxz.work import ThreadWorker

_IN_USE: Final = "stop that one first, or talk to it: medxz-hub status"


@dataclass(frozen=True, slots=True)
class Storage:
    """The log and the registry, which share a file and its one writer; and the file of what is derived from them."""

    log: SqliteLog
    registry: SqliteRegistry
    sessions: PassedSessions
    file: LogFile
    views: ViewsFile
    workers: Workers
    places: HubPlaces
    clock: HubClock
    open_audit: Callable[[], Awaitable[SqliteTransactions]]
    seal: Callable[[], Seal]


@asynccontextmanager
async def open_storage(
    places: HubPlaces, key: Callable[[], bytes], clock: Clock, *, lock_wait_s: float = LOCK_WAIT_S
) -> AsyncIterator[Storage]:
    """The store under its lock; on leaving, what waits is written and the file is closed.

    `clock` is the machine's, or the hub's over it, which goes on from where this store says. `key` is asked for once there is something to open with it. Another command may hold the lock for a moment, which
    is waited for.
    """
    if not places.store.is_file():
        raise CommandFailed(
            f"there is no hub in {places.data}", f"make one: medxz-hub init --data {places.data} --clinic ID"
        )
    clock = clock if isinstance(clock, HubClock) else HubClock(clock)
    async with lock_held(places.lock, clock, wait_s=lock_wait_s, hint=_IN_USE):
        workers, deriving = Workers.threads(), ThreadWorker("views")
        try:
            secret = key()
            log, file = await open_log(places.store, secret, clock, workers)
            views = ViewsFile(places.views, secret, deriving)
            try:
                registry, sessions = SqliteRegistry(file, log, log.wake), PassedSessions(file, log)
                await clock.begin(registry, await _last_received_ms(log))
                yield Storage(
                    log,
                    registry,
                    sessions,
                    file,
                    views,
                    workers,
                    places,
                    clock,
                    lambda: open_sqlite(places.audit, secret, ThreadWorker("audit")),
                    lambda: Seal(secret),
                )
                await clock.try_to_keep()
            finally:
                await log.close()
        finally:
            workers.close()
            deriving.close()


async def _last_received_ms(log: SqliteLog) -> int:
    """When the newest op came; 0 where there is none."""
    found = await log.ops_after(log.last_seq - 1, 1) if log.last_seq else []
    received = [msgspec.json.decode(text, type=Operation).server_received_at for text in found]
    return max((parse_time(text) for text in received if text is not None), default=0)


@contextmanager
def locked(places: HubPlaces) -> Iterator[None]:
    """Hold the directory, or refuse at once where somebody else does."""
    with lock_held_now(places.lock, _IN_USE):
        yield
