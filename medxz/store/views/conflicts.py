"""Conflicts as they are told, open and resolved, each under its id: those of an entity, and patients that look alike."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from sqlcipher3 import dbapi2 as sqlcipher

from medxz import limits
from medxz.ids import uuid_bytes, uuid_text
from medxz.store.views import duplicates
from medxz.store.views.entities import among
from medxz.store.views.rows import DUPLICATE, ConflictState, HeldConflict, Portion

if TYPE_CHECKING:
    from medxz.merge.entity import Entity
    from medxz.merge.view import Conflict, Resolved

_Row = tuple[bytes, str, int, str, bytes, bytes | None]

_FIELDS: Final = "conflict_id, kind, is_open, entity_type, entity_id, body"
_PUT: Final = f"INSERT OR REPLACE INTO view_conflict ({_FIELDS}) VALUES (?, ?, ?, ?, ?, ?)"
_FORGET: Final = (
    f"DELETE FROM view_conflict WHERE entity_type = ? AND entity_id = ? AND kind <> '{DUPLICATE}'"
)


def put(
    connection: sqlcipher.Connection,
    entity: Entity,
    open_ones: Sequence[Conflict],
    resolved: Sequence[Resolved],
) -> bool:
    """Replace what is told of an entity; whether there is anything to tell."""
    raw = uuid_bytes(entity.entity_id)
    connection.execute(_FORGET, (entity.entity_type, raw))
    written: set[tuple[str, str]] = set()
    for conflict, by in _told(open_ones, resolved):
        row = conflict.conflict_id, conflict.kind
        if row not in written:  # each has one row: made and let go of before the next, they can be long
            written.add(row)
            values = (uuid_bytes(conflict.conflict_id), conflict.kind, by is None, entity.entity_type, raw)
            connection.execute(_PUT, (*values, _body(conflict, by)))
    return bool(written)


def listed(
    connection: sqlcipher.Connection,
    state: ConflictState,
    types: Collection[str] | None,
    after: str | None,
    limit: int,
) -> Portion[HeldConflict]:
    """Conflicts by their ids, fewer than `limit` where a page is full before: one at least."""
    of_types, values = among(types)
    last_id, _, last_kind = (after or "").partition("/")
    rows = connection.execute(
        f"SELECT {_FIELDS} FROM view_conflict WHERE is_open = ? AND (conflict_id, kind) > (?, ?) {of_types}"
        " ORDER BY conflict_id, kind LIMIT ?",
        (state == "open", uuid_bytes(last_id), last_kind, *values, limit + 1),
    )
    found: list[HeldConflict] = []
    size = 0
    for row in rows:
        if len(found) == limit or size > limits.PULL_PAGE_BYTES_MAX:
            return Portion(found, f"{found[-1].conflict_id}/{found[-1].kind}")
        found.append(_row(connection, row))
        size += len(found[-1].body)
    return Portion(found, None)


def one(connection: sqlcipher.Connection, conflict_id: bytes) -> HeldConflict | None:
    """The open one, where two kinds share an id."""
    rows = connection.execute(
        f"SELECT {_FIELDS} FROM view_conflict WHERE conflict_id = ? ORDER BY is_open DESC, kind DESC LIMIT 1",
        (conflict_id,),
    ).fetchall()
    return _row(connection, rows[0]) if rows else None


def count_open(connection: sqlcipher.Connection, types: Collection[str] | None) -> int:
    of_types, values = among(types)
    [(count,)] = connection.execute(
        f"SELECT count(*) FROM view_conflict WHERE is_open = 1 {of_types}", values
    ).fetchall()
    return int(count)


def _told(
    open_ones: Sequence[Conflict], resolved: Sequence[Resolved]
) -> Iterator[tuple[Conflict, str | None]]:
    """Each with the op that resolved it; what is open, and the first of several that resolved one, come first."""
    for conflict in open_ones:
        yield conflict, None
    for found in resolved:
        yield found.conflict, found.by


def _body(conflict: Conflict, by: str | None) -> bytes:
    """A conflict as it is told; of a resolved one, also by which op it ended."""
    body = conflict.to_wire_json()
    return body if by is None else b'%b,"resolved_by":"%b"}' % (body[:-1], by.encode())


def _row(connection: sqlcipher.Connection, row: _Row) -> HeldConflict:
    conflict_id, kind, is_open, entity_type, entity_id, body = row
    state: ConflictState = "open" if is_open else "resolved"
    told = duplicates.told(connection, conflict_id) if body is None else body
    return HeldConflict(uuid_text(conflict_id), kind, state, entity_type, uuid_text(entity_id), told)
