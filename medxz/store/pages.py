"""Pages that were read from the file, kept for a while, and the next one read before it is asked for.

What lies before the end of a log never changes, so a page is good for as long as it is kept. Who catches up asks for
one page after the other: the next is read while the last is on its way. Devices that catch up together share them.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from medxz import limits
from medxz.scope import Scope
from medxz.store.base import Page, Position

Place = tuple[Position, int, Scope]


@dataclass(frozen=True, slots=True)
class _Coming:
    """A page that is being read, and how long the log was when that began."""

    task: asyncio.Task[Page]
    last_seq: int


class Pages:
    """A few full pages, newest last, bounded by bytes; and those that are being read, once for all who ask."""

    def __init__(
        self, read: Callable[[Position, int, Scope], Awaitable[Page]], last_seq: Callable[[], int]
    ) -> None:
        self._read = read
        self._last_seq = last_seq
        self._kept: OrderedDict[Place, Page] = OrderedDict()
        self._bytes = 0
        self._coming: dict[Place, _Coming] = {}

    async def page(self, after: Position, limit: int, scope: Scope) -> Page:
        """The page after a position; PositionLost, or what else reading raises."""
        place = (after, limit, scope)
        page = self._kept.get(place) or await self._fetch(place)
        if page.more and len(self._coming) < limits.PAGES_AHEAD_MAX:
            following = (page.end, limit, scope)
            if following not in self._kept:
                self._begin(following)
        return page

    async def close(self) -> None:
        """End what is being read."""
        tasks = [coming.task for coming in self._coming.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _fetch(self, place: Place) -> Page:
        """Read a page, or wait for one who does. A last page, read when the log was shorter, is no answer."""
        asked_at = self._last_seq()
        while True:
            coming = self._begin(place)
            page = await asyncio.shield(coming.task)
            if page.more or coming.last_seq >= asked_at:
                return page

    def _begin(self, place: Place) -> _Coming:
        coming = self._coming.get(place)
        if coming is None:
            task = asyncio.create_task(self._read_page(place), name="read a page")
            coming = self._coming[place] = _Coming(task, self._last_seq())
            task.add_done_callback(lambda done: self._arrive(place, done))
        return coming

    async def _read_page(self, place: Place) -> Page:
        return await self._read(*place)

    def _arrive(self, place: Place, done: asyncio.Task[Page]) -> None:
        """Only a full page is kept: the last one grows. A failure is told to who asked, and met again by the next."""
        del self._coming[place]
        if not done.cancelled() and done.exception() is None and done.result().more:
            self._keep(place, done.result())

    def _keep(self, place: Place, page: Page) -> None:
        if place not in self._kept:
            self._kept[place] = page
            self._bytes += len(page.ops_json)
        while self._bytes > limits.CACHED_PAGES_BYTES_MAX:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= len(dropped.ops_json)
