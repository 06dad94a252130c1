"""Appointment and Encounter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from medxz.resources.base import Element, Members, Problem, Resource
from medxz.resources.datatypes import (
    CodeableConcept,
    Coding,
    Concepts,
    Identifier,
    Period,
    Quantity,
    Reference,
    References,
    SubjectReference,
)
from medxz.resources.forms import AtLeastOne, DateTime, Instant, PositiveInt, String, UnsignedInt

EncounterStatus = Literal[
    "planned", "arrived", "triaged", "in-progress", "onleave", "finished", "cancelled", "entered-in-error", "unknown",
]  # fmt: skip


def _type_or_actor(participant: Members) -> Iterator[Problem]:
    """app-1."""
    if not {"type", "actor"} & participant.keys():
        yield Problem("actor", "is missing; without it, type must be there")


class AppointmentParticipant(Element):
    rules = (_type_or_actor,)
    type: Concepts | None = None
    actor: Reference | None = None
    required: Literal["required", "optional", "information-only"] | None = None
    status: Literal["accepted", "declined", "tentative", "needs-action"]
    period: Period | None = None


class Appointment(Resource):
    identifier: tuple[Identifier, ...] | None = None
    status: Literal[
        "proposed", "pending", "booked", "arrived", "fulfilled", "cancelled", "noshow", "entered-in-error",
        "checked-in", "waitlist",
    ]  # fmt: skip
    cancelationReason: CodeableConcept | None = None
    serviceCategory: Concepts | None = None
    serviceType: Concepts | None = None
    specialty: Concepts | None = None
    appointmentType: CodeableConcept | None = None
    reasonCode: Concepts | None = None
    reasonReference: References | None = None
    priority: UnsignedInt | None = None
    description: String | None = None
    supportingInformation: References | None = None
    start: Instant | None = None
    end: Instant | None = None
    minutesDuration: PositiveInt | None = None
    slot: References | None = None
    created: DateTime | None = None
    comment: String | None = None
    patientInstruction: String | None = None
    basedOn: References | None = None
    participant: Annotated[tuple[AppointmentParticipant, ...], AtLeastOne]
    requestedPeriod: tuple[Period, ...] | None = None


class StatusHistory(Element):
    status: EncounterStatus
    period: Period


class ClassHistory(Element):
    class_: Coding = Field(alias="class")
    period: Period


class EncounterParticipant(Element):
    type: Concepts | None = None
    period: Period | None = None
    individual: Reference | None = None


class Diagnosis(Element):
    condition: Reference
    use: CodeableConcept | None = None
    rank: PositiveInt | None = None


class EncounterLocation(Element):
    location: Reference
    status: Literal["planned", "active", "reserved", "completed"] | None = None
    physicalType: CodeableConcept | None = None
    period: Period | None = None


class Encounter(Resource):
    identifier: tuple[Identifier, ...] | None = None
    status: EncounterStatus
    statusHistory: tuple[StatusHistory, ...] | None = None
    class_: Coding = Field(alias="class")
    classHistory: tuple[ClassHistory, ...] | None = None
    type: Concepts | None = None
    serviceType: CodeableConcept | None = None
    priority: CodeableConcept | None = None
    subject: SubjectReference | None = None
    episodeOfCare: References | None = None
    basedOn: References | None = None
    participant: tuple[EncounterParticipant, ...] | None = None
    appointment: References | None = None
    period: Period | None = None
    length: Quantity | None = None
    reasonCode: Concepts | None = None
    reasonReference: References | None = None
    diagnosis: tuple[Diagnosis, ...] | None = None
    account: References | None = None
    location: tuple[EncounterLocation, ...] | None = None
    serviceProvider: Reference | None = None
    partOf: Reference | None = None
