"""Time: the clock that is handed in, and the one text that the protocol has for a moment.

Nothing in the library reads the machine's clock but `SystemClock`. Whoever needs time takes a `Clock`.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Protocol, runtime_checkable

TIME_PATTERN = r"[0-9]{4}-[01][0-9]-[0-3][0-9]T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{3}Z"
_TIME = re.compile(TIME_PATTERN)


class Clock(Protocol):
    """What time it is, how long something took, and waiting."""

    def now_ms(self) -> int:
        """Milliseconds since 1970 by this machine's reckoning; it may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards; only differences mean anything."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let that much of this clock's time go by."""
        ...


@runtime_checkable
class Doubting(Protocol):
    """A clock that may be behind, and knows it: now is no earlier than it says, and no later than `latest_ms`."""

    def latest_ms(self) -> int: ...


def latest_of(clock: Clock) -> Callable[[], int]:
    """The latest moment that now can be. What has ended is judged by `now_ms`, what has not begun by this."""
    return clock.latest_ms if isinstance(clock, Doubting) else clock.now_ms


def has_doubts(clock: Clock) -> bool:
    """Whether now may be much later than this clock says."""
    return latest_of(clock)() - clock.now_ms() > 60_000


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def format_time(moment_ms: int) -> str:
    """`YYYY-MM-DDTHH:MM:SS.sssZ` of milliseconds since 1970."""
    seconds, millis = divmod(moment_ms, 1_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{millis:03d}Z"


def parse_time(text: str) -> int:
    """Milliseconds since 1970 of a protocol time; ValueError for anything else, a 30th of February included."""
    if _TIME.fullmatch(text) is None:
        raise ValueError("a time is written YYYY-MM-DDTHH:MM:SS.sssZ")
    moment = datetime.strptime(text[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000 + int(text[20:23])


@lru_cache(maxsize=4_096)
def is_date(text: str) -> bool:
    """Whether a text that looks like a date is a day of the calendar."""
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
