"""Pages that were read from the file, kept for a while, and the next one read before it is asked for.

What lies before the end of a log never changes, so a page is good for as long as it is kept. Who catches up asks for
one page after the other: the next is read while the last is on its way. Devices that catch up together share them.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from medxz import limits
from medxz.scope import Scope
from medxz.store.base import Page, Position

Place = tuple[Position, int, Scope]


class Pages:
    """A few full pages, newest last, bounded by bytes."""

    def __init__(self, read: Callable[[Position, int, Scope], Awaitable[Page]]) -> None:
        self._read = read
        self._kept: OrderedDict[Place, Page] = OrderedDict()
        self._bytes = 0
        self._ahead: dict[Place, asyncio.Task[Page]] = {}

    async def page(self, after: Position, limit: int, scope: Scope) -> Page:
        """The page after a position; PositionLost, or what else reading raises."""
        place = (after, limit, scope)
        page = self._kept.get(place)
        if page is None:
            coming = self._ahead.pop(place, None)
            page = await coming if coming is not None else await self._read(*place)
            if page.more:
                self._keep(place, page)
        if page.more:
            self._read_ahead((page.end, limit, scope))
        return page

    async def close(self) -> None:
        """End what is being read ahead."""
        for task in self._ahead.values():
            task.cancel()
        await asyncio.gather(*self._ahead.values(), return_exceptions=True)
        self._ahead.clear()

    def _keep(self, place: Place, page: Page) -> None:
        if place not in self._kept:
            self._kept[place] = page
            self._bytes += len(page.ops_json)
        while self._bytes > limits.CACHED_PAGES_BYTES_MAX:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= len(dropped.ops_json)

    def _read_ahead(self, place: Place) -> None:
        if place in self._kept or place in self._ahead or len(self._ahead) >= limits.PAGES_AHEAD_MAX:
            return
        task = self._ahead[place] = asyncio.create_task(self._fetch(place), name="read ahead")
        task.add_done_callback(lambda done: self._arrive(place, done))

    async def _fetch(self, place: Place) -> Page:
        return await self._read(*place)

    def _arrive(self, place: Place, done: asyncio.Task[Page]) -> None:
        """A page that was read ahead is kept if it is full; a failure is met again by who asks for it."""
        if self._ahead.get(place) is done:
            del self._ahead[place]
        if not done.cancelled() and done.exception() is None and done.result().more:
            self._keep(place, done.result())
