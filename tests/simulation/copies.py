"""Copies of machines' storage, as backups are taken, and their way back onto a machine; and who has lost what since all was well."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.simulation.parties.device import TabletParty

if TYPE_CHECKING:
    from tests.simulation.residents import SomeParty
    from tests.simulation.world import World


class Losses:
    """Whose logs went back since the last healing.

    Where a tablet goes back and a server of its clinic too, an op may be left with nobody but another tablet that has
    read it, and its number be given to another op. Nobody can tell these two apart by numbers: it is not judged, so it is not done.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._tablets: set[str] = set()
        self._servers: set[str] = set()

    def may_lose(self, party: SomeParty) -> bool:
        """Whether its log may go back now. Noted, so that the other half of its clinic's logs stay what they are."""
        mine, others = (
            (self._tablets, self._servers)
            if isinstance(party, TabletParty)
            else (self._servers, self._tablets)
        )
        clinic = self._world.resident(party).clinic
        clinics = {each.name for each in ([clinic] if clinic is not None else self._world.clinics)}
        if clinics & others:
            return False
        mine |= clinics
        return True

    def healed(self) -> None:
        """Everybody has everything again."""
        self._tablets.clear()
        self._servers.clear()


class Copies:
    """The newest copy of each party, and when it was taken."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._held: dict[str, tuple[Path, float, frozenset[str]]] = {}

    async def take(self, party: SomeParty) -> bool:
        """Stop it, copy its files, start it again."""
        at = self._world.now_s
        self._held[party.name] = (await party.copied(), at, self._let_in_by(party))
        return True

    def one(self, number: int) -> SomeParty | None:
        """The party of this number, or another, of which there is a copy that knows everybody whom it has let in by now.

        Whoever an authority has forgotten has to be let in anew, by a person: a tablet by a code, with an empty store.
        """
        self._world.look()
        copied = [one.party for one in self._world.present() if one.party.name in self._held]
        fitting = [party for party in copied if self._let_in_by(party) <= self._held[party.name][2]]
        meant = self._world.party(number)
        return meant if meant in fitting else fitting[number % len(fitting)] if fitting else None

    def put_back(self, party: SomeParty) -> None:
        """Its storage is the copy from now on; it is off. What was promised meanwhile is known to be lost with it."""
        world = self._world
        place, at, _ = self._held[party.name]
        world.look()
        party.put_back(place)
        world.ledger.went_back(party.name, at, world.now_s)

    def _let_in_by(self, party: SomeParty) -> frozenset[str]:
        """Whom this party alone knows to belong here: a cloud its hubs and their tablets, a hub without a cloud its tablets."""
        found: set[str] = set()
        for resident in self._world.present():
            clinic, member = resident.clinic, resident.party
            if clinic is None:
                continue
            authority = clinic.hubs[0] if clinic.is_alone else clinic.cloud
            if authority is party:
                found.add(clinic.clinic_id)
                found.add(self._world.witness.device_ids.get(member.name, member.name))
            elif member is party:
                found.add(clinic.cloud.name if not clinic.is_alone else "")
        return frozenset(found)
