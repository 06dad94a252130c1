"""A figure: what was measured against what, in pairs, and whether that is enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Bound:
    """What a figure's median has to be. Ratios are written with ×."""

    sense: Literal["at least", "at most"]
    value: float

    def holds(self, reached: float) -> bool:
        return reached >= self.value if self.sense == "at least" else reached <= self.value


@dataclass(frozen=True, slots=True)
class Series:
    """Absolute figures behind a ratio, one a pair: they say what this machine did, and mean little on another."""

    label: str
    unit: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Figure:
    """One row. `values` are the pairs' ratios, or the samples where the bound is absolute."""

    name: str
    work: str
    of_what: str
    bound: Bound
    unit: str
    values: Sequence[float]
    series: Sequence[Series] = field(default=())

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def holds(self) -> bool:
        return self.bound.holds(self.median)


RATIO: Final = "×"


def ratio(
    name: str, work: str, of_what: str, bound: Bound, ours: Series, limit: Series, *, inverse: bool = False
) -> Figure:
    """Pair by pair, ours of the limit; the limit of ours where both are times and `inverse` says so."""
    pairs = zip(ours.values, limit.values, strict=True)
    values = [theirs / own if inverse else own / theirs for own, theirs in pairs]
    return Figure(name, work, of_what, bound, RATIO, values, (ours, limit))
