"""Mistakes about what ops mean, whose they are, and what was noted of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medxz.merge import merging
from medxz.store.authority import devices
from medxz.store.authority.audit import AuditTrail, End, Entry
from medxz.store.authority.base import Tx
from medxz.store.views.taking import Batch
from medxz.store.views.views import Views
from tests.simulation.mistakes.planting import Mistake, Plant


def last_writer_wins(plant: Plant) -> None:
    plant.put(merging, "differ", lambda writers, name: False)


def late_parent(plant: Plant) -> None:
    look_up = Batch.look_up

    def creates_are_new(self: Batch, views: Views) -> Batch:
        look_up(self, views)
        created = {entity for entity, ops in self._new.items() if any(op.op_type == "create" for op in ops)}
        self.to_load = [entity for entity in self.to_load if entity not in created]
        return self

    plant.put(Batch, "look_up", creates_are_new)


def clinic_left_out(plant: Plant) -> None:
    everyone: str = devices._ALL
    plant.put(devices, "_ALL", everyone.replace("clinic_id = $1", "$1 <> ''"))


def audit_together(plant: Plant) -> None:
    insert = AuditTrail._insert

    async def behind_the_same(
        self: AuditTrail, tx: Tx, clinic_id: str, end: End, entries: Sequence[Entry]
    ) -> End:
        chain_id, number, before = last = end
        for count, entry in enumerate(entries):
            last = await insert(self, tx, clinic_id, (chain_id, number + count, before), [entry])
        return last

    plant.put(AuditTrail, "_insert", behind_the_same)


def audit_without_chain(plant: Plant) -> None:
    from medxz.device.store import audit

    link: Any = audit._link

    def quick(before: bytes, number: int, at: str, action: str, detail: str) -> bytes:
        return bytes(link(audit.FIRST, number, at, action, detail))

    real_append = audit.append

    def append(connection: Any, now_ms: int, action: str, **detail: object) -> None:
        if action != "recorded":
            real_append(connection, now_ms, action, **detail)
            return
        audit._link = quick
        try:
            real_append(connection, now_ms, action, **detail)
        finally:
            audit._link = link

    plant.put(audit, "append", append)


MISTAKES = (
    Mistake(
        "last_writer_wins",
        "two writers of one field are no conflict: the later id wins",
        "no edit disappears without a conflict",
        last_writer_wins,
    ),
    Mistake(
        "late_parent",
        "a create is taken for the first op of its entity: what came before it is not read again",
        "a parent that comes after its children is joined with them",
        late_parent,
    ),
    Mistake(
        "clinic_left_out",
        "one query of the cloud's directory lacks its clinic_id",
        "nothing of one clinic is at another",
        clinic_left_out,
    ),
    Mistake(
        "audit_together",
        "entries of an audit that are written together all name the hash of the one before the first",
        "no entry can be taken out of the audit unnoticed",
        audit_together,
    ),
    Mistake(
        "audit_without_chain",
        "a device notes what it recorded by a hash of that entry alone",
        "no entry can be taken out of the audit unnoticed",
        audit_without_chain,
    ),
)
