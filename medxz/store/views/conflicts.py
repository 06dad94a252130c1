"""Conflicts as they are told, open and resolved, each under its id: those of an entity, and patients that look alike."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final

from sqlcipher3 import dbapi2 as sqlcipher

from medxz.ids import uuid_bytes, uuid_text
from medxz.store.views.entities import among
from medxz.store.views.rows import ConflictState, HeldConflict, Portion

if TYPE_CHECKING:
    from medxz.merge.view import Resolved, View

DUPLICATE: Final = "duplicate"  # not of one entity: these come and go with what patients share

_FIELDS: Final = "conflict_id, kind, is_open, entity_type, entity_id, body"
_PUT: Final = f"INSERT OR REPLACE INTO view_conflict ({_FIELDS}) VALUES (?, ?, ?, ?, ?, ?)"
_FORGET: Final = (
    f"DELETE FROM view_conflict WHERE entity_type = ? AND entity_id = ? AND kind <> '{DUPLICATE}'"
)


def put(
    connection: sqlcipher.Connection, view: View, resolved: Sequence[Resolved], *, had_some: bool
) -> bool:
    """Replace what is told of an entity; whether there is anything to tell."""
    entity = view.entity
    raw = uuid_bytes(entity.entity_id)
    if had_some:
        connection.execute(_FORGET, (entity.entity_type, raw))
    rows = [
        (uuid_bytes(found.conflict.conflict_id), found.conflict.kind, False, entity.entity_type, raw,
         _resolved_json(found))
        for found in reversed(resolved)  # the first of several that resolved one counts
    ]  # fmt: skip
    rows += [
        (uuid_bytes(found.conflict_id), found.kind, True, entity.entity_type, raw,
         found.to_wire_json())
        for found in view.conflicts
    ]  # fmt: skip
    if rows:
        connection.executemany(_PUT, rows)
    return bool(rows)


def listed(
    connection: sqlcipher.Connection,
    state: ConflictState,
    types: Collection[str] | None,
    after: str | None,
    limit: int,
) -> Portion[HeldConflict]:
    of_types, values = among(types)
    last_id, _, last_kind = (after or "").partition("/")
    rows = connection.execute(
        f"SELECT {_FIELDS} FROM view_conflict WHERE is_open = ? AND (conflict_id, kind) > (?, ?) {of_types}"
        " ORDER BY conflict_id, kind LIMIT ?",
        (state == "open", uuid_bytes(last_id), last_kind, *values, limit + 1),
    ).fetchall()
    found = [_row(*row) for row in rows[:limit]]
    return Portion(found, f"{found[-1].conflict_id}/{found[-1].kind}" if len(rows) > limit else None)


def one(connection: sqlcipher.Connection, conflict_id: bytes) -> HeldConflict | None:
    """The open one, where two kinds share an id."""
    rows = connection.execute(
        f"SELECT {_FIELDS} FROM view_conflict WHERE conflict_id = ? ORDER BY is_open DESC, kind DESC LIMIT 1",
        (conflict_id,),
    ).fetchall()
    return _row(*rows[0]) if rows else None


def count_open(connection: sqlcipher.Connection, types: Collection[str] | None) -> int:
    of_types, values = among(types)
    [(count,)] = connection.execute(
        f"SELECT count(*) FROM view_conflict WHERE is_open = 1 {of_types}", values
    ).fetchall()
    return int(count)


def _resolved_json(found: Resolved) -> bytes:
    """A resolved conflict as it is told: what it was, and by which op it ended."""
    return found.conflict.to_wire_json()[:-1] + b',"resolved_by":"%b"}' % found.by.encode()


def _row(
    conflict_id: bytes, kind: str, is_open: int, entity_type: str, entity_id: bytes, body: bytes
) -> HeldConflict:
    state: ConflictState = "open" if is_open else "resolved"
    return HeldConflict(uuid_text(conflict_id), kind, state, entity_type, uuid_text(entity_id), body)
