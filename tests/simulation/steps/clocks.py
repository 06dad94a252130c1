"""What happens to clocks: they jump, stand wrong, run backwards or too fast or slow; and weeks that go by for everybody."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.simulation.parties.device import TabletParty
from tests.simulation.residents import clock_of
from tests.simulation.steps.step import Step
from tests.simulation.steps.work import let_go

if TYPE_CHECKING:
    from tests.simulation.clocks import SimClock
    from tests.simulation.world import World

_MINUTE_MS: Final = 60_000
_DAY_MS: Final = 24 * 60 * _MINUTE_MS
_WEEKS_MS: Final = 16 * _DAY_MS
_WRONG_MS: Final = (0, 946_684_800_000, 4_102_444_800_000)
"""1970, 2000, and 2100."""


@dataclass(frozen=True, slots=True)
class JumpClock(Step):
    """A clock jumps, ahead or back, by minutes or by days."""

    who: int
    share: float

    async def do(self, world: World) -> str | None:
        party, chance = world.party(self.who), self.chance()
        if party is None:
            return None
        longest_ms = chance.choice((_MINUTE_MS, 90 * _MINUTE_MS, 20 * _DAY_MS))
        jump_ms = int((2 * self.share - 1) * longest_ms)
        clock_of(party).jump(jump_ms)
        return f"{party.name}: clock jumps {jump_ms / 1_000:+.1f} s"


@dataclass(frozen=True, slots=True)
class WrongClock(Step):
    """A clock says a year that it is not."""

    who: int

    async def do(self, world: World) -> str | None:
        party = world.party(self.who)
        if party is None:
            return None
        year_ms = self.chance().choice(_WRONG_MS)
        clock_of(party).set(year_ms)
        return f"{party.name}: clock says {1970 + round(year_ms / _DAY_MS / 365.25)}"


@dataclass(frozen=True, slots=True)
class DriftClock(Step):
    """A clock runs too fast or too slow."""

    who: int
    share: float

    async def do(self, world: World) -> str | None:
        party = world.party(self.who)
        if party is None:
            return None
        ppm = int(self.chance().choice((100_000, 1_000_000, -500_000)) * self.share)
        clock_of(party).drift(ppm)
        return f"{party.name}: clock drifts by {ppm} ppm"


@dataclass(frozen=True, slots=True)
class RunBackwards(Step):
    """For a while a clock runs backwards."""

    who: int
    few: int

    async def do(self, world: World) -> str | None:
        party = world.party(self.who)
        if party is None:
            return None
        seconds = 10 * self.few
        world.beside(f"{party.name} runs backwards", _run_backwards(clock_of(party), seconds))
        return f"{party.name}: clock runs backwards for {seconds} s"


@dataclass(frozen=True, slots=True)
class WeeksPass(Step):
    """Every clock goes on by more than what a device keeps its own ops for, and tablets let go of what they may."""

    async def do(self, world: World) -> str | None:
        for resident in world.present():
            clock_of(resident.party).jump(_WEEKS_MS)
        world.days_ms += _WEEKS_MS
        tablets = [one.party for one in world.present() if isinstance(one.party, TabletParty)]
        gone = sum([await let_go(world, tablet) for tablet in tablets if tablet.is_up])
        return f"sixteen days pass, and {gone} ops are forgotten"


async def _run_backwards(clock: SimClock, seconds: int) -> None:
    for _ in range(seconds):
        await asyncio.sleep(1)
        clock.jump(-2_000)
