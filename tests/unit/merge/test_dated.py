"""Of whom an entity is, and when it was."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medxz.merge.dated import PATIENTS_MAX, Span, date_of, patients_of, span_of

WHO = "0198c0de-0000-7000-8000-0000000000aa"
OTHER = "0198c0de-0000-7000-8000-0000000000bb"
DAY_MS = 86_400_000


def raw(**state: Any) -> dict[str, bytes]:
    return {name: json.dumps(value).encode() for name, value in state.items()}


def moment(text: str) -> int:
    """Milliseconds since the year 1, by somebody else's reckoning."""
    since = datetime.fromisoformat(text).astimezone(UTC) - datetime(1, 1, 1, tzinfo=UTC)
    return DAY_MS + (since.days * 86_400 + since.seconds) * 1_000 + since.microseconds // 1_000


@pytest.mark.parametrize(
    "reference",
    [
        {"reference": f"Patient/{WHO}"}, {"reference": f"urn:uuid:{WHO}"}, {"reference": f"https://x.org/fhir/Patient/{WHO}"},
        {"reference": f"Patient/{WHO}/_history/3"}, {"reference": f"Patient/{WHO.upper()}"}, f"Patient/{WHO}",
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["subject", "patient", "beneficiary"])
def test_a_reference_names_its_patient(name: str, reference: object) -> None:
    """Each form of reference to a patient, in each member that says of whom something is."""
    assert patients_of("Observation", raw(**{name: reference})) == (WHO,)


@pytest.mark.parametrize(
    "reference",
    [
        None, 5, [], {}, "", WHO, {"reference": 5}, {"reference": f"Group/{WHO}"}, {"reference": f"Patient/{WHO}x"},
        {"reference": "Patient/7"}, {"reference": f"XPatient/{WHO}"}, {"identifier": {"value": WHO}},
    ],
)  # fmt: skip
def test_what_names_no_patient_is_nobodys(reference: object) -> None:
    """Other resources, other ids, other types: the entity is then of nobody."""
    assert patients_of("Observation", raw(subject=reference)) == ()


def test_an_appointment_is_of_those_who_come() -> None:
    """Its participants who are patients, each once; other types have no participants."""
    participants = [{"actor": {"reference": f"Patient/{one}"}} for one in (OTHER, WHO, WHO)]
    participants.append({"actor": {"reference": f"Practitioner/{WHO}"}})
    assert patients_of("Appointment", raw(participant=participants)) == (WHO, OTHER)
    assert patients_of("Encounter", raw(participant=participants)) == ()
    crowd = [{"actor": {"reference": f"Patient/{n:08x}-0000-0000-0000-000000000000"}} for n in range(900)]
    assert len(patients_of("Appointment", raw(participant=crowd))) == PATIENTS_MAX


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2026-03-01T10:00:00.250Z", "2026-03-01T10:00:00.250+00:00", "2026-03-01T10:00:00.250+00:00"),
        ("2026-03-01T10:00:00Z", "2026-03-01T10:00:00+00:00", "2026-03-01T10:00:00.999+00:00"),
        ("2026-03-01T10:00:00+05:30", "2026-03-01T04:30:00+00:00", "2026-03-01T04:30:00.999+00:00"),
        ("2026-03-01T23:00:00.5-03:00", "2026-03-02T02:00:00.500+00:00", "2026-03-02T02:00:00.500+00:00"),
        ("2026-03-01T10:00", "2026-03-01T10:00:00+00:00", "2026-03-01T10:00:59.999+00:00"),
        ("2026-03-01", "2026-03-01T00:00:00+00:00", "2026-03-01T23:59:59.999+00:00"),
        ("2024-02", "2024-02-01T00:00:00+00:00", "2024-02-29T23:59:59.999+00:00"),
        ("2026", "2026-01-01T00:00:00+00:00", "2026-12-31T23:59:59.999+00:00"),
    ],
)
def test_a_date_covers_what_it_leaves_open(text: str, first: str, last: str) -> None:
    """From its first millisecond to its last, by the clock of its zone, or UTC's."""
    assert span_of(text) == Span(moment(first), moment(last))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "today",
        "2026-02-30",
        "2026-13",
        "26-01-01",
        "2026-01-01T25:00:00Z",
        "0000",
        "2026-01-01T10",
        "\uff12\uff10\uff12\uff16",
    ],
)
def test_what_is_no_date_has_no_span(text: str) -> None:
    """Days that are not in the calendar, times that no clock shows, other forms."""
    assert span_of(text) is None


@given(st.datetimes(timezones=st.just(UTC)))
def test_moments_are_those_of_the_calendar(when: datetime) -> None:
    """Any moment is where another calendar has it."""
    text = f"{when:%H:%M:%S}.{when.microsecond // 1_000:03d}Z"
    span = span_of(f"{when.year:04d}-{when.month:02d}-{when.day:02d}T{text}")
    assert span is not None
    assert span.first_ms == span.last_ms == moment(when.isoformat())


def test_the_first_date_that_can_be_read_counts() -> None:
    """What happened comes before what was written down about it; what can't be read is passed over."""
    assert date_of(raw(issued="2026-05-05", effectiveDateTime="2026-01-01")) == span_of("2026-01-01")
    assert date_of(raw(period={"start": "2026-02-02", "end": "2026-03-03"}, date="2020")) == span_of(
        "2026-02-02"
    )
    assert date_of(raw(effectiveDateTime="soon", period=[1], issued="2026-05-05")) == span_of("2026-05-05")
    assert date_of(raw(status="final", date=None)) is None


@pytest.mark.parametrize(
    "name",
    [
        "effectiveDateTime", "effectiveInstant", "performedDateTime", "occurrenceDateTime", "start", "date", "authoredOn",
        "recordedDate", "onsetDateTime", "issued",
    ],
)  # fmt: skip
def test_each_type_says_when_in_its_own_member(name: str) -> None:
    """Every member in which FHIR says when something was."""
    assert date_of(raw(**{name: "2026-05-05"})) == span_of("2026-05-05")
