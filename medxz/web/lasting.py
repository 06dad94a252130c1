"""Requests that may last: streams, live lines, snapshots, and pulls that wait. How many there may be, and how they end.

They end when their client has gone, which aiohttp by itself would notice at the next write only, and when the
server stops, which waits for them otherwise.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from medxz import limits
from medxz.errors import Overloaded, RateLimited
from medxz.web.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aiohttp import web


class ServerStops(Exception):
    """The request is to be ended kindly: the server stops."""


class Lasting:
    """The lasting requests of one server."""

    def __init__(self, streams_max: int = limits.STREAMS_MAX) -> None:
        self._streams_max = streams_max
        self._tasks: set[asyncio.Task[object]] = set()
        self._streams: Counter[tuple[str, str]] = Counter()
        self._lines: Counter[tuple[str, str]] = Counter()
        self._snapshots = 0
        self._stop = asyncio.Event()

    @property
    def streams(self) -> int:
        return self._streams.total()

    @contextmanager
    def stream_slot(self, owner: tuple[str, str]) -> Iterator[None]:
        """One of the streams that there may be, in all and for one owner."""
        if self._streams.total() >= self._streams_max:
            raise Overloaded("every stream is taken", retry_after_s=limits.STORAGE_FULL_RETRY_S)
        if self._streams[owner] >= limits.STREAMS_PER_DEVICE_MAX:
            raise RateLimited(
                f"a device has at most {limits.STREAMS_PER_DEVICE_MAX} streams",
                retry_after_s=limits.STREAM_PING_S,
            )
        with _counted(self._streams, owner):
            yield

    @contextmanager
    def line_slot(self, owner: tuple[str, str]) -> Iterator[None]:
        """One of the live lines that there may be, in all and for one owner."""
        if self._lines.total() >= limits.LIVE_LINES_MAX:
            raise Overloaded("every live line is taken", retry_after_s=limits.STORAGE_FULL_RETRY_S)
        if self._lines[owner] >= limits.LIVE_LINES_PER_HUB_MAX:
            raise RateLimited(
                f"a hub has at most {limits.LIVE_LINES_PER_HUB_MAX} live lines",
                retry_after_s=limits.STORAGE_FULL_RETRY_S,
            )
        with _counted(self._lines, owner):
            yield

    @contextmanager
    def snapshot_slot(self) -> Iterator[None]:
        """One of the snapshots that may be on their way at once."""
        if self._snapshots >= limits.SNAPSHOTS_MAX:
            raise Overloaded("enough snapshots are on their way", retry_after_s=limits.SNAPSHOT_RETRY_S)
        self._snapshots += 1
        try:
            yield
        finally:
            self._snapshots -= 1

    @contextmanager
    def held(self, request: web.BaseRequest) -> Iterator[None]:
        """While inside, a client that goes cancels this task, and a server that stops raises ServerStops."""
        if self._stop.is_set():
            raise ServerStops
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        forget = _when_gone(request, task)
        try:
            yield
        except asyncio.CancelledError:
            if not self._stop.is_set():
                raise
            task.uncancel()
            raise ServerStops from None
        finally:
            self._tasks.discard(task)
            forget()

    def stop(self) -> None:
        """End them all, and let none begin."""
        self._stop.set()
        for task in self._tasks:
            task.cancel()


@contextmanager
def _counted(counter: Counter[tuple[str, str]], owner: tuple[str, str]) -> Iterator[None]:
    counter[owner] += 1
    try:
        yield
    finally:
        counter[owner] -= 1
        if not counter[owner]:
            del counter[owner]


def _when_gone(request: web.BaseRequest, task: asyncio.Task[object]) -> Callable[[], None]:
    connection = request.protocol
    assert isinstance(connection, Connection), "every connection here is one of ours"
    return connection.when_lost(task.cancel)
