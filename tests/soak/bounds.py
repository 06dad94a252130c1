"""What each series of a soak may do, by name and with the reason; and the verdicts over all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from medxz import limits
from tests.soak.clinic import TABLETS_A_HOUSE
from tests.soak.samples import Push, Sample
from tests.soak.verdicts import MIB, Bound, Point, Verdict, verdict

MEMORY_AN_HOUR: Final = 1 * MIB
"""What a heap that is used in many ways may still drift by; 300 bytes a second that are lost are as much."""
MEMORY_AN_OP: Final = 200
"""The numbers and marks of authors that a server keeps in memory, and what its file's trees need for each op."""
SERVER_CACHES: Final = 12 * MIB
"""What the caches of limits.py and of the files' pages come to; they fill with the log, and then no more."""
HOUSE_MEMORY_AN_OP: Final = 1_000
"""A process of tablets holds thirteen devices."""
TABLET_CACHES: Final = 3 * MIB
"""SQLite keeps 2,000 KiB of a device's file in memory at most, and half as much goes with that: measured, 1.3 to 1.5 bytes
for each byte of the file, until it is full."""
CONNECTION_MEMORY: Final = 80 * 1_024
"""TLS and HTTP of a connection. The heap keeps it when they go, so the most connections of a life so far count."""
HANDLES_AN_HOUR: Final = 6.0
HANDLES_FLOOR: Final = 6.0
"""Beyond those of the connections that there are. They come and go with each fault: a handful more is no trend."""
THREADS_AN_HOUR: Final = 2.0
THREADS_FLOOR: Final = 8.0
"""Workers begin when they are first needed and stay: those of asyncio alone are up to eight on four cores."""
LOG_WAL_MAX: Final = limits.CHECKPOINT_BYTES * 3 // 2
"""A checkpoint begins at `CHECKPOINT_BYTES` of what was written; what comes while it runs is added to that."""
BESIDE_WAL_MAX: Final = 24 * MIB
"""Views are copied at 16 MiB, the others at SQLite's own 4."""
DEVICE_WAL_MAX: Final = 16 * MIB
"""A device's file is copied at 4 MiB; a first pull or a snapshot is one long transaction."""
SLOW_PUSH_MS: Final = 60.0
"""An hour may not make a push so much slower."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """One series of one party, and how it was judged."""

    party: str
    series: str
    unit: str
    bound: Bound
    told: Verdict


@dataclass(frozen=True, slots=True)
class Series:
    """A column of the samples. `scale` brings it into `unit` for people."""

    name: str
    unit: str
    scale: float
    value: Callable[[Sample], float]


MEMORY: Final = Series("memory", "MiB", MIB, lambda sample: sample.pss)
HANDLES: Final = Series("handles", "", 1, lambda sample: sample.handles)
THREADS: Final = Series("threads", "", 1, lambda sample: sample.threads)
WAL: Final = Series("WAL of the log", "MiB", MIB, lambda sample: sample.wal)
BESIDE: Final = Series("WAL beside it", "MiB", MIB, lambda sample: sample.wal_beside)
JUDGED: Final = (MEMORY, HANDLES, THREADS, WAL, BESIDE)


def judge(samples: Sequence[Sample], pushes: Sequence[Push], warm_up_s: float) -> list[Judgement]:
    """Every series of every party; and how long pushes take."""
    judged = [
        _judged(party, series, [one for one in samples if one.party == party], warm_up_s)
        for party in dict.fromkeys(sample.party for sample in samples)
        for series in JUDGED
        if series is not BESIDE or not is_house(party)
    ]
    bound = Bound(per_hour=SLOW_PUSH_MS, floor=SLOW_PUSH_MS)
    points = [Point(push.at_s, push.median_ms) for push in pushes if push.pushes]
    judged.append(Judgement("tablets", "a push, median", "ms", bound, verdict(points, [], bound, warm_up_s)))
    return judged


def is_house(party: str) -> bool:
    return party.startswith("tablets-")


def bound_of(party: str, series: Series) -> Bound:
    """By the names above."""
    bounds: Mapping[Series, Bound] = {
        MEMORY: Bound(
            MEMORY_AN_HOUR,
            HOUSE_MEMORY_AN_OP if is_house(party) else MEMORY_AN_OP,
            TABLETS_A_HOUSE * TABLET_CACHES if is_house(party) else SERVER_CACHES,
        ),
        HANDLES: Bound(HANDLES_AN_HOUR, floor=HANDLES_FLOOR),
        THREADS: Bound(THREADS_AN_HOUR, floor=THREADS_FLOOR),
        WAL: Bound(most=DEVICE_WAL_MAX if is_house(party) else LOG_WAL_MAX),
        BESIDE: Bound(most=BESIDE_WAL_MAX),
    }
    return bounds[series]


def _judged(party: str, series: Series, samples: Sequence[Sample], warm_up_s: float) -> Judgement:
    bound = bound_of(party, series)
    points = [
        Point(one.at_s, series.value(one) - lawful, one.ops)
        for one, lawful in zip(samples, _by_connections(series, samples), strict=True)
    ]
    told = verdict(points, starts(samples), bound, warm_up_s)
    most = max(series.value(one) for one in samples)
    return Judgement(party, series.name, series.unit, bound, replace(told, most=most))


def _by_connections(series: Series, samples: Sequence[Sample]) -> Iterator[float]:
    """What of each value is that of the connections: tablets that come from a hub that was killed are no leak."""
    most: Counter[int] = Counter()
    for one in samples:
        most[one.pid] = max(most[one.pid], one.connections)
        yield {MEMORY: CONNECTION_MEMORY * most[one.pid], HANDLES: one.connections}.get(series, 0)


def starts(samples: Sequence[Sample]) -> list[float]:
    """When another process was first seen in a party's place: while it starts it is small, and says nothing yet."""
    return [one.at_s for before, one in pairwise(samples) if one.pid != before.pid]
