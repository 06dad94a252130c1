"""Whether a series of samples is flat. Pure.

A process lives from one start to the next; what happens at a start is no trend, so a slope is that of the lives: all of
them together, each around its own mean, each without its warm-up. What grows lawfully (a little for each op that is
stored) is taken off first. A slope alone is not a verdict: over a short time it is mostly noise, so what it comes to over
the time that was watched has to be more than a floor as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from statistics import fmean, median
from typing import Final, Literal

Judged = Literal["flat", "grows", "unclear"]

MIB: Final = 1_048_576
HOUR_S: Final = 3_600.0
WATCHED_S_MIN: Final = 300.0
"""Less than this after warm-ups says nothing about an hour."""
WINDOW_S: Final = 60.0
"""What lasts for less than half of this is no trend: a password's hash takes 64 MiB for a moment. Windows give medians."""
WINDOWS_MIN: Final = 5


@dataclass(frozen=True, slots=True)
class Bound:
    """What a series may do: a slope an hour, a slope for each op, and a rise that is nothing yet; or a greatest value."""

    per_hour: float = 0.0
    per_op: float = 0.0
    floor: float = 0.0
    most: float | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """A value, when it was so, and how many ops were stored then."""

    at_s: float
    value: float
    ops: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """`rise` is what the slope comes to over the time that was watched; `most` the greatest value of all."""

    judged: Judged
    per_hour: float
    rise: float
    watched_s: float
    most: float


def verdict(points: Sequence[Point], starts: Sequence[float], bound: Bound, warm_up_s: float) -> Verdict:
    """Judge a series; `starts` are the moments at which its process was started again."""
    most = max((point.value for point in points), default=0.0)
    if bound.most is not None:
        return Verdict("grows" if most > bound.most else "flat", 0.0, 0.0, _span(points), most)
    lives = _lives(points, starts, warm_up_s)
    watched_s = sum(_span(life) for life in lives)
    windows = [_windows(life, bound.per_op) for life in lives]
    slope = _slope(windows)
    per_hour, rise = slope * HOUR_S, slope * watched_s
    if watched_s < WATCHED_S_MIN or sum(map(len, windows)) < WINDOWS_MIN:
        return Verdict("unclear", per_hour, rise, watched_s, most)
    grows = per_hour > bound.per_hour and rise > bound.floor
    return Verdict("grows" if grows else "flat", per_hour, rise, watched_s, most)


def _lives(points: Sequence[Point], starts: Sequence[float], warm_up_s: float) -> list[list[Point]]:
    """What was seen in each life after its warm-up; lives that were too short for one say nothing."""
    if not points:
        return []
    begins = [points[0].at_s, *sorted(start for start in starts if start > points[0].at_s), float("inf")]
    lives = [
        [point for point in points if begin + warm_up_s <= point.at_s < end]
        for begin, end in pairwise(begins)
    ]
    return [life for life in lives if len(life) > 1]


def _windows(life: Sequence[Point], per_op: float) -> list[tuple[float, float]]:
    """When, and the median of what was seen then, less what is lawful for so many ops."""
    return [
        (median(one.at_s for one in seen), median(one.value - per_op * one.ops for one in seen))
        for _, group in groupby(life, lambda one: one.at_s // WINDOW_S)
        if (seen := list(group))
    ]


def _span(points: Sequence[Point]) -> float:
    return points[-1].at_s - points[0].at_s if points else 0.0


def _slope(lives: Sequence[Sequence[tuple[float, float]]]) -> float:
    """The one slope that all lives have in common, by least squares, a second."""
    above = below = 0.0
    for life in lives:
        mean_s, mean = fmean(at_s for at_s, _ in life), fmean(value for _, value in life)
        above += sum((at_s - mean_s) * (value - mean) for at_s, value in life)
        below += sum((at_s - mean_s) ** 2 for at_s, _ in life)
    return above / below if below else 0.0
