"""That a backup was brought back stands in the hub's audit: which one, and what it came to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from medxz.errors import StoreError
from medxz.service.audit import AuditNotes
from medxz.store.authority.audit import AuditTrail
from medxz.store.authority.sqlite import open_sqlite
from medxz.store.damage import Damage
from medxz.work import ThreadWorker

if TYPE_CHECKING:
    from hub.ask import Json
    from hub.config import HubPlaces
    from medxz.clock import Clock
    from medxz.ids import Ids
    from medxz.store.authority.base import Transactions

EVENT: Final = "restored"
_TOLD: Final = ("backup_of", "epoch", "ops", "ops_new", "taken_from")


async def note_restored(places: HubPlaces, key: bytes, told: Json, clock: Clock, ids: Ids) -> bool:
    """False where the audit's file can't be written: the hub mends it at its next start, and goes on without this."""
    worker = ThreadWorker("audit")
    try:
        transactions = await open_sqlite(places.audit, key, worker, Damage())
        try:
            await noted(transactions, told, clock, ids)
        finally:
            await transactions.close()
    except StoreError:
        return False
    return True


async def noted(transactions: Transactions, told: Json, clock: Clock, ids: Ids) -> None:
    """The same, in an audit that is open."""
    notes = AuditNotes(transactions, AuditTrail(ids, clock), clock)
    try:
        detail: Json = {name: told[name] for name in _TOLD if name in told}
        await notes.note(told["clinic_id"], EVENT, hub_id=told["hub_id"], detail=detail)
    finally:
        await notes.close()
