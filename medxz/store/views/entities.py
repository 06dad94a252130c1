"""Which entities there are: one short row each, by type and id, and how many of each type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson
from sqlcipher3 import dbapi2 as sqlcipher

from medxz.ids import uuid_bytes, uuid_text
from medxz.store.views.rows import Found, Portion

if TYPE_CHECKING:
    from medxz.merge.entity import Entity

RETRACTED: Final = 1
HAS_CONFLICTS: Final = 2

_HELD: Final = "SELECT flags, place, seal FROM view_entity WHERE entity_type = ? AND entity_id = ?"
_PUT: Final = (
    "INSERT OR REPLACE INTO view_entity (entity_type, entity_id, flags, place, seal) VALUES (?, ?, ?, ?, ?)"
)
_FORGET: Final = "DELETE FROM view_entity WHERE entity_type = ? AND entity_id = ?"
_COUNT: Final = (
    "INSERT INTO view_count (entity_type, entities) VALUES (?, ?)"
    " ON CONFLICT (entity_type) DO UPDATE SET entities = entities + excluded.entities"
)
_LISTED: Final = "SELECT entity_id, flags FROM view_entity WHERE entity_type = ? AND entity_id > ? ORDER BY entity_id LIMIT ?"


@dataclass(frozen=True, slots=True)
class Held:
    """The row of an entity. `seal` stands for all that it is found by: the same seal, the same entries."""

    flags: int
    place: int | None
    seal: int | None


def held(connection: sqlcipher.Connection, entity: Entity) -> Held | None:
    rows = connection.execute(_HELD, (entity.entity_type, uuid_bytes(entity.entity_id))).fetchall()
    return Held(*rows[0]) if rows else None


def put(connection: sqlcipher.Connection, rows: Sequence[tuple[Entity, Held | None, Held | None]]) -> None:
    """Write each entity's row, or take it out; with what it was before, so that it is counted once."""
    connection.executemany(
        _PUT,
        [
            (entity.entity_type, uuid_bytes(entity.entity_id), now.flags, now.place, now.seal)
            for entity, before, now in rows
            if now is not None and now != before
        ],
    )
    connection.executemany(
        _FORGET,
        [(entity.entity_type, uuid_bytes(entity.entity_id)) for entity, _, now in rows if now is None],
    )
    counts: Counter[str] = Counter()
    for entity, before, now in rows:
        counts[entity.entity_type] += (now is not None) - (before is not None)
    connection.executemany(_COUNT, [(kind, count) for kind, count in counts.items() if count])


def listed(
    connection: sqlcipher.Connection, entity_type: str, after: str | None, limit: int
) -> Portion[Found]:
    rows = connection.execute(
        _LISTED, (entity_type, uuid_bytes(after) if after is not None else b"", limit + 1)
    ).fetchall()
    found = [Found(entity_type, uuid_text(raw), bool(flags & RETRACTED)) for raw, flags in rows[:limit]]
    return Portion(found, found[-1].entity_id if len(rows) > limit else None)


def count(connection: sqlcipher.Connection, types: Collection[str] | None) -> int:
    of_types, values = among(types)
    [(entities,)] = connection.execute(
        f"SELECT coalesce(sum(entities), 0) FROM view_count WHERE 1 {of_types}", values
    ).fetchall()
    return int(entities)


def among(types: Collection[str] | None) -> tuple[str, tuple[str, ...]]:
    """A condition on entity_type, to be added to others, and its value."""
    if types is None:
        return "", ()
    return "AND entity_type IN (SELECT value FROM json_each(?))", (orjson.dumps(sorted(types)).decode(),)
