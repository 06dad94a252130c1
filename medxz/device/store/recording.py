"""Writing an op of this device: its number, its parents, its audit entry; and what may follow what.

It costs the same however many ops its entity has: heads are kept, and what is derived is looked at later.
"""

from __future__ import annotations

from collections.abc import Sequence

from medxz.device.store import audit, heads, rows
from medxz.device.store.changes import key_of, mark_stale
from medxz.device.store.drafts import Draft, finish
from medxz.device.store.file import Connection
from medxz.device.store.heads import Head
from medxz.device.store.identity import change_identity, read_identity
from medxz.errors import OpInvalid
from medxz.merge.entity import Entity
from medxz.op import Operation
from medxz.policy import policy_of


def write(connection: Connection, draft: Draft, now_ms: int) -> Operation:
    """Give the draft its number and its parents, and keep it. OpInvalid where it may not follow what is here."""
    identity = read_identity(connection)
    entity = Entity(identity.clinic_id, draft.entity_type, draft.entity_id)
    present = heads.known_heads(connection, entity)
    parents = tuple(head.op_id for head in present) if draft.parents is None else draft.parents
    _may_follow(draft, [head for head in present if head.op_id in parents])
    number = identity.last_seq + 1
    op = finish(draft, identity, number, parents)
    change_identity(connection, last_seq=number)
    rows.insert_op(connection, op, now_ms, own_seq=number)
    heads.follow(connection, op, present)
    mark_stale(connection, key_of(entity), quiet=not present)
    audit.append(connection, now_ms, "recorded", op_id=op.op_id, device_seq=number, user_id=op.user_id)
    return op


def _may_follow(draft: Draft, behind: Sequence[Head]) -> None:
    """Refuse what the servers would, and what would be lost on an entity that was taken back."""
    if draft.op_type not in {"amend", "resolve"} and any(head.retracted for head in behind):
        refused = OpInvalid("op_type", f"{draft.op_type} can't follow: the entity is retracted")
        refused.hint = "amend it, or resolve its conflict (`medxz conflicts`, `medxz resolve`)"
        raise refused
    if draft.parents is None and draft.op_type != "resolve" and len(behind) > 1:
        if policy_of(draft.entity_type) == "merge":
            return
        refused = OpInvalid("parents", "there are several: the entity was changed in two places at once")
        refused.hint = "first resolve that: `medxz conflicts`, `medxz resolve`"
        raise refused
