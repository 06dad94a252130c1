"""Entities that could not be taken in: the rest goes on without them, and their next op tries again, with all of theirs.

It takes an error of ours to leave one out. Which ones is kept, so that nobody takes their next op for their first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sqlcipher3 import dbapi2 as sqlcipher

from medxz.ids import uuid_bytes

if TYPE_CHECKING:
    from medxz.merge.entity import Entity


def put(connection: sqlcipher.Connection, entity: Entity) -> None:
    connection.execute(
        "INSERT OR IGNORE INTO view_left_out (entity_type, entity_id) VALUES (?, ?)", _row(entity)
    )


def forget(connection: sqlcipher.Connection, entities: Iterable[Entity]) -> None:
    """They are taken in now."""
    if count(connection):
        connection.executemany(
            "DELETE FROM view_left_out WHERE entity_type = ? AND entity_id = ?",
            [_row(one) for one in entities],
        )


def among(connection: sqlcipher.Connection, entities: Iterable[Entity]) -> list[Entity]:
    """Those of these entities that were left out."""
    if not count(connection):
        return []
    held = set(connection.execute("SELECT entity_type, entity_id FROM view_left_out").fetchall())
    return [entity for entity in entities if _row(entity) in held]


def count(connection: sqlcipher.Connection) -> int:
    [(entities,)] = connection.execute("SELECT count(*) FROM view_left_out").fetchall()
    return int(entities)


def _row(entity: Entity) -> tuple[str, bytes]:
    return entity.entity_type, uuid_bytes(entity.entity_id)
