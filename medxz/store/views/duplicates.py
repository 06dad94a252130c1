"""Patients that may be one: those that share an identifier, or a name and a birth date. They are told, never merged.

A finding is a set of patients. It is open until people have linked all of them, directly or by way of others, and it is
gone when they share nothing any more, or one of them is retracted. What is told of its patients is put together when
it is asked for: a patient can be in many findings, and a change of one is written once.
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
from medxz.store.cipher import Blob
from medxz.store.rows import LONG_SIZES, portions
from medxz.store.views.entities import blob_of
from medxz.store.views.rows import DUPLICATE
from medxz.store.views.statements import insert

if TYPE_CHECKING:
    from medxz.merge.patients import Facts
    from medxz.merge.view import View

# A value that more patients share than this stands for "unknown" and tells nothing of anybody.
SHARING_MAX: Final = 200
LINKED_MAX: Final = 400
# Of a patient in a finding: a member that does not fit any more is left out.
SHOWN_BYTES_MAX: Final = 1_024

_SHOWN: Final = ("name", "birthDate", "identifier")
_FIELDS: Final = {b"i": ("identifier",), b"n": ("name", "birthDate")}
_VALUE_BYTES: Final = 12
_FORGET: Final = "DELETE FROM view_conflict WHERE conflict_id = ? AND kind = ?"
_PUT: Final = (
    "INSERT OR REPLACE INTO view_conflict (conflict_id, kind, is_open, entity_type, entity_id)"
    " VALUES (?, ?, ?, 'Patient', ?)"
)
_IS_OPEN: Final = f"SELECT is_open FROM view_conflict WHERE conflict_id = ? AND kind = '{DUPLICATE}'"
_FINDINGS_OF: Final = (
    "SELECT DISTINCT d.conflict_id FROM view_shared s JOIN view_duplicate d ON d.value = s.value"
    " WHERE s.patient = ?"
)
_PUT_SHARED: Final = "INSERT INTO view_shared (value, patient) VALUES"
_PUT_SHOWN: Final = "INSERT INTO view_shown (patient, body) VALUES"
_TELLING: Final = (
    "WITH asked (value) AS (VALUES {}) SELECT value FROM asked WHERE"
    " (SELECT count(*) FROM (SELECT 1 FROM view_shared s WHERE s.value = asked.value LIMIT 2)) > 1"
    " OR EXISTS (SELECT 1 FROM view_duplicate d WHERE d.value = asked.value)"
)
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
    is_new: bool  # nothing is written down of it yet


def known_of(view: View, facts: Facts, *, is_new: bool) -> Known:
    links = frozenset(uuid_bytes(other) for other in facts.links)
    if view.retracted is not None or not view.version:
        return Known(view.entity, frozenset(), links, None, is_new)
    values = frozenset(
        kind[:1].encode() + hashlib.blake2b(value.encode(), digest_size=_VALUE_BYTES).digest()
        for kind, value in facts.shared
    )
    return Known(view.entity, values, links, _shown(view), is_new)


def put(connection: sqlcipher.Connection, patients: Sequence[Known]) -> None:
    """Compare these patients with all others anew, and tell what is found."""
    values = _add(connection, [known for known in patients if known.is_new])
    linked: set[bytes] = set()
    for known in patients:
        patient = uuid_bytes(known.entity.entity_id)
        if not known.is_new:
            _replace_shown(connection, patient, known.shown)
            values |= _replace_values(connection, patient, known.values)
        if known.links or not known.is_new:
            linked |= _replace_links(connection, patient, known.links)
    findings: set[bytes] = set()
    for value in sorted(_telling(connection, values)):
        findings |= _find(connection, patients[0].entity.clinic_id, value)
    for patient in sorted(linked):
        findings |= _column(connection, _FINDINGS_OF, patient)
    for finding in sorted(findings):
        _tell(connection, finding)


def told(connection: sqlcipher.Connection, finding: bytes) -> bytes:
    """A finding as JSON, with what its patients say of themselves now."""
    values = _values_of(connection, finding)
    sides = connection.execute(
        "SELECT s.patient, w.body FROM view_shared s JOIN view_shown w ON w.patient = s.patient"
        " WHERE s.value = ? ORDER BY s.patient",
        (min(values),),
    ).fetchall()
    return object_json(
        {
            "conflict_id": orjson.dumps(uuid_text(finding)),
            "kind": orjson.dumps(DUPLICATE),
            "entity_type": b'"Patient"',
            "entity_id": orjson.dumps(uuid_text(sides[0][0])),
            "fields": orjson.dumps([name for kind in b"in" for name in _fields(kind, values)]),
            "heads": b"[]",
            "sides": b"[" + b",".join(_side(patient, shown) for patient, shown in sides) + b"]",
        }
    )


def _shown(view: View) -> bytes:
    """What a finding says of a patient."""
    left = SHOWN_BYTES_MAX
    shown: dict[str, bytes] = {}
    for name in _SHOWN:
        value = view.state.get(name)
        if value is not None and len(value) <= left:
            shown[name] = value
            left -= len(value)
    return object_json(shown)


def _add(connection: sqlcipher.Connection, patients: Sequence[Known]) -> set[bytes]:
    """Write down the values of patients of whom nothing is written down yet: nearly all; and what is shown of them."""
    shared: list[tuple[bytearray, bytearray]] = []
    shown: list[tuple[bytearray, bytearray]] = []
    for known in patients:
        patient = blob_of(known.entity.entity_id)
        shared += [(Blob(value), patient) for value in known.values]
        if known.shown is not None:
            shown.append((patient, Blob(known.shown)))
    insert(connection, _PUT_SHARED, sorted(shared))
    insert(connection, _PUT_SHOWN, sorted(shown))
    return {value for known in patients for value in known.values}


def _telling(connection: sqlcipher.Connection, values: Iterable[bytes]) -> set[bytes]:
    """Those of the values that make a finding, or have made one: few."""
    found: set[bytes] = set()
    for part in portions(sorted(values), LONG_SIZES):
        statement = _TELLING.format(",".join(["(?)"] * len(part)))
        rows = connection.execute(statement, [Blob(value) for value in part]).fetchall()
        found.update(value for (value,) in rows)
    return found


def _replace_shown(connection: sqlcipher.Connection, patient: bytes, shown: bytes | None) -> None:
    if _column(connection, "SELECT body FROM view_shown WHERE patient = ?", patient) == {shown} - {None}:
        return
    connection.execute("DELETE FROM view_shown WHERE patient = ?", (patient,))
    if shown is not None:
        connection.execute("INSERT INTO view_shown VALUES (?, ?)", (patient, shown))


def _replace_values(connection: sqlcipher.Connection, patient: bytes, values: frozenset[bytes]) -> set[bytes]:
    """Write down what a patient is compared by; those values that it has got or lost."""
    held = _column(connection, "SELECT value FROM view_shared WHERE patient = ?", patient)
    connection.executemany(
        "DELETE FROM view_shared WHERE value = ? AND patient = ?",
        [(value, patient) for value in sorted(held - values)],
    )
    connection.executemany(
        "INSERT INTO view_shared (value, patient) VALUES (?, ?)",
        [(value, patient) for value in sorted(values - held)],
    )
    return held ^ values


def _replace_links(connection: sqlcipher.Connection, patient: bytes, links: frozenset[bytes]) -> set[bytes]:
    """Write down a patient's links; whom they hold together, or held, where they are others."""
    if _column(connection, "SELECT other FROM view_link WHERE patient = ?", patient) == links:
        return set()
    together = _together(connection, patient)
    connection.execute("DELETE FROM view_link WHERE patient = ?", (patient,))
    connection.executemany(
        "INSERT INTO view_link (patient, other) VALUES (?, ?)", [(patient, other) for other in sorted(links)]
    )
    return together | _together(connection, patient)


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
    """Say whether there is such a finding, and whether it is open."""
    values = _values_of(connection, finding)
    if not values:
        connection.execute(_FORGET, (finding, DUPLICATE))
        return
    patients = _column(connection, "SELECT patient FROM view_shared WHERE value = ?", min(values))
    first = min(patients)
    is_open = not patients <= _together(connection, first)
    if connection.execute(_IS_OPEN, (finding,)).fetchall() != [(is_open,)]:
        connection.execute(_PUT, (finding, DUPLICATE, is_open, first))


def _values_of(connection: sqlcipher.Connection, finding: bytes) -> set[bytes]:
    """By what these patients were found."""
    return _column(connection, "SELECT value FROM view_duplicate WHERE conflict_id = ?", finding)


def _fields(kind: int, values: Iterable[bytes]) -> tuple[str, ...]:
    return _FIELDS[bytes([kind])] if any(value[0] == kind for value in values) else ()


def _side(patient: bytes, shown: bytes) -> bytes:
    return object_json({"entity_id": orjson.dumps(uuid_text(patient)), "values": shown})


def _together(connection: sqlcipher.Connection, patient: bytes) -> set[bytes]:
    """The patient and all that links lead to, either way."""
    return _column(connection, _TOGETHER, patient)


def _column(connection: sqlcipher.Connection, statement: str, key: bytes) -> set[bytes]:
    return {value for (value,) in connection.execute(statement, (key,)).fetchall()}
