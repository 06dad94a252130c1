"""What is of a patient, newest first: an index by patient and moment, in runs.

A run holds some thousands of entities in one part of the table, and is not written again when it is full: an index of
all would write a page for nearly every op. Who asks looks into each run.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec
import orjson
from sqlcipher3 import dbapi2 as sqlcipher

from medxz.ids import is_uuid, uuid_bytes, uuid_text
from medxz.merge.dated import date_of, patients_of, span_of
from medxz.store.cipher import Blob
from medxz.store.rows import LONG_SIZES, portions
from medxz.store.views.entities import RETRACTED, Held
from medxz.store.views.rows import Found, Portion
from medxz.store.views.statements import insert

if TYPE_CHECKING:
    from medxz.merge.members import State

RUN_ENTITIES: Final = 8_192

_UNDATED: Final = 0
_LAST: Final = 2**63 - 1
_ID_BYTES: Final = 16
_PUT: Final = "INSERT INTO view_dated (run, patient, place, entity_id, kind) VALUES"
_FORGET: Final = "DELETE FROM view_dated WHERE run = ? AND (entity_id, kind) IN (VALUES {})"
_RUN: Final = "SELECT dated FROM view_about"
_COUNT: Final = "UPDATE view_about SET dated = dated + ?"
_LISTED: Final = f"""
    WITH RECURSIVE of_run (run) AS (
        VALUES (0) UNION ALL SELECT run + 1 FROM of_run WHERE run < (SELECT dated FROM view_about) / {RUN_ENTITIES}
    ), found AS (
        SELECT d.place, d.entity_id, d.kind FROM of_run CROSS JOIN view_dated d
        ON d.run = of_run.run AND d.patient = ? AND d.place BETWEEN ? AND ?
        WHERE (d.place, d.entity_id, d.kind) < (?, ?, ?) {{}}
        ORDER BY d.place DESC, d.entity_id DESC, d.kind DESC LIMIT ?
    )
    SELECT found.place, found.entity_id, found.kind, entity_type, flags
    FROM found JOIN view_type USING (kind) JOIN view_entity USING (kind, entity_id)
    ORDER BY found.place DESC, found.entity_id DESC, found.kind DESC
"""
_OF_KINDS: Final = "AND d.kind IN (SELECT value FROM json_each(?))"


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose, which types of it (None: all), and between which FHIR dates. Without a zone they are UTC."""

    patient_id: str
    types: Collection[str] | None
    first: str | None = None
    last: str | None = None


class Entry(msgspec.Struct, gc=False):
    """Of whom an entity is, as their ids one behind the other, and when it was: milliseconds, or 0."""

    patients: bytearray
    place: int
    seal: int


def entry_of(entity_type: str, state: State) -> Entry | None:
    """What is to be entered for an entity; None where it is of no patient."""
    patients = patients_of(entity_type, state)
    if not patients:
        return None
    span = date_of(state)
    ids = Blob.fromhex("".join(patients).replace("-", ""))
    place = span.first_ms if span is not None else _UNDATED
    return Entry(ids, place, zlib.crc32(b"%d" % place, zlib.crc32(ids)))


class Moving:
    """Entities on their way to where they stand now; nothing is written before `write`."""

    def __init__(self, connection: sqlcipher.Connection) -> None:
        self._connection = connection
        [(entered,)] = connection.execute(_RUN).fetchall()
        self._run = int(entered) // RUN_ENTITIES
        self._entered = 0
        self._added: list[tuple[int, bytearray, int, bytearray, int]] = []
        self._gone: dict[int, list[tuple[bytearray, int]]] = {}

    def move(self, kind: int, raw: bytearray, before: Held | None, entry: Entry | None) -> int | None:
        """The run where it stands from now on."""
        if before is not None and before.place is not None:
            if entry is not None and entry.seal == before.seal:
                return before.place
            self._gone.setdefault(before.place, []).append((raw, kind))
        if entry is None:
            return None
        self._entered += 1
        ids = entry.patients
        for at in range(0, len(ids), _ID_BYTES):
            self._added.append((self._run, ids[at : at + _ID_BYTES], entry.place, raw, kind))
        return self._run

    def write(self) -> None:
        """What moves is looked for in all of its run, once for all: a row that says where would cost every entity."""
        for run, gone in self._gone.items():
            for part in portions(gone, LONG_SIZES):
                values = [value for one in part for value in one]
                self._connection.execute(_FORGET.format(",".join(["(?,?)"] * len(part))), (run, *values))
        if self._added:
            insert(self._connection, _PUT, sorted(self._added))
            self._connection.execute(_COUNT, (self._entered,))


def listed(
    connection: sqlcipher.Connection, kinds: Mapping[str, int], asked: Asked, after: str | None, limit: int
) -> Portion[Found]:
    """What is of a patient, newest first and at last what has no date; with a first or last date, only what has one."""
    if (within := _range(asked)) is None or not is_uuid(asked.patient_id.lower()):
        return Portion([], None)
    of_kinds = ""
    place, last_id, kind = (after or f"{_LAST}..0").split(".")
    values = [uuid_bytes(asked.patient_id), *within, int(place), bytes.fromhex(last_id), int(kind)]
    if asked.types is not None:
        of_kinds = _OF_KINDS
        values.append(orjson.dumps([kinds[name] for name in asked.types if name in kinds]).decode())
    rows = connection.execute(_LISTED.format(of_kinds), (*values, limit + 1)).fetchall()
    found = [Found(name, uuid_text(raw), bool(flags & RETRACTED)) for _, raw, _, name, flags in rows[:limit]]
    if len(rows) <= limit:
        return Portion(found, None)
    place, raw, kind, _, _ = rows[limit - 1]
    return Portion(found, f"{place}.{raw.hex()}.{kind}")


def _range(asked: Asked) -> tuple[int, int] | None:
    """The places between two dates, with the whole seconds at both ends; None where one of them is no date."""
    if asked.first is None and asked.last is None:
        return _UNDATED, _LAST
    first = span_of(asked.first or "0001")
    last = span_of(asked.last or "9999")
    if first is None or last is None:
        return None
    return max(first.first_ms // 1_000 * 1_000, _UNDATED + 1), last.last_ms // 1_000 * 1_000 + 999
