"""Which ops of an entity are nobody's parent: what the author of the next op has seen.

It comes out the same in whatever order ops arrive. A parent that is named before it is here is remembered, so that
it is no head when it comes. Only ops of the same entity count; what was parked does not.
"""

from __future__ import annotations

from collections.abc import Iterable

from medxz.device.store.file import Connection
from medxz.ids import uuid_bytes, uuid_text
from medxz.op import Operation
from medxz.rules import decode_op


def heads_of(connection: Connection, entity_type: str, entity_id: str) -> tuple[str, ...]:
    rows = connection.execute(
        "SELECT op_id FROM head WHERE entity_id = ? AND entity_type = ? ORDER BY op_id",
        (uuid_bytes(entity_id), entity_type),
    ).fetchall()
    return tuple(uuid_text(op_id) for (op_id,) in rows)


def arrive(connection: Connection, op: Operation) -> None:
    """Take in an op whose row stands in the table already."""
    entity = (uuid_bytes(op.entity_id), op.entity_type)
    own_key = (*entity, uuid_bytes(op.op_id))
    for parent in op.parents:
        key = (*entity, uuid_bytes(parent))
        connection.execute("DELETE FROM head WHERE entity_id = ? AND entity_type = ? AND op_id = ?", key)
        connection.execute(
            "INSERT OR IGNORE INTO absent_parent SELECT ?, ?, ?"
            " WHERE NOT EXISTS (SELECT 1 FROM op WHERE op_id = ?)",
            (*key, key[-1]),
        )
    connection.execute(
        "INSERT OR IGNORE INTO head SELECT ?, ?, ? WHERE NOT EXISTS"
        " (SELECT 1 FROM absent_parent WHERE entity_id = ? AND entity_type = ? AND op_id = ?)",
        own_key * 2,
    )


def leave(connection: Connection, ids: Iterable[bytes]) -> None:
    """Ops are about to be forgotten: whoever is no head stays none, should it ever arrive again."""
    connection.executemany(
        "INSERT OR IGNORE INTO absent_parent SELECT entity_id, entity_type, op_id FROM op WHERE op_id = ?"
        " AND NOT EXISTS (SELECT 1 FROM head WHERE head.entity_id = op.entity_id"
        " AND head.entity_type = op.entity_type AND head.op_id = op.op_id)",
        [(op_id,) for op_id in ids],
    )


def rebuild(connection: Connection, entity_type: str, entity_id: str) -> None:
    """Work the heads of one entity out anew, after one of its ops was parked or taken back in."""
    entity = (uuid_bytes(entity_id), entity_type)
    where = "entity_id = ? AND entity_type = ?"
    rows = connection.execute(
        f"SELECT op_id, body FROM op WHERE {where} AND op_id NOT IN (SELECT op_id FROM parked)",  # noqa: S608
        entity,
    ).fetchall()
    present = {op_id for op_id, _ in rows}
    named = {uuid_bytes(parent) for _, body in rows for parent in decode_op(body).parents}
    absent = _ids(connection, "absent_parent", entity)
    forgotten = {
        op_id
        for op_id in _ids(connection, "head", entity)
        if not connection.execute("SELECT 1 FROM op WHERE op_id = ?", (op_id,)).fetchall()
    }
    connection.execute(f"DELETE FROM head WHERE {where}", entity)  # noqa: S608
    connection.executemany(
        "INSERT INTO head VALUES (?, ?, ?)",
        [(*entity, op_id) for op_id in sorted((present | forgotten) - named - absent)],
    )


def _ids(connection: Connection, table: str, entity: tuple[bytes, str]) -> set[bytes]:
    rows = connection.execute(
        f"SELECT op_id FROM {table} WHERE entity_id = ? AND entity_type = ?",  # noqa: S608
        entity,
    ).fetchall()
    return {op_id for (op_id,) in rows}
