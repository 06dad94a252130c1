"""A clock whose waits can be cut short: who waits to try again is told when trying is worth it."""

from __future__ import annotations

import asyncio
from typing import Final

from medxz.clock import Clock


class CutShort:
    """The same time as another clock's; `hurry` ends every wait that is under way."""

    def __init__(self, clock: Clock) -> None:
        self._clock: Final = clock
        self._hurried = asyncio.Event()

    def now_ms(self) -> int:
        return self._clock.now_ms()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def hurry(self) -> None:
        self._hurried.set()
        self._hurried = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        waits = [
            asyncio.ensure_future(self._clock.sleep(seconds)),
            asyncio.ensure_future(self._hurried.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
