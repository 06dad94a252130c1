"""Hubs that took the place of others: whose backups they may have, and that it is noted when one fetches them."""

from __future__ import annotations

from dataclasses import dataclass

from medxz.accounts.base import Authority
from medxz.store.authority import hubs
from medxz.store.authority.audit import Entry
from medxz.store.authority.base import Tx


@dataclass(frozen=True, slots=True)
class Successors:
    """Of every clinic."""

    authority: Authority

    async def forerunners(self, clinic_id: str, hub_id: str) -> list[str]:
        """The hubs of this one's site whose place it took, however many times the box was replaced."""
        return await self.authority.transactions.read(lambda tx: hubs.forerunners(tx, clinic_id, hub_id))

    async def fetched(self, clinic_id: str, hub_id: str, backup_id: str) -> None:
        """Note that a hub has fetched a backup."""
        entry = Entry("backup_fetched", hub_id=hub_id, detail={"backup": backup_id})

        async def note(tx: Tx) -> None:
            await self.authority.trail.append(tx, clinic_id, entry)

        await self.authority.decide(note)
