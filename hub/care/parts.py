"""The parts of a running hub that go on for ever: one that has ended, or that stands still, is begun again.

All of them together, since they hang on each other: the hub ends its serving and begins it in the same process, on the
same port, as it does after damage. Where even that does not come to an end, the process does, and systemd starts it.
Not more often than every ten minutes: what breaks at once again is no chance, and /health says so.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from structlog.typing import FilteringBoundLogger

from medxz.clock import Clock, format_time
from medxz.store.base import LogStore
from medxz.store.views.follower import Follower

# tasks by name, which run from before the hub says that it serves until it stops
OF_EVERY_HUB: Final = frozenset({"views", "refilling", "pages", "certificate", "clock"})
OF_A_CLAIMED_ONE: Final = OF_EVERY_HUB | {"uplink", "neighbours"}
STUCK_S: Final = 300.0
APART_S: Final = 600.0
ENDING_S: Final = 30.0


@dataclass(slots=True)
class Restarts:
    """Of one process: how often a part was begun again, when last, and why."""

    count: int = 0
    last_s: float | None = None
    told: str = ""

    def note(self, why: str, clock: Clock) -> None:
        self.count += 1
        self.last_s = clock.monotonic()
        self.told = f"{why}, at {format_time(clock.now_ms())}"

    def may_again(self, clock: Clock) -> bool:
        return self.last_s is None or clock.monotonic() - self.last_s >= APART_S


@dataclass(slots=True)
class Parts:
    """Those of one serving. `look` now and then; `broken` says which one, and why, once there is one."""

    log: LogStore
    follower: Follower
    clock: Clock
    expected: frozenset[str]
    broken: str | None = None
    _through: int = 0
    _moved_s: float | None = None

    def look(self) -> str | None:
        """What is wrong with a part, if anything is."""
        ended = sorted(self.expected - {task.get_name() for task in asyncio.all_tasks()})
        if ended:
            self.broken = f"{' and '.join(ended)} ended"
        elif self._stands_still():
            self.broken = f"views stood still for {STUCK_S:.0f} s"
        else:
            self.broken = None
        return self.broken

    def _stands_still(self) -> bool:
        now_s, through = self.clock.monotonic(), self.follower.through
        if through != self._through or through >= self.log.last_seq or self._moved_s is None:
            self._through, self._moved_s = through, now_s
        return now_s - self._moved_s >= STUCK_S


@contextmanager
def ending_in_time(say: FilteringBoundLogger) -> Iterator[threading.Event]:
    """Once the event is set, what is left has so long to end; then the process ends as it is."""
    is_ending, has_ended = threading.Event(), threading.Event()

    def watch() -> None:
        is_ending.wait()
        if not has_ended.wait(ENDING_S):
            say.error("not ended in time: the process ends as it is", detail="what was answered is durable")
            os._exit(1)

    threading.Thread(target=watch, name="ending", daemon=True).start()
    try:
        yield is_ending
    finally:
        has_ended.set()
        is_ending.set()
