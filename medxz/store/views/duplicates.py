"""Patients that may be one: those that share an identifier, or a name and a birth date. They are told, never merged.

A finding is a set of patients. It is open until people have linked all of them, directly or by way of others, and it is
gone when they share nothing any more, or one of them is retracted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson
from sqlcipher3 import dbapi2 as sqlcipher

from medxz.ids import uuid_bytes, uuid_text
from medxz.merge.change import object_json
from medxz.merge.entity import Entity
from medxz.store.views.conflicts import DUPLICATE

if TYPE_CHECKING:
    from medxz.merge.patients import Facts
    from medxz.merge.view import View

# A value that more patients share than this stands for "unknown" and tells nothing of anybody.
SHARING_MAX: Final = 200
LINKED_MAX: Final = 1_000

_SHOWN: Final = ("name", "birthDate", "identifier")
_FIELDS: Final = {b"i": ("identifier",), b"n": ("name", "birthDate")}
_VALUE_BYTES: Final = 12
_TOGETHER: Final = (
    "WITH RECURSIVE together (patient) AS (VALUES (?)"
    " UNION SELECT l.other FROM view_link l JOIN together t ON l.patient = t.patient"
    " UNION SELECT l.patient FROM view_link l JOIN together t ON l.other = t.patient)"
    f" SELECT patient FROM together LIMIT {LINKED_MAX}"
)


@dataclass(frozen=True, slots=True)
class Known:
    """What a patient is compared by: nothing of one that is retracted, but its links still hold others together."""

    entity: Entity
    values: frozenset[bytes]
    links: frozenset[bytes]
    shown: bytes | None


def known_of(view: View, facts: Facts) -> Known:
    links = frozenset(uuid_bytes(other) for other in facts.links)
    if view.retracted is not None or not view.version:
        return Known(view.entity, frozenset(), links, None)
    values = frozenset(
        kind[:1].encode() + hashlib.blake2b(value.encode(), digest_size=_VALUE_BYTES).digest()
        for kind, value in facts.shared
    )
    shown = object_json({name: view.state[name] for name in _SHOWN if name in view.state})
    return Known(view.entity, values, links, shown)


def put(connection: sqlcipher.Connection, patients: Sequence[Known]) -> None:
    """Compare these patients with all others anew, and tell what is found."""
    values: set[bytes] = set()
    for known in patients:
        values |= _replace(connection, known)
    findings: set[bytes] = set()
    for value in sorted(values):
        findings |= _find(connection, patients[0].entity.clinic_id, value)
    for finding in sorted(findings):
        _tell(connection, finding)


def _replace(connection: sqlcipher.Connection, known: Known) -> set[bytes]:
    """Write down what is known of a patient; the values whose findings that may change."""
    patient = uuid_bytes(known.entity.entity_id)
    held = _column(connection, "SELECT value FROM view_shared WHERE patient = ?", patient)
    shown = _column(connection, "SELECT body FROM view_shown WHERE patient = ?", patient)
    touched = set()
    if held != known.values or shown != {known.shown} - {None}:
        touched |= held | known.values
        connection.executemany(
            "DELETE FROM view_shared WHERE value = ? AND patient = ?",
            [(value, patient) for value in sorted(held - known.values)],
        )
        connection.executemany(
            "INSERT INTO view_shared (value, patient) VALUES (?, ?)",
            [(value, patient) for value in sorted(known.values - held)],
        )
        connection.execute("DELETE FROM view_shown WHERE patient = ?", (patient,))
        if known.shown is not None:
            connection.execute("INSERT INTO view_shown VALUES (?, ?)", (patient, known.shown))
    if _column(connection, "SELECT other FROM view_link WHERE patient = ?", patient) != known.links:
        together = _together(connection, patient)
        connection.execute("DELETE FROM view_link WHERE patient = ?", (patient,))
        connection.executemany(
            "INSERT INTO view_link (patient, other) VALUES (?, ?)",
            [(patient, other) for other in sorted(known.links)],
        )
        for one in together | _together(connection, patient):
            touched |= _column(connection, "SELECT value FROM view_shared WHERE patient = ?", one)
    return touched


def _find(connection: sqlcipher.Connection, clinic_id: str, value: bytes) -> set[bytes]:
    """Which finding this value makes now; it and the one that it made before."""
    sharing = _column(
        connection, f"SELECT patient FROM view_shared WHERE value = ? LIMIT {SHARING_MAX + 1}", value
    )
    before = _column(connection, "SELECT conflict_id FROM view_duplicate WHERE value = ?", value)
    now = set()
    if 1 < len(sharing) <= SHARING_MAX:
        ids = map(uuid_text, sharing)
        now = {uuid_bytes(Entity(clinic_id, "Patient", DUPLICATE).conflict_id(ids))}
    if now != before:
        connection.execute("DELETE FROM view_duplicate WHERE value = ?", (value,))
        connection.executemany("INSERT INTO view_duplicate VALUES (?, ?)", [(value, one) for one in now])
    return now | before


def _tell(connection: sqlcipher.Connection, finding: bytes) -> None:
    connection.execute("DELETE FROM view_conflict WHERE conflict_id = ? AND kind = ?", (finding, DUPLICATE))
    values = _column(connection, "SELECT value FROM view_duplicate WHERE conflict_id = ?", finding)
    if not values:
        return
    sides = connection.execute(
        "SELECT s.patient, w.body FROM view_shared s JOIN view_shown w ON w.patient = s.patient"
        " WHERE s.value = ? ORDER BY s.patient",
        (min(values),),
    ).fetchall()
    patients = [patient for patient, _ in sides]
    is_open = not set(patients) <= _together(connection, patients[0])
    body = object_json(
        {
            "conflict_id": orjson.dumps(uuid_text(finding)),
            "kind": orjson.dumps(DUPLICATE),
            "entity_type": b'"Patient"',
            "entity_id": orjson.dumps(uuid_text(patients[0])),
            "fields": orjson.dumps([name for kind in b"in" for name in _fields(kind, values)]),
            "heads": b"[]",
            "sides": b"[" + b",".join(_side(patient, shown) for patient, shown in sides) + b"]",
        }
    )
    connection.execute(
        "INSERT INTO view_conflict (conflict_id, kind, is_open, entity_type, entity_id, body)"
        " VALUES (?, ?, ?, 'Patient', ?, ?)",
        (finding, DUPLICATE, is_open, patients[0], body),
    )


def _fields(kind: int, values: Iterable[bytes]) -> tuple[str, ...]:
    return _FIELDS[bytes([kind])] if any(value[0] == kind for value in values) else ()


def _side(patient: bytes, shown: bytes) -> bytes:
    return object_json({"entity_id": orjson.dumps(uuid_text(patient)), "values": shown})


def _together(connection: sqlcipher.Connection, patient: bytes) -> set[bytes]:
    """The patient and all that links lead to, either way."""
    return _column(connection, _TOGETHER, patient)


def _column(connection: sqlcipher.Connection, statement: str, key: bytes) -> set[bytes]:
    return {value for (value,) in connection.execute(statement, (key,)).fetchall()}
