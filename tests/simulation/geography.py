"""Who is where, and so who can reach whom while nothing is broken: a site's machines each other, everybody the cloud.

It is laid over the network whenever that was made whole. Nothing of one clinic reaches anything of another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.residents import Resident
    from tests.simulation.world import World


class Geography:
    """The map of one world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def apply(self) -> None:
        """Cut what is never connected, and what was gone from before."""
        residents = self._world.residents
        for number, one in enumerate(residents):
            for other in residents[:number]:
                if not self.may_meet(one, other):
                    # not told each time: it is as it always is
                    self._world.network.link(one.party.name, other.party.name).is_cut = True
                    self._world.network.link(other.party.name, one.party.name).is_cut = True

    def may_meet(self, one: Resident, other: Resident) -> bool:
        """Whether there is a way between them at all."""
        if one.is_gone or other.is_gone:
            return False
        if one.clinic is None or other.clinic is None:
            return True
        return (one.clinic, one.site) == (other.clinic, other.site)

    def restore(self) -> None:
        """The network as it is when nothing is broken."""
        self._world.network.heal()
        self.apply()
