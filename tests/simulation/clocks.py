"""The clock of one machine: it may be wrong, drift, jump and run backwards, and begins anew with each boot.

Everything is reckoned from the loop's virtual time. Only the time of day jumps: what is monotonic drifts, and no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

BEGIN_MS: Final = 1_893_456_000_000
"""2030-01-01: the time of day when a world begins."""


class SimClock:
    """`now_s` is the loop's time, the same for everybody."""

    def __init__(self, now_s: Callable[[], float], begin_ms: int = BEGIN_MS) -> None:
        self._now_s = now_s
        self._rate = 1.0
        self._since_s = now_s()  # of the loop, when the two below were so
        self._ms = float(begin_ms + self._since_s * 1_000)
        self._monotonic_s = 0.0

    def now_ms(self) -> int:
        return int(self._ms + self._passed_s() * 1_000)

    def monotonic(self) -> float:
        return self._monotonic_s + self._passed_s()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._rate)

    @property
    def error_ms(self) -> int:
        """How far it is off what the world began with."""
        return self.now_ms() - int(BEGIN_MS + self._now_s() * 1_000)

    def jump(self, ms: int) -> None:
        """On, or back, by so much."""
        self._ms += ms

    def set(self, ms: int) -> None:
        """To this time of day."""
        self._settle()
        self._ms = float(ms)

    def right(self) -> None:
        """To the world's time of day, without drift."""
        self.drift(0)
        self._ms = float(BEGIN_MS + self._now_s() * 1_000)

    def drift(self, ppm: float) -> None:
        """From now on it is so much too fast."""
        self._settle()
        self._rate = 1 + ppm / 1e6

    def boot(self) -> None:
        """What is monotonic begins anew."""
        self._settle()
        self._monotonic_s = 0.0

    def _passed_s(self) -> float:
        return (self._now_s() - self._since_s) * self._rate

    def _settle(self) -> None:
        passed_s = self._passed_s()
        self._ms += passed_s * 1_000
        self._monotonic_s += passed_s
        self._since_s = self._now_s()
