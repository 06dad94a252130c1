"""Which entities there are: one short row each, by type and id; and the types, by numbers that make the rows shorter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson
from sqlcipher3 import dbapi2 as sqlcipher

from medxz.ids import uuid_bytes, uuid_text
from medxz.store.cipher import Blob
from medxz.store.rows import LONG_SIZES, portions
from medxz.store.views.rows import Found, Portion
from medxz.store.views.statements import insert

if TYPE_CHECKING:
    from medxz.merge.entity import Entity

RETRACTED: Final = 1
HAS_CONFLICTS: Final = 2

_KINDS: Final = "SELECT entity_type, kind FROM view_type"
_NAME_KIND: Final = "INSERT INTO view_type (entity_type, entities) VALUES (?, 0) RETURNING kind"
_HELD: Final = (
    "WITH asked (at, kind, entity_id) AS (VALUES {})"
    " SELECT at, flags, place, seal FROM asked CROSS JOIN view_entity USING (kind, entity_id)"
)
_PUT: Final = "INSERT OR REPLACE INTO view_entity (kind, entity_id, flags, place, seal) VALUES"
_FORGET: Final = "DELETE FROM view_entity WHERE kind = ? AND entity_id = ?"
_COUNT: Final = "UPDATE view_type SET entities = entities + ? WHERE kind = ?"
_LISTED: Final = (
    "SELECT entity_id, flags FROM view_entity"
    " WHERE kind = (SELECT kind FROM view_type WHERE entity_type = ?) AND entity_id > ? ORDER BY entity_id LIMIT ?"
)


class Held(NamedTuple):
    """The row of an entity. `place`: the number of a patient's row, or the run that anything else is dated in.

    `seal` stands for what it is found by there: the same seal, the same entry.
    """

    flags: int
    place: int | None
    seal: int | None


class Put(NamedTuple):
    """An entity's row before, and from now on; None where there is none."""

    kind: int
    raw: bytearray
    before: Held | None
    now: Held | None


def blob_of(entity_id: str) -> bytearray:
    return Blob.fromhex(entity_id.replace("-", ""))


def kinds_of(connection: sqlcipher.Connection, types: Iterable[str] = ()) -> dict[str, int]:
    """The numbers of all types; these have one from now on."""
    kinds: dict[str, int] = dict(connection.execute(_KINDS).fetchall())
    for name in sorted(set(types) - kinds.keys()):
        [(kinds[name],)] = connection.execute(_NAME_KIND, (name,)).fetchall()
    return kinds


def held(
    connection: sqlcipher.Connection, kinds: Mapping[str, int], entities: Sequence[Entity]
) -> dict[Entity, Held]:
    """The rows of those that are here."""
    asked = [
        (at, kinds[entity.entity_type], blob_of(entity.entity_id))
        for at, entity in enumerate(entities)
        if entity.entity_type in kinds
    ]
    found: dict[Entity, Held] = {}
    for part in portions(asked, LONG_SIZES):
        statement = _HELD.format(",".join(["(?,?,?)"] * len(part)))
        rows = connection.execute(statement, [value for one in part for value in one]).fetchall()
        for at, flags, place, seal in rows:
            found[entities[at]] = Held(flags, place, seal)
    return found


def put(connection: sqlcipher.Connection, rows: Iterable[Put]) -> None:
    """Write each entity's row, or take it out; with what it was before, so that it is counted once."""
    written: list[tuple[object, ...]] = []
    gone: list[tuple[int, bytearray]] = []
    counts: Counter[int] = Counter()
    for kind, raw, before, now in sorted(rows):
        counts[kind] += (now is not None) - (before is not None)
        if now is None:
            gone.append((kind, raw))
        elif now != before:
            written.append((kind, raw, *now))
    insert(connection, _PUT, written)
    connection.executemany(_FORGET, gone)
    connection.executemany(_COUNT, [(count, kind) for kind, count in counts.items() if count])


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
        f"SELECT coalesce(sum(entities), 0) FROM view_type WHERE 1 {of_types}", values
    ).fetchall()
    return int(entities)


def among(types: Collection[str] | None) -> tuple[str, tuple[str, ...]]:
    """A condition on entity_type, to be added to others, and its value."""
    if types is None:
        return "", ()
    return "AND entity_type IN (SELECT value FROM json_each(?))", (orjson.dumps(sorted(types)).decode(),)
