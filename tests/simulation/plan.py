"""A world before it happens: its shape, and the steps that will be tried in it, both drawn from one seed.

A plan is data: it can be cut down to any part of its steps, and what is left is a plan. So a step names whom it is about by
a number that was drawn once, and does nothing where nobody has that number. Nothing here touches a machine.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tests.simulation.steps.catalogue import draw_steps
from tests.simulation.steps.step import Step

CLINICS: Final = 2
STEPS_MIN, STEPS_MAX = 60, 100
PAUSE_MEAN_S: Final = 0.4
LONG_PAUSE_SHARE, LONG_PAUSE_MEAN_S = 0.02, 12.0
SMALL_SHARE: Final = 0.6
"""Of clinics with one site, one hub and two tablets: what is lost there is seen best, and costs least."""


@dataclass(frozen=True, slots=True)
class SiteShape:
    """A building: how many hubs and tablets are in it."""

    hubs: int
    tablets: int


@dataclass(frozen=True, slots=True)
class ClinicShape:
    """A clinic: its sites. One that begins alone has a hub that no cloud knows, until it is adopted."""

    sites: tuple[SiteShape, ...]
    is_alone: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """One cloud, and its clinics."""

    clinics: tuple[ClinicShape, ...]

    @property
    def parties(self) -> int:
        """How many there are, the cloud among them."""
        return 1 + sum(site.hubs + site.tablets for clinic in self.clinics for site in clinic.sites)


@dataclass(frozen=True, slots=True)
class Planned:
    """A step at its place: `number` stays what it is when others are left out, so that a part can be named by numbers."""

    number: int
    pause_s: float
    step: Step


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a world is made from."""

    seed: int
    shape: Shape
    steps: tuple[Planned, ...]

    def keeping(self, numbers: Sequence[int]) -> Plan:
        """The same with these steps alone."""
        kept = frozenset(numbers)
        return dataclasses.replace(self, steps=tuple(one for one in self.steps if one.number in kept))


def make_plan(seed: int, steps: int | None = None) -> Plan:
    """The plan of a seed; `steps`: how many, in place of what the seed would draw."""
    chance = random.Random(f"plan {seed}")
    shape = _shape(chance)
    count = chance.randint(STEPS_MIN, STEPS_MAX)
    drawn = draw_steps(chance, shape.parties, count if steps is None else steps)
    planned = tuple(Planned(number, _pause_s(chance), step) for number, step in enumerate(drawn))
    return Plan(seed, shape, planned)


def _shape(chance: random.Random) -> Shape:
    """Two clinics with one or two sites each, one to three hubs and two to four tablets; sometimes one begins alone."""
    begins_alone = chance.random() < 0.25
    first = _clinic(chance)
    second = ClinicShape((SiteShape(1, 2),), is_alone=True) if begins_alone else _clinic(chance)
    return Shape((first, second))


def _clinic(chance: random.Random) -> ClinicShape:
    if chance.random() < SMALL_SHARE:
        return ClinicShape((SiteShape(1, 2),))
    sites = [SiteShape(1, 1) for _ in range(chance.randint(1, 2))]
    hubs, tablets = chance.randint(len(sites), 3), chance.randint(2, 4)
    for _ in range(hubs - len(sites)):
        at = chance.randrange(len(sites))
        sites[at] = dataclasses.replace(sites[at], hubs=sites[at].hubs + 1)
    for _ in range(tablets - len(sites)):
        at = chance.randrange(len(sites))
        sites[at] = dataclasses.replace(sites[at], tablets=sites[at].tablets + 1)
    return ClinicShape(tuple(sites))


def _pause_s(chance: random.Random) -> float:
    mean_s = LONG_PAUSE_MEAN_S if chance.random() < LONG_PAUSE_SHARE else PAUSE_MEAN_S
    return round(chance.expovariate(1 / mean_s), 6)
