"""Putting entities into the tables: each table in its own order, and only what has changed.

The index of patients wants its numbers in ascending order (each step back begins a new piece of index), so a batch
takes out first and enters then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
from sqlcipher3 import dbapi2 as sqlcipher

from medxz.merge.patients import Facts, facts_of
from medxz.store.views import conflicts, dated, duplicates, entities, patients
from medxz.store.views.entities import HAS_CONFLICTS, RETRACTED, Held, Put

if TYPE_CHECKING:
    from medxz.merge.entity import Entity
    from medxz.merge.members import State
    from medxz.merge.view import Resolved, View


class Taken(msgspec.Struct, gc=False):
    """An entity on its way in: what the tables keep of it. `view` where it may be in conflict, or is a patient's."""

    entity: Entity
    is_retracted: bool = False
    is_gone: bool = False
    entry: dated.Entry | None = None
    view: View | None = None
    resolved: Sequence[Resolved] = ()

    @property
    def flags(self) -> int:
        return RETRACTED if self.is_retracted else 0


def taken_of(view: View, resolved: Sequence[Resolved]) -> Taken:
    """Any entity."""
    entity = view.entity
    is_patient = entity.entity_type == patients.PATIENT
    return Taken(
        entity,
        is_retracted=view.retracted is not None,
        is_gone=not view.version,
        entry=None if is_patient else dated.entry_of(entity.entity_type, view.state),
        view=view if is_patient or view.conflicts else None,
        resolved=resolved,
    )


def taken_of_one(entity: Entity, members: State, *, is_retracted: bool) -> Taken:
    """An entity of one op, which is no patient: what that op says is its state."""
    entry = None if is_retracted else dated.entry_of(entity.entity_type, members)
    return Taken(entity, is_retracted=is_retracted, entry=entry)


def put(connection: sqlcipher.Connection, taken: Sequence[Taken], held: Mapping[Entity, Held]) -> None:
    """Replace all that is held of these entities; one that has no ops any more goes. To be called in a transaction."""
    kinds = entities.kinds_of(connection, {one.entity.entity_type for one in taken if not one.is_gone})
    people = _put_people(connection, taken, held)
    moving = dated.Moving(connection)
    rows: list[Put] = []
    for one in taken:
        entity, before = one.entity, held.get(one.entity)
        if before is None and one.is_gone:
            continue
        kind, raw = kinds[entity.entity_type], entities.blob_of(entity.entity_id)
        flags = one.flags | _put_conflicts(connection, one, before)
        now = people.get(entity)
        if now is not None:
            now = now._replace(flags=flags)
        elif entity.entity_type != patients.PATIENT:
            run = moving.move(kind, raw, before, one.entry)
            now = Held(flags, run, one.entry.seal if one.entry is not None else None)
        rows.append(Put(kind, raw, before, None if one.is_gone else now))
    moving.write()
    entities.put(connection, rows)


def _put_conflicts(connection: sqlcipher.Connection, one: Taken, before: Held | None) -> int:
    had_some = before is not None and bool(before.flags & HAS_CONFLICTS)
    open_ones = one.view.conflicts if one.view is not None else ()
    if not had_some and not open_ones and not one.resolved:
        return 0
    return HAS_CONFLICTS if conflicts.put(connection, one.entity, open_ones, one.resolved) else 0


def _put_people(
    connection: sqlcipher.Connection, taken: Sequence[Taken], held: Mapping[Entity, Held]
) -> dict[Entity, Held]:
    """Enter the patients among them anew, where what they are found by has changed; the rows of all."""
    rows: dict[Entity, Held] = {}
    left: list[int] = []
    changed: list[tuple[View, Facts]] = []
    seals: dict[Entity, int] = {}
    for one in taken:
        view, before = one.view, held.get(one.entity)
        if view is None or one.entity.entity_type != patients.PATIENT:
            continue
        seal = seals[one.entity] = patients.seal_of(view)
        if before is not None and before.seal == seal and not one.is_gone:
            rows[one.entity] = before
            continue
        if before is not None and before.place is not None:
            left.append(before.place)
        changed.append((view, facts_of(view.state)))
    if changed:
        patients.forget(connection, left)
        places = patients.enter(
            connection,
            [
                (view.entity, patients.entry_of(facts, is_retracted=view.retracted is not None))
                for view, facts in changed
                if view.version
            ],
        )
        rows |= {entity: Held(0, place, seals[entity]) for entity, place in places.items()}
        duplicates.put(
            connection,
            [duplicates.known_of(view, facts, is_new=view.entity not in held) for view, facts in changed],
        )
    return rows
