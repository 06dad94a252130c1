"""Which ops of an entity are nobody's parent: what the author of the next op has seen.

The rows are exact, or there are none: then the heads are worked out of all that is known of the entity, and written
down. An op that is new to everybody keeps them exact at no cost; one that fills a hole, or that a snapshot had told
of already, makes them be worked out again. Only ops of the same entity count; what was parked does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from medxz.device.store.changes import Key, changes_of, is_mentioned, key_of
from medxz.device.store.file import Connection
from medxz.ids import uuid_bytes, uuid_text
from medxz.merge.entity import Entity
from medxz.merge.view import View, view_of
from medxz.op import Operation

_WHERE = "entity_id = ? AND entity_type = ?"


@dataclass(frozen=True, slots=True)
class Head:
    """One of them, and whether the entity is retracted there: then only an amend or a resolve may follow."""

    op_id: str
    retracted: bool


def heads_of(connection: Connection, entity: Entity) -> tuple[Head, ...]:
    """The heads as they stand, sorted; nothing is written."""
    return _kept(connection, key_of(entity)) or _worked_out(connection, entity)


def known_heads(connection: Connection, entity: Entity) -> tuple[Head, ...]:
    """The same, written down where they had to be worked out."""
    key = key_of(entity)
    kept = _kept(connection, key)
    if kept:
        return kept
    found = _worked_out(connection, entity)
    _insert(connection, key, found)
    return found


def follow(connection: Connection, op: Operation, present: Sequence[Head]) -> None:
    """Take in an op that was made here just now, after these heads."""
    _advance(connection, op, present)


def arrive(connection: Connection, op: Operation) -> bool:
    """Take in an op of somebody else whose row stands in the table already; whether it is all there is of its entity."""
    key = (uuid_bytes(op.entity_id), op.entity_type)
    own_key = (*key, uuid_bytes(op.op_id))
    filled = connection.execute(
        f"DELETE FROM absent_parent WHERE {_WHERE} AND op_id = ? RETURNING 1",  # noqa: S608
        own_key,
    ).fetchall()
    present = _kept(connection, key)
    is_alone = not present and _is_alone(connection, key)
    if not present and not is_alone:
        _note_absent(connection, key, op.parents)
        return False
    strays = op.op_type == "update" and not {head.op_id for head in present}.issuperset(op.parents)
    if filled or strays or is_mentioned(connection, key, op.op_id):
        _note_absent(connection, key, op.parents)
        forget_heads(connection, key)
        return False
    _advance(connection, op, present)
    return is_alone


def forget_heads(connection: Connection, key: Key) -> None:
    """Have them worked out again when they are asked for."""
    connection.execute(f"DELETE FROM head WHERE {_WHERE}", key)  # noqa: S608


def _advance(connection: Connection, op: Operation, present: Sequence[Head]) -> None:
    key = (uuid_bytes(op.entity_id), op.entity_type)
    behind = [head for head in present if head.op_id in op.parents]
    connection.executemany(
        f"DELETE FROM head WHERE {_WHERE} AND op_id = ?",  # noqa: S608
        [(*key, uuid_bytes(head.op_id)) for head in behind],
    )
    _note_absent(connection, key, {*op.parents}.difference(head.op_id for head in behind))
    is_retracted = op.op_type == "retract" or (
        op.op_type == "update" and any(head.retracted for head in behind)
    )
    _insert(connection, key, [Head(op.op_id, is_retracted)])


def _note_absent(connection: Connection, key: Key, parents: Iterable[str]) -> None:
    """Who is known to be somebody's parent and is not here: its coming fills a hole."""
    for parent in parents:
        raw = uuid_bytes(parent)
        connection.execute(
            "INSERT OR IGNORE INTO absent_parent SELECT ?, ?, ? WHERE NOT EXISTS"
            " (SELECT 1 FROM op WHERE op_id = ?)",
            (*key, raw, raw),
        )


def _kept(connection: Connection, key: Key) -> tuple[Head, ...]:
    rows = connection.execute(
        f"SELECT op_id, retracted FROM head WHERE {_WHERE} ORDER BY op_id",  # noqa: S608
        key,
    ).fetchall()
    return tuple(Head(uuid_text(op_id), bool(retracted)) for op_id, retracted in rows)


def _worked_out(connection: Connection, entity: Entity) -> tuple[Head, ...]:
    changes = changes_of(connection, entity)
    return _heads_in(view_of(entity, changes)) if changes else ()


def _heads_in(view: View) -> tuple[Head, ...]:
    """Where one side is retracted and another is not, nothing but an amend or a resolve is good for any of them."""
    is_retracted = view.retracted is not None or any(
        conflict.kind == "retract" for conflict in view.conflicts
    )
    return tuple(Head(op_id, is_retracted) for op_id in sorted(view.heads))


def _insert(connection: Connection, key: Key, heads: Iterable[Head]) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO head VALUES (?, ?, ?, ?)",
        [(*key, uuid_bytes(head.op_id), int(head.retracted)) for head in heads],
    )


def _is_alone(connection: Connection, key: Key) -> bool:
    """Whether nothing is known of the entity but the one row that has just come."""
    rows = connection.execute(
        f"SELECT 1 FROM op WHERE {_WHERE} UNION ALL SELECT 1 FROM entity_line WHERE {_WHERE} LIMIT 2",  # noqa: S608
        key * 2,
    ).fetchall()
    return len(rows) < 2
