"""Of whom an entity is, and when it happened: what lists a patient's encounters and observations by date.

Moments are milliseconds since the year 1, so that every date that FHIR can write has one. What was written without a
zone is taken for UTC; a year or a day alone begins with its first moment.
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import date
from functools import lru_cache
from typing import Final

import msgspec

from medxz.merge.members import State, encounter_id, member, objects, patient_id

PATIENTS_MAX: Final = 32  # of one entity: a group appointment

_REFERENCES: Final = ("subject", "patient", "beneficiary")
_DATES: Final = (
    "effectiveDateTime", "effectivePeriod", "effectiveInstant", "period", "performedDateTime", "performedPeriod",
    "occurrenceDateTime", "start", "date", "authoredOn", "recordedDate", "onsetDateTime", "issued",
)  # fmt: skip
_DAY: Final = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?", re.ASCII)
_DAY_CHARS: Final = 10
_TIME: Final = re.compile(r"T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(Z|[+-]\d\d:\d\d)?", re.ASCII)
_SHORT_BYTES: Final = 128
_DAY_MS: Final = 86_400_000
_MINUTE_MS: Final = 60_000


class Span(msgspec.Struct, frozen=True, gc=False):
    """The milliseconds that a written date covers, both included."""

    first_ms: int
    last_ms: int


def patients_of(entity_type: str, state: State) -> tuple[str, ...]:
    """The ids of the patients that an entity is of, sorted; an appointment names them among its participants."""
    found = [_patient_in(state[name]) for name in _REFERENCES if name in state]
    if entity_type == "Appointment":
        found += [patient_id(who.get("actor")) for who in objects(member(state, "participant"))]
    return tuple(sorted({patient for patient in found if patient is not None})[:PATIENTS_MAX])


def encounter_of(state: State) -> str | None:
    """The id of the encounter that an entity was made in."""
    return encounter_id(member(state, "encounter"))


def _patient_in(reference: bytes) -> str | None:
    return (
        _patient_in_short(bytes(reference)) if len(reference) <= _SHORT_BYTES else _patient_in_any(reference)
    )


def _patient_in_any(reference: bytes) -> str | None:
    return patient_id(member({"": reference}, ""))


# What is written together is mostly of the same patients.
_patient_in_short = lru_cache(maxsize=1_024)(_patient_in_any)


def date_of(state: State) -> Span | None:
    """When it happened, by the first of the members that say so in a form that can be read."""
    for name in _DATES:
        if name in state:
            value = member(state, name)
            if isinstance(value, dict):
                value = value.get("start")
            if isinstance(value, str) and (span := span_of(value)) is not None:
                return span
    return None


def span_of(text: str) -> Span | None:
    """What a FHIR date, dateTime or instant covers; None for anything else, a 30th of February included."""
    days = _days(text[:_DAY_CHARS])
    if days is None or len(text) <= _DAY_CHARS:
        return days
    found = _TIME.fullmatch(text, _DAY_CHARS)
    if found is None:
        return None
    hour, minute, second, fraction, zone = found.groups()
    if int(hour) > 23 or int(minute) > 59 or int(second or 0) > 60:
        return None
    moment = days.first_ms + (int(hour) * 60 + int(minute)) * _MINUTE_MS - _offset_ms(zone)
    if second is None:
        return Span(moment, moment + _MINUTE_MS - 1)
    moment += int(second) * 1_000
    if fraction is None:
        return Span(moment, moment + 999)
    moment += int(fraction[:3].ljust(3, "0"))
    return Span(moment, moment)


@lru_cache(maxsize=1_024)
def _days(text: str) -> Span | None:
    """A year, a month or a day; what is written together is mostly of the same few days."""
    found = _DAY.fullmatch(text)
    if found is None:
        return None
    year, month, day = found.groups()
    try:
        first = date(int(year), int(month or 1), int(day or 1))
        last = date(int(year), int(month or 12), int(day or _last_day(year, month)))
    except ValueError:
        return None
    return Span(first.toordinal() * _DAY_MS, (last.toordinal() + 1) * _DAY_MS - 1)


def _last_day(year: str, month: str | None) -> int:
    return monthrange(int(year), int(month or 12))[1]


def _offset_ms(zone: str | None) -> int:
    if zone is None or zone == "Z":
        return 0
    minutes = int(zone[1:3]) * 60 + int(zone[4:6])
    return (-minutes if zone[0] == "-" else minutes) * _MINUTE_MS
