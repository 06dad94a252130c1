"""When each caller last pushed and pulled, since this server started."""

from __future__ import annotations

from medxz.clock import Clock, format_time
from medxz.limits import BUCKETS_MAX


class Seen:
    """Two moments a caller, in memory: a restart forgets them, and nothing hangs on them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pushes: dict[str, int] = {}
        self._pulls: dict[str, int] = {}

    def pushed(self, name: str) -> None:
        self._note(self._pushes, name)

    def pulled(self, name: str) -> None:
        self._note(self._pulls, name)

    def last_push_at(self, name: str) -> str | None:
        moment = self._pushes.get(name)
        return format_time(moment) if moment is not None else None

    def last_pull_at(self, name: str) -> str | None:
        moment = self._pulls.get(name)
        return format_time(moment) if moment is not None else None

    def _note(self, moments: dict[str, int], name: str) -> None:
        if name not in moments and len(moments) >= BUCKETS_MAX:
            del moments[next(iter(moments))]
        moments[name] = self._clock.now_ms()
