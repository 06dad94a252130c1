"""Patients by name, birth date, identifier and phone: a row each in the order of names, and the index they are found by.

What they are found by is folded by medxz/merge/patients.py; a sign before it says what it is: `#` an identifier, `@` a
birth date, `+` a phone's digits from the last one on, `!` that the patient is retracted. A word of a name has none.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlcipher3 import dbapi2 as sqlcipher

from medxz.ids import uuid_bytes, uuid_text
from medxz.merge.patients import Facts
from medxz.store.views import question
from medxz.store.views.places import place_of_name
from medxz.store.views.rows import Found, Portion

if TYPE_CHECKING:
    from medxz.merge.entity import Entity
    from medxz.merge.view import View

PATIENT: Final = "Patient"

_PUT: Final = "INSERT INTO view_patient (place, entity_id, is_retracted, sort_name) VALUES (?, ?, ?, ?)"
_PUT_INDEX: Final = "INSERT INTO view_patient_index (rowid, found_by) VALUES (?, ?)"
_FORGET: Final = "DELETE FROM view_patient WHERE place = ?"
_FORGET_INDEX: Final = "DELETE FROM view_patient_index WHERE rowid = ?"
_IS_TAKEN: Final = "SELECT 1 FROM view_patient WHERE place = ?"
_FOUND: Final = (
    "SELECT place, sort_name, entity_id, is_retracted FROM (SELECT rowid AS place FROM view_patient_index"
    " WHERE view_patient_index MATCH ? AND rowid > ? ORDER BY rowid LIMIT ?)"
    " CROSS JOIN view_patient USING (place) ORDER BY place"
)

# All that a patient is found by, compared by and shown by among duplicates.
_SEALED: Final = ("birthDate", "identifier", "link", "name", "phone", "telecom")


@dataclass(frozen=True, slots=True)
class Entry:
    """What a patient is listed and found by."""

    sort_name: str
    found_by: str
    is_retracted: bool


def entry_of(facts: Facts, *, is_retracted: bool) -> Entry:
    found_by = " ".join(
        [
            *facts.words,
            *(f"#{identifier}" for identifier in facts.identifiers),
            *(f"@{born}" for born in facts.birth_dates),
            *(f"+{digits[::-1]}" for digits in facts.phones),
            *(("!",) if is_retracted else ()),
        ]
    )
    return Entry(facts.sort_name, found_by, is_retracted)


def seal_of(view: View) -> int:
    """Stands for all of a state that is looked at: with the same seal, nothing about a patient has changed here."""
    seal = zlib.crc32(b"retracted" if view.retracted is not None else b"")
    for name in _SEALED:
        seal = zlib.crc32(b"%b:%b\n" % (name.encode(), view.state.get(name, b"")), seal)
    return seal


def forget(connection: sqlcipher.Connection, places: Collection[int]) -> None:
    rows = [(place,) for place in sorted(places)]
    connection.executemany(_FORGET, rows)
    connection.executemany(_FORGET_INDEX, rows)


def enter(connection: sqlcipher.Connection, entries: Sequence[tuple[Entity, Entry]]) -> dict[Entity, int]:
    """Enter who is not entered yet, in the order of names; which place each has got."""
    places: dict[int, tuple[Entity, Entry]] = {}

    def is_taken(place: int) -> bool:
        return place in places or bool(connection.execute(_IS_TAKEN, (place,)).fetchall())

    for entity, entry in entries:
        raw = uuid_bytes(entity.entity_id)
        places[place_of_name(entry.sort_name, is_taken, raw)] = (entity, entry)
    ordered = sorted(places.items())
    connection.executemany(
        _PUT,
        [
            (place, uuid_bytes(entity.entity_id), entry.is_retracted, entry.sort_name)
            for place, (entity, entry) in ordered
        ],
    )
    connection.executemany(_PUT_INDEX, [(place, entry.found_by) for place, (_, entry) in ordered])
    return {entity: place for place, (entity, _) in ordered}


def found(connection: sqlcipher.Connection, text: str, after: str | None, limit: int) -> Portion[Found]:
    """Whom the text fits: first those with just these words, then by how words begin, at last who is retracted."""
    first_rank, _, last_place = (after or "0:-1").partition(":")
    rows: list[tuple[int, int, str, Found]] = []
    for rank, match in enumerate(question.matches(text)):
        if rank < int(first_rank):
            continue
        last = int(last_place) if rank == int(first_rank) else -1
        found_here = connection.execute(_FOUND, (match, last, limit + 1 - len(rows))).fetchall()
        rows += [
            (rank, place, sort_name, Found(PATIENT, uuid_text(raw), bool(is_retracted)))
            for place, sort_name, raw, is_retracted in found_here
        ]
        if len(rows) > limit:
            break
    shown, is_more = rows[:limit], len(rows) > limit
    by_name = sorted(shown, key=lambda row: (row[0], not row[2], row[2], row[3].entity_id))
    end = f"{shown[-1][0]}:{shown[-1][1]}" if is_more else None
    return Portion([row[3] for row in by_name], end)
