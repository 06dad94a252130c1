"""A clock that a test moves: who sleeps wakes when his time has come, in the order of these times."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count

from tests.making import NOON_MS

TURNS = 60  # of the loop, for what a waking sets off


class TickClock:
    """Time passes in `pass_by` alone."""

    def __init__(self) -> None:
        self.now = 0.0
        self._sleeping: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = count()

    def now_ms(self) -> int:
        return NOON_MS + round(self.now * 1_000)

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        waking = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleeping, (self.now + seconds, next(self._numbers), waking))
        await waking

    async def pass_by(self, seconds: float) -> None:
        end = self.now + seconds
        await settled()
        while self._sleeping and self._sleeping[0][0] <= end:
            due, _, waking = heapq.heappop(self._sleeping)
            self.now = max(self.now, due)
            if not waking.done():
                waking.set_result(None)
                await settled()
        self.now = end
        await settled()


async def settled() -> None:
    """Everything that can go on without time has."""
    for _ in range(TURNS):
        await asyncio.sleep(0)
