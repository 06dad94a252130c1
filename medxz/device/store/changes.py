"""All that is known here of an entity's ops: rows of whole ops, and lines that tell of ops which are not here.

The two may tell of the same op: it counts once. What was parked counts where a server's line tells that it was taken
after all, and else not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

from medxz.device.store.file import Connection
from medxz.ids import uuid_bytes, uuid_text
from medxz.merge.change import Change, change_of
from medxz.merge.entity import Entity
from medxz.merge.line import changes_of_line, line_of
from medxz.op import Operation

Key: TypeAlias = tuple[bytes, str]
"""entity_id and entity_type, as the tables have them."""

Row: TypeAlias = tuple[bytes, int | None, str | None]

FORGOTTEN: Final = 0
"""The number of no snapshot: lines that keep own ops which were forgotten."""

NEVER_QUIET: Final = frozenset({"Patient"})
"""Types of which two entities may turn out to be one."""

_decode = msgspec.json.Decoder(Operation).decode
_WHERE = "entity_id = ? AND entity_type = ?"
_LINES = (
    f"SELECT line FROM entity_line WHERE {_WHERE} AND snapshot <= (SELECT complete FROM snapshot)"  # noqa: S608
    " ORDER BY snapshot"
)
_ROWS = (
    f"SELECT body, server_seq, server_received_at FROM op WHERE {_WHERE}"  # noqa: S608
    " AND op_id NOT IN (SELECT op_id FROM parked)"
)


def key_of(entity: Entity) -> Key:
    return uuid_bytes(entity.entity_id), entity.entity_type


def entity_of(clinic_id: str, key: Key) -> Entity:
    return Entity(clinic_id, key[1], uuid_text(key[0]))


def changes_of(connection: Connection, entity: Entity) -> list[Change]:
    key = key_of(entity)
    lines = [line for (line,) in connection.execute(_LINES, key).fetchall()]
    return _together(entity.clinic_id, lines, connection.execute(_ROWS, key).fetchall())


def _together(clinic_id: str, lines: Sequence[bytes], rows: Sequence[Row]) -> list[Change]:
    if len(lines) == 1 and not rows:
        return changes_of_line(clinic_id, lines[0])[1]
    found: dict[str, Change] = {}
    for line in lines:
        found |= {change.op_id: change for change in changes_of_line(clinic_id, line)[1]}
    for row in rows:
        change = change_of_row(*row)
        told = found.get(change.op_id)
        if told is not None and change.server_received_at is None:
            change = msgspec.structs.replace(
                change, server_seq=told.server_seq, server_received_at=told.server_received_at
            )
        found[change.op_id] = change
    return list(found.values())


def change_of_row(body: bytes, server_seq: int | None, server_received_at: str | None) -> Change:
    op = _decode(body)
    if server_seq is not None or server_received_at is not None:
        op = msgspec.structs.replace(op, server_seq=server_seq, server_received_at=server_received_at)
    return change_of(op)


def is_mentioned(connection: Connection, key: Key, op_id: str) -> bool:
    """Whether a line of the entity tells of this op, or names it as somebody's parent."""
    name = op_id.encode()
    return any(name in line for (line,) in connection.execute(_LINES, key).fetchall())


def mark_stale(connection: Connection, key: Key, *, quiet: bool = False) -> None:
    """The views have to look at this entity again. A quiet one can't be part of a conflict: there is no haste."""
    connection.execute(
        "INSERT INTO stale VALUES (?, ?, ?)"
        " ON CONFLICT (entity_id, entity_type) DO UPDATE SET quiet = min(quiet, excluded.quiet)",
        (*key, quiet and key[1] not in NEVER_QUIET),
    )


def keep(connection: Connection, entity: Entity, forgotten: list[Change]) -> None:
    """Write down what merging needs of ops whose rows are about to go."""
    key = key_of(entity)
    held = connection.execute(
        "SELECT line FROM entity_line WHERE entity_id = ? AND entity_type = ? AND snapshot = ?",
        (*key, FORGOTTEN),
    ).fetchall()
    kept = [change for (line,) in held for change in changes_of_line(entity.clinic_id, line)[1]]
    connection.execute(
        "INSERT OR REPLACE INTO entity_line (entity_id, entity_type, snapshot, quiet, line) VALUES (?, ?, ?, 0, ?)",
        (*key, FORGOTTEN, line_of(entity, [*kept, *forgotten])),
    )
