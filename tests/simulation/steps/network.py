"""What happens to the network: bytes that are lost, late, doubled; machines that can't reach each other."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, product
from typing import TYPE_CHECKING

from tests.simulation.steps.step import Step

if TYPE_CHECKING:
    from tests.simulation.machine import Machine
    from tests.simulation.network import Network
    from tests.simulation.world import World


@dataclass(frozen=True, slots=True)
class _Between(Step):
    """What happens to the way between two machines."""

    who: int
    other: int
    share: float

    async def do(self, world: World) -> str | None:
        pair = world.machines_between(self.who, self.other)
        return None if pair is None else f"{_between(pair)}: {self.befall(world.network, *pair)}"

    def befall(self, network: Network, one: Machine, other: Machine) -> str:
        """Do it, and say what was done."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Lose(_Between):
    """Between two machines bytes are lost: a connection stalls, or is reset, at any byte."""

    def befall(self, network: Network, one: Machine, other: Machine) -> str:
        network.lossy(one.name, other.name, 0.02 + self.share / 5)
        return f"{0.02 + self.share / 5:.0%} lost"


@dataclass(frozen=True, slots=True)
class Duplicate(_Between):
    """Between two machines whole requests arrive once more, later, on a connection of their own."""

    def befall(self, network: Network, one: Machine, other: Machine) -> str:
        network.duplicate(one.name, other.name, 0.2 + self.share / 2)
        return "requests doubled"


@dataclass(frozen=True, slots=True)
class Slow(_Between):
    """Between two machines everything takes long, each time another while: what was sent first may come last."""

    def befall(self, network: Network, one: Machine, other: Machine) -> str:
        delay_s = round(self.share**3 * 2, 3)
        network.slow(one.name, other.name, delay_s, delay_s * 2)
        return f"{delay_s} s and up to three times that"


@dataclass(frozen=True, slots=True)
class Cut(_Between):
    """Two machines can't reach each other; or only one of them can't."""

    def befall(self, network: Network, one: Machine, other: Machine) -> str:
        one_way = self.share < 0.3
        network.cut(one.name, other.name, one_way=one_way)
        return f"cut{' one way' if one_way else ''}"


@dataclass(frozen=True, slots=True)
class Isolate(Step):
    """A machine can't reach anybody: a hub without a network, a tablet on the road, a cloud that is down for all."""

    who: int

    async def do(self, world: World) -> str | None:
        party = world.party(self.who)
        if party is None:
            return None
        for other in world.present():
            if other.party is not party:
                world.network.cut(party.name, other.party.name)
        return f"{party.name}: cut off from everybody"


@dataclass(frozen=True, slots=True)
class Partition(Step):
    """All machines fall into two or three groups; between groups nothing passes."""

    few: int

    async def do(self, world: World) -> str | None:
        chance, groups = self.chance(), 2 + self.few % 2
        split: list[list[str]] = [[] for _ in range(groups)]
        for resident in world.present():
            chance.choice(split).append(resident.party.name)
        if sum(map(bool, split)) < 2:
            return None
        for number, group in enumerate(split):
            for one, other in product(group, chain(*split[:number])):
                world.network.cut(one, other)
        return "partition: " + " | ".join(" ".join(group) for group in split)


@dataclass(frozen=True, slots=True)
class Internet(Step):
    """No hub and no tablet of a site reaches the cloud, while the site's own network is whole."""

    who: int

    async def do(self, world: World) -> str | None:
        site = world.neighbours(self.who)
        if not site:
            return None
        for party in site:
            world.network.cut(party.name, world.cloud.name)
        return f"no internet for {' '.join(party.name for party in site)}"


@dataclass(frozen=True, slots=True)
class Mend(Step):
    """The network is whole again, for now."""

    async def do(self, world: World) -> str | None:
        world.geography.restore()
        return "the network is whole"


def _between(pair: tuple[Machine, Machine]) -> str:
    return f"{pair[0].name} – {pair[1].name}"
