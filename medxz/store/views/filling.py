"""Putting views into the tables: each table in its own order, and only what has changed.

The indexes want their numbers in ascending order (each step back begins a new piece of index), so a batch takes out
first and enters then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlcipher3 import dbapi2 as sqlcipher

from medxz.merge.patients import facts_of
from medxz.store.views import conflicts, dated, duplicates, entities, patients
from medxz.store.views.entities import HAS_CONFLICTS, RETRACTED, Held

if TYPE_CHECKING:
    from medxz.merge.entity import Entity
    from medxz.merge.view import Resolved, View


@dataclass(frozen=True, slots=True)
class _Taking:
    """An entity on its way in: what was held of it, and what it is found by now."""

    view: View
    before: Held | None
    entry: patients.Entry | dated.Entry | None

    @property
    def is_entered(self) -> bool:
        """Whether it stands where it should already."""
        before, entry = self.before, self.entry
        return (
            before is not None
            and before.place is not None
            and entry is not None
            and before.seal == entry.seal
        )


def put(
    connection: sqlcipher.Connection, views: Sequence[View], resolved: Mapping[Entity, Sequence[Resolved]]
) -> None:
    """Replace all that is held of these entities; one that has no ops any more goes. To be called in a transaction."""
    known: list[duplicates.Known] = []
    taken = [_taking(connection, view, known) for view in views]
    places = _enter(connection, taken)
    rows: list[tuple[Entity, Held | None, Held | None]] = []
    for taking in taken:
        entity, before = taking.view.entity, taking.before
        had_some = before is not None and bool(before.flags & HAS_CONFLICTS)
        has_some = conflicts.put(connection, taking.view, resolved.get(entity, ()), had_some=had_some)
        flags = (RETRACTED if taking.view.retracted else 0) | (HAS_CONFLICTS if has_some else 0)
        seal = taking.entry.seal if taking.entry is not None else None
        now = Held(flags, places.get(entity), seal) if taking.view.version else None
        rows.append((entity, before, now))
    entities.put(connection, rows)
    if known:
        duplicates.put(connection, known)


def _taking(connection: sqlcipher.Connection, view: View, known: list[duplicates.Known]) -> _Taking:
    before = entities.held(connection, view.entity)
    if view.entity.entity_type != patients.PATIENT:
        return _Taking(view, before, dated.entry_of(view))
    facts = facts_of(view.state)
    known.append(duplicates.known_of(view, facts))
    entry = patients.entry_of(facts, is_retracted=view.retracted is not None) if view.version else None
    return _Taking(view, before, entry)


def _enter(connection: sqlcipher.Connection, taken: Sequence[_Taking]) -> dict[Entity, int]:
    """Take out what stands where it should not, enter what does not stand yet; the places of all."""
    places: dict[Entity, int] = {}
    left: dict[bool, list[int]] = {True: [], False: []}
    of_patients: list[tuple[Entity, patients.Entry]] = []
    of_others: list[tuple[Entity, dated.Entry]] = []
    for taking in taken:
        entity, before = taking.view.entity, taking.before
        place = before.place if before is not None else None
        if place is not None and taking.is_entered:
            places[entity] = place
            continue
        if place is not None:
            left[entity.entity_type == patients.PATIENT].append(place)
        if isinstance(taking.entry, patients.Entry):
            of_patients.append((entity, taking.entry))
        elif taking.entry is not None:
            of_others.append((entity, taking.entry))
    patients.forget(connection, left[True])
    dated.forget(connection, left[False])
    return places | patients.enter(connection, of_patients) | dated.enter(connection, of_others)
