"""The hub's store, open: the encrypted file, what reads and writes it, and the lock that keeps others out.

Refused: a directory in which no hub was made, and one that another process uses.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from hub.config import Places
from hub.errors import CommandFailed
from medxz.clock import Clock
from medxz.store.registry import SqliteRegistry
from medxz.store.sqlite import SqliteLog, Workers, open_log


@dataclass(frozen=True, slots=True)
class Storage:
    """The log and the registry, which share a file and its one writer."""

    log: SqliteLog
    registry: SqliteRegistry
    workers: Workers


@asynccontextmanager
async def open_storage(places: Places, key: Callable[[], bytes], clock: Clock) -> AsyncIterator[Storage]:
    """The store under its lock; on leaving, what waits is written and the file is closed.

    `key` is asked for once there is something to open with it.
    """
    if not places.store.is_file():
        raise CommandFailed(
            f"there is no hub in {places.data}", f"make one: medxz-hub init --data {places.data} --clinic ID"
        )
    with locked(places):
        workers = Workers.threads()
        try:
            log, file = await open_log(places.store, key(), clock, workers)
            try:
                yield Storage(log, SqliteRegistry(file, log, log.wake), workers)
            finally:
                await log.close()
        finally:
            workers.close()


@contextmanager
def locked(places: Places) -> Iterator[None]:
    """Hold the directory: the kernel lets go when the process ends, however it ends."""
    try:
        descriptor = os.open(places.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CommandFailed(
            f"{places.lock} can't be opened: {error.strerror}", "run this as the hub's user"
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise CommandFailed(
            f"another process uses {places.data}",
            "stop that one first, or talk to it: medxz-hub status",
            "in_use",
        ) from None
    try:
        yield
    finally:
        os.close(descriptor)
