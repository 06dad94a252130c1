"""Becoming another device: what no server has is recorded again under a new identity, in one transaction.

It happens to a device that was restored from a copy, or of which there is a copy that goes on writing: two devices
must not write under one id. What a server is known to have keeps the old id; it is this device's no longer.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from medxz.device.store import audit
from medxz.device.store.changes import mark_stale
from medxz.device.store.drafts import sealed
from medxz.device.store.file import Connection
from medxz.device.store.identity import change_identity, read_identity
from medxz.device.store.logs import all_logs
from medxz.device.store.rows import insert_op
from medxz.errors import StoreError
from medxz.have import Numbers
from medxz.ids import Ids, uuid_bytes
from medxz.op import Operation
from medxz.rules import checked_digest, decode_op


@dataclass(frozen=True, slots=True)
class NewIdentity:
    """What a server gave: another device_id and tokens for it; and the key that was sent there."""

    device_id: str
    access_token: str
    refresh_token: str | None
    private_key: bytes


def renew(connection: Connection, new: NewIdentity, ids: Ids, now_ms: int) -> int:
    """Take the new identity; returns how many ops were recorded again."""
    old = read_identity(connection)
    if not old.identity_taken:
        return 0  # it was done meanwhile
    if new.device_id == old.device_id:
        raise StoreError("the server gave the same device_id again: nothing was changed")
    again = _unknown_to_servers(connection)
    connection.execute("UPDATE op SET own_seq = NULL WHERE own_seq IS NOT NULL")
    connection.execute("UPDATE log SET settled = '0', stored = '0'")
    change_identity(
        connection, device_id=new.device_id, access_token=new.access_token, refresh_token=new.refresh_token,
        private_key=new.private_key,
        next_private_key=None, last_seq=len(again), forgotten="0", identity_taken=0, cloud_through=0,
        cloud_epoch=None, token_ends_ms=None,
    )  # fmt: skip
    audit.append(connection, now_ms, "renewed", device_id=new.device_id, instead_of=old.device_id)
    new_ids: dict[str, str] = {}
    for number, (op, held_ms) in enumerate(again, start=1):
        new_ids[op.op_id] = ids.uuid7()
        _record_again(connection, op, new_ids, number, held_ms)
        audit.append(connection, now_ms, "recorded_again", op_id=new_ids[op.op_id], instead_of=op.op_id)
    return len(again)


def _unknown_to_servers(connection: Connection) -> list[tuple[Operation, int]]:
    """Own ops that no log is proven to hold. What was rejected for good is no part of them, but for a taken number."""
    stored = Numbers()
    for held in all_logs(connection):
        stored.update(held.stored)
    rows = connection.execute(
        "SELECT own_seq, body, held_ms FROM op WHERE own_seq IS NOT NULL"
        " AND op_id NOT IN (SELECT op_id FROM parked) ORDER BY own_seq"
    ).fetchall()
    return [(decode_op(body), held_ms) for own_seq, body, held_ms in rows if own_seq not in stored]


def _record_again(
    connection: Connection, op: Operation, new_ids: dict[str, str], number: int, held_ms: int
) -> None:
    identity = read_identity(connection)
    new = msgspec.structs.replace(
        op,
        op_id=new_ids[op.op_id],
        device_id=identity.device_id,
        device_seq=number,
        parents=tuple(sorted(new_ids.get(parent, parent) for parent in op.parents)),
        hash=None,
        signature=None,
    )
    old_key, new_key = uuid_bytes(op.op_id), uuid_bytes(new.op_id)
    connection.execute("DELETE FROM op WHERE op_id = ?", (old_key,))
    insert_op(connection, sealed(new, checked_digest(new), identity), held_ms, own_seq=number)
    mark_stale(connection, (uuid_bytes(op.entity_id), op.entity_type))
    # the graph keeps its shape: only the name changes
    for table in ("head", "absent_parent"):
        connection.execute(f"UPDATE {table} SET op_id = ? WHERE op_id = ?", (new_key, old_key))  # noqa: S608
