"""Which backups are kept: the newest of each of the last 7 days, 4 weeks and 6 months that have one.

Of a place that has room that is all there is to it. Where a new one does not fit, the oldest go first, the newest never.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from datetime import UTC, datetime
from typing import Final

DAYS: Final = 7
WEEKS: Final = 4
MONTHS: Final = 6

STAMP: Final = "%Y%m%dT%H%M%SZ"


def stamp_of(moment_ms: int) -> str:
    """The name of a backup that was made then."""
    return datetime.fromtimestamp(moment_ms / 1_000, UTC).strftime(STAMP)


def moment_of(stamp: str) -> datetime | None:
    """When that was; None where a folder has another name."""
    try:
        return datetime.strptime(stamp, STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None


def superfluous(stamps: Iterable[str]) -> list[str]:
    """Those that the scheme does not keep, the oldest first."""
    newest_first = sorted(stamps, reverse=True)
    kept = {
        stamp
        for count, period in ((DAYS, _day), (WEEKS, _week), (MONTHS, _month))
        for stamp in _newest_of_each(newest_first, period)[:count]
    }
    return [stamp for stamp in reversed(newest_first) if stamp not in kept]


def _newest_of_each(newest_first: list[str], period: Callable[[datetime], Hashable]) -> list[str]:
    found: dict[Hashable, str] = {}
    for stamp in newest_first:
        moment = moment_of(stamp)
        if moment is not None:
            found.setdefault(period(moment), stamp)
    return list(found.values())


def _day(moment: datetime) -> Hashable:
    return moment.date()


def _week(moment: datetime) -> Hashable:
    return moment.isocalendar()[:2]


def _month(moment: datetime) -> Hashable:
    return moment.year, moment.month
