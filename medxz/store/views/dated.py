"""What is of a patient, newest first: entities by their dates, and an index that says of whom and of which type.

The number of a row is its date, so that the index gives them in order.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlcipher3 import dbapi2 as sqlcipher

from medxz.ids import uuid_bytes, uuid_text
from medxz.merge.dated import Span, date_of, patients_of, span_of
from medxz.store.views.entities import RETRACTED
from medxz.store.views.places import PLACE_MAX, first_place, place_of_moment
from medxz.store.views.rows import Found, Portion

if TYPE_CHECKING:
    from medxz.merge.entity import Entity
    from medxz.merge.view import View

_PUT: Final = "INSERT INTO view_dated (place, entity_type, entity_id) VALUES (?, ?, ?)"
_PUT_INDEX: Final = "INSERT INTO view_dated_index (rowid, of_whom) VALUES (?, ?)"
_FORGET: Final = "DELETE FROM view_dated WHERE place = ?"
_FORGET_INDEX: Final = "DELETE FROM view_dated_index WHERE rowid = ?"
_IS_TAKEN: Final = "SELECT 1 FROM view_dated WHERE place = ?"
_LISTED: Final = (
    "SELECT rowid FROM view_dated_index WHERE view_dated_index MATCH ? AND rowid BETWEEN ? AND ?"
    " ORDER BY rowid DESC LIMIT ?"
)
_FOUND: Final = (
    "SELECT d.entity_type, d.entity_id, e.flags FROM view_dated d JOIN view_entity e"
    " ON e.entity_type = d.entity_type AND e.entity_id = d.entity_id WHERE d.place = ?"
)


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose, which types of it (None: all), and between which FHIR dates. Without a zone they are UTC."""

    patient_id: str
    types: Collection[str] | None
    first: str | None = None
    last: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """Of whom an entity is and when it was; `seal` stands for all of that."""

    seal: int
    of_whom: str
    span: Span | None


def entry_of(view: View) -> Entry | None:
    """What is to be entered for an entity; None where it is of no patient."""
    patients = patients_of(view.entity.entity_type, view.state)
    if not patients:
        return None
    span = date_of(view.state)
    digits = [patient.replace("-", "") for patient in patients]
    kind = view.entity.entity_type.lower()
    of_whom = " ".join([*digits, *(f"{patient}{kind}" for patient in digits)])
    return Entry(zlib.crc32(f"{of_whom} {span}".encode()), of_whom, span)


def forget(connection: sqlcipher.Connection, places: Collection[int]) -> None:
    rows = [(place,) for place in sorted(places)]
    connection.executemany(_FORGET, rows)
    connection.executemany(_FORGET_INDEX, rows)


def enter(connection: sqlcipher.Connection, entries: Sequence[tuple[Entity, Entry]]) -> dict[Entity, int]:
    """Enter what is not entered yet, in the order of dates; which place each has got."""
    places: dict[int, tuple[Entity, Entry]] = {}

    def is_taken(place: int) -> bool:
        return place in places or bool(connection.execute(_IS_TAKEN, (place,)).fetchall())

    for entity, entry in entries:
        raw = uuid_bytes(entity.entity_id)
        moment = entry.span.first_ms if entry.span is not None else None
        is_exact = entry.span is not None and entry.span.first_ms == entry.span.last_ms
        places[place_of_moment(moment, is_taken, raw, is_exact=is_exact)] = (entity, entry)
    ordered = sorted(places.items())
    connection.executemany(
        _PUT, [(place, entity.entity_type, uuid_bytes(entity.entity_id)) for place, (entity, _) in ordered]
    )
    connection.executemany(_PUT_INDEX, [(place, entry.of_whom) for place, (_, entry) in ordered])
    return {entity: place for place, (entity, _) in ordered}


def listed(connection: sqlcipher.Connection, asked: Asked, after: str | None, limit: int) -> Portion[Found]:
    """What is of a patient, newest first and at last what has no date; with a first or last date, only what has one."""
    digits = asked.patient_id.replace("-", "")
    tokens = [digits] if asked.types is None else [f"{digits}{kind.lower()}" for kind in sorted(asked.types)]
    if not tokens or (within := _range(asked)) is None:
        return Portion([], None)
    newest = within[1] if after is None else min(within[1], int(after) - 1)
    match = " OR ".join(f'"{token}"' for token in tokens)
    places = [
        place for (place,) in connection.execute(_LISTED, (match, within[0], newest, limit + 1)).fetchall()
    ]
    found = [
        Found(kind, uuid_text(raw), bool(flags & RETRACTED))
        for place in places[:limit]
        for kind, raw, flags in connection.execute(_FOUND, (place,)).fetchall()
    ]
    return Portion(found, str(places[limit - 1]) if len(places) > limit else None)


def _range(asked: Asked) -> tuple[int, int] | None:
    """The places between two dates, both days included; None where one of them is no date."""
    if asked.first is None and asked.last is None:
        return 0, PLACE_MAX
    first = span_of(asked.first or "0001")
    last = span_of(asked.last or "9999")
    if first is None or last is None:
        return None
    return first_place(first.first_ms), first_place(last.last_ms + 1_000) - 1
