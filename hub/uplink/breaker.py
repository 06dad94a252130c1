"""Whether it is worth asking the cloud now: after some failures in a row it is left alone for a while.

A person who logs in is told at once that the cloud can't be reached, in place of waiting for what timed out a second
ago. After the while one request is let through; what comes of it decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from medxz.clock import Clock

FAILURES_MAX: Final = 3
OPEN_S: Final = 5.0
OPEN_S_MAX: Final = 15.0


class Breaker:
    """One for everything that asks the same server."""

    def __init__(self, clock: Clock, recovered: Callable[[], None] = lambda: None) -> None:
        """`recovered` is called when a request succeeds after others have failed."""
        self._clock: Final = clock
        self._recovered: Final = recovered
        self._failures = 0
        self._open_until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether to leave it alone. Who finds it closed again after failures goes alone: the others wait on."""
        if self._failures < FAILURES_MAX:
            return False
        now = self._clock.monotonic()
        if now < self._open_until:
            return True
        self._open_until = now + self._open_s()
        return False

    def succeeded(self) -> None:
        had_failed, self._failures = self._failures > 0, 0
        if had_failed:
            self._recovered()

    def failed(self) -> None:
        self._failures += 1
        self._open_until = self._clock.monotonic() + self._open_s()

    def _open_s(self) -> float:
        return min(OPEN_S_MAX, OPEN_S * 2.0 ** min(max(0, self._failures - FAILURES_MAX), 10))
