"""Letting go of own ops that the cloud has: the whole op goes, and what merging needs of it stays."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from medxz.device.store import audit
from medxz.device.store.changes import Key, change_of_row, entity_of, keep
from medxz.device.store.file import Connection
from medxz.device.store.identity import change_identity, read_identity, write_numbers
from medxz.merge.change import Change

DAY_MS: Final = 86_400_000
OPS_AT_ONCE: Final = 1_000


def forget_some(connection: Connection, now_ms: int) -> int:
    """Forget some of what may be forgotten; returns how many ops. Fewer than `OPS_AT_ONCE` were the last."""
    identity = read_identity(connection)
    found = connection.execute(
        "SELECT op_id, own_seq, entity_id, entity_type, body, server_seq, server_received_at FROM op"
        " WHERE own_seq <= ? AND held_ms < ?"
        " AND op_id NOT IN (SELECT op_id FROM parked) AND op_id NOT IN (SELECT op_id FROM refused_upstream)"
        " ORDER BY own_seq LIMIT ?",
        (identity.cloud_through, now_ms - identity.keep_own_days * DAY_MS, OPS_AT_ONCE),
    ).fetchall()
    if not found:
        return 0
    forgotten = identity.forgotten_numbers
    changes: dict[Key, list[Change]] = defaultdict(list)
    for _, own_seq, entity_id, entity_type, *row in found:
        forgotten.add(own_seq)
        changes[entity_id, entity_type].append(change_of_row(*row))
    for key, some in changes.items():
        keep(connection, entity_of(identity.clinic_id, key), some)
    connection.executemany("DELETE FROM op WHERE op_id = ?", [(row[0],) for row in found])
    change_identity(connection, forgotten=write_numbers(forgotten))
    audit.append(connection, now_ms, "forgotten", ops=len(found), through=forgotten.highest())
    return len(found)
