"""Keeping views in step for the clinics that are asked for lists, and for a bounded number of them at a time.

A clinic whose views nobody asks for costs no time and no file. Who was asked least lately makes room; its views are
written down, and go on from there when somebody asks again.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from medxz import limits
from medxz.store.views.follower import ASK_WITHIN_S, Follower

if TYPE_CHECKING:
    from medxz.clock import Clock
    from medxz.store.base import LogStore
    from medxz.store.views.file import ViewsFile
    from medxz.store.views.views import Views

T = TypeVar("T")


class Following:
    """Those that run, the one asked least lately first."""

    def __init__(self, running_max: int = limits.FOLLOWERS_MAX) -> None:
        self._max: Final = running_max
        self._running: Final[OrderedDict[FollowerWhenAsked, None]] = OrderedDict()

    @property
    def count(self) -> int:
        return len(self._running)

    async def asked(self, follower: FollowerWhenAsked) -> None:
        """Put it last, and let those rest that are too many, unless somebody waits for them just now."""
        self._running[follower] = None
        self._running.move_to_end(follower)
        if len(self._running) > self._max:
            for idle in [other for other in self._running if not other.is_waited_for]:
                await idle.rest()
                if len(self._running) <= self._max:
                    return

    def forget(self, follower: FollowerWhenAsked) -> None:
        self._running.pop(follower, None)


class FollowerWhenAsked(Follower):
    """A follower that begins with the first question."""

    def __init__(
        self, log: LogStore, file: ViewsFile, clock: Clock, tell: Callable[[str], None], following: Following
    ) -> None:
        super().__init__(log, file, clock, tell)
        self._following: Final = following
        self._turn: Final = asyncio.Lock()
        self._runs = False
        self._waiting = 0

    @property
    def is_waited_for(self) -> bool:
        return self._waiting > 0

    async def ask(
        self, query: Callable[[Views], T], within_s: float = ASK_WITHIN_S, *, seq: int | None = None
    ) -> T:
        async with self._running():
            return await super().ask(query, within_s, seq=seq)

    async def caught_up(self, seq: int, within_s: float) -> bool:
        async with self._running():
            return await super().caught_up(seq, within_s)

    async def rest(self) -> None:
        """Write down what was taken in, and let go of the file; the next question begins it again."""
        async with self._turn:
            if self._runs and not self.is_waited_for:
                await self.close()

    async def close(self) -> None:
        self._runs = False
        self._following.forget(self)
        await super().close()

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        self._waiting += 1
        try:
            async with self._turn:  # it may be on its way to rest
                if not self._runs:
                    self._runs = True
                    self.start()
            await self._following.asked(self)
            yield
        finally:
            self._waiting -= 1
