"""Copies of machines' storage, as backups are taken, and their way back onto a machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.residents import SomeParty
    from tests.simulation.world import World


class Copies:
    """The newest copy of each party, and when it was taken."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._held: dict[str, tuple[Path, float]] = {}

    async def take(self, party: SomeParty) -> bool:
        """Stop it, copy its files, start it again."""
        at = self._world.now_s
        self._held[party.name] = (await party.copied(), at)
        return True

    def one(self, number: int) -> SomeParty | None:
        """One of the parties of which there is a copy."""
        copied = [one.party for one in self._world.present() if one.party.name in self._held]
        return copied[number % len(copied)] if copied else None

    def put_back(self, party: SomeParty) -> None:
        """Its storage is the copy from now on; it is off. What was promised meanwhile is known to be lost with it."""
        world = self._world
        place, at = self._held[party.name]
        world.look()
        party.put_back(place)
        world.ledger.went_back(party.name, at, world.now_s)
