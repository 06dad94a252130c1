"""Token buckets: how many requests and ops one device may send before it is asked to wait."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Protocol

from medxz import limits
from medxz.clock import Clock
from medxz.errors import RateLimited


class Counted(Protocol):
    """Whoever asks."""

    @property
    def owner(self) -> tuple[str, str]:
        """What it is counted under."""
        ...


@dataclass(frozen=True, slots=True)
class Rates:
    """What a device may send in a second, and at once after a rest."""

    requests_per_s: float = limits.REQUESTS_PER_S
    requests_burst: float = limits.REQUESTS_BURST
    ops_per_s: float = limits.OPS_PER_S
    ops_burst: float = limits.OPS_BURST


class _Buckets:
    """One bucket a name; those that were forgotten are full again."""

    def __init__(self, what: str, per_s: float, burst: float, clock: Clock) -> None:
        self._what: Final = what
        self._per_s: Final = per_s
        self._burst: Final = burst
        self._clock: Final = clock
        self._buckets: dict[tuple[str, str], tuple[float, float]] = {}

    def take(self, name: tuple[str, str], amount: int) -> None:
        now = self._clock.monotonic()
        level, since = self._buckets.get(name, (self._burst, now))
        level = min(self._burst, level + (now - since) * self._per_s)
        if level < amount and level < self._burst:
            wait_s = math.ceil((min(amount, self._burst) - level) / self._per_s)
            raise RateLimited(
                f"this device may send {self._per_s:g} {self._what} a second", retry_after_s=max(1, wait_s)
            )
        while name not in self._buckets and len(self._buckets) >= limits.BUCKETS_MAX:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[name] = (level - amount, now)


class Throttle:
    """RateLimited, with the time to wait, for who sends too much."""

    def __init__(self, rates: Rates, clock: Clock) -> None:
        self._requests = _Buckets("requests", rates.requests_per_s, rates.requests_burst, clock)
        self._ops = _Buckets("operations", rates.ops_per_s, rates.ops_burst, clock)

    def take_request(self, caller: Counted) -> None:
        self._requests.take(caller.owner, 1)

    def take_ops(self, caller: Counted, count: int) -> None:
        self._ops.take(caller.owner, count)
