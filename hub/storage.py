"""The hub's store, open: the encrypted file, what reads and writes it, and the lock that keeps others out.

Refused: a directory in which no hub was made, and one that another process uses.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

from hub.config import Places
from hub.errors import CommandFailed
from medxz.clock import Clock
from medxz.store.registry import SqliteRegistry
from medxz.store.sqlite import SqliteLog, Workers, open_log
from medxz.store.views.file import ViewsFile
from medxz.work import ThreadWorker

LOCK_WAIT_S: Final = 5.0
_LOCK_POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Storage:
    """The log and the registry, which share a file and its one writer; and the file of what is derived from them."""

    log: SqliteLog
    registry: SqliteRegistry
    views: ViewsFile
    workers: Workers
    places: Places


@asynccontextmanager
async def open_storage(
    places: Places, key: Callable[[], bytes], clock: Clock, *, lock_wait_s: float = LOCK_WAIT_S
) -> AsyncIterator[Storage]:
    """The store under its lock; on leaving, what waits is written and the file is closed.

    `key` is asked for once there is something to open with it. Another command may hold the lock for a moment, which
    is waited for.
    """
    if not places.store.is_file():
        raise CommandFailed(
            f"there is no hub in {places.data}", f"make one: medxz-hub init --data {places.data} --clinic ID"
        )
    give_up_at = clock.monotonic() + lock_wait_s
    with _lock_file(places) as descriptor:
        while not _is_locked(descriptor):
            if clock.monotonic() >= give_up_at:
                raise _in_use(places)
            await clock.sleep(_LOCK_POLL_S)
        workers, deriving = Workers.threads(), ThreadWorker("views")
        try:
            secret = key()
            log, file = await open_log(places.store, secret, clock, workers)
            views = ViewsFile(places.views, secret, deriving)
            try:
                yield Storage(log, SqliteRegistry(file, log, log.wake), views, workers, places)
            finally:
                await log.close()
        finally:
            workers.close()
            deriving.close()


@contextmanager
def locked(places: Places) -> Iterator[None]:
    """Hold the directory, or refuse at once where somebody else does."""
    with _lock_file(places) as descriptor:
        if not _is_locked(descriptor):
            raise _in_use(places)
        yield


@contextmanager
def _lock_file(places: Places) -> Iterator[int]:
    """The file that is locked: the kernel lets go when the process ends, however it ends."""
    try:
        descriptor = os.open(places.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CommandFailed(
            f"{places.lock} can't be opened: {error.strerror}", "run this as the hub's user"
        ) from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _in_use(places: Places) -> CommandFailed:
    return CommandFailed(
        f"another process uses {places.data}",
        "stop that one first, or talk to it: medxz-hub status",
        "in_use",
    )
