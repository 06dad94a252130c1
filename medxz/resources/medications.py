"""MedicationRequest, MedicationAdministration, MedicationStatement and Immunization."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from medxz.resources.base import Element, Members, Problem, Resource
from medxz.resources.datatypes import (
    CodeableConcept,
    Concepts,
    Dosage,
    Identifier,
    Notes,
    PatientReference,
    Period,
    Quantity,
    Ratio,
    Reference,
    References,
    SubjectReference,
    Uris,
)
from medxz.resources.forms import Boolean, Date, DateTime, PositiveInt, String, UnsignedInt, Uri


class InitialFill(Element):
    quantity: Quantity | None = None
    duration: Quantity | None = None


class DispenseRequest(Element):
    initialFill: InitialFill | None = None
    dispenseInterval: Quantity | None = None
    validityPeriod: Period | None = None
    numberOfRepeatsAllowed: UnsignedInt | None = None
    quantity: Quantity | None = None
    expectedSupplyDuration: Quantity | None = None
    performer: Reference | None = None


class Substitution(Element):
    exactly_one = ("allowed",)
    allowedBoolean: Boolean | None = None
    allowedCodeableConcept: CodeableConcept | None = None
    reason: CodeableConcept | None = None


class MedicationRequest(Resource):
    exactly_one = ("medication",)
    at_most_one = ("reported",)
    identifier: tuple[Identifier, ...] | None = None
    status: Literal[
        "active", "on-hold", "cancelled", "completed", "entered-in-error", "stopped", "draft", "unknown",
    ]  # fmt: skip
    statusReason: CodeableConcept | None = None
    intent: Literal[
        "proposal", "plan", "order", "original-order", "reflex-order", "filler-order", "instance-order", "option",
    ]  # fmt: skip
    category: Concepts | None = None
    priority: Literal["routine", "urgent", "asap", "stat"] | None = None
    doNotPerform: Boolean | None = None
    reportedBoolean: Boolean | None = None
    reportedReference: Reference | None = None
    medicationCodeableConcept: CodeableConcept | None = None
    medicationReference: Reference | None = None
    subject: SubjectReference
    encounter: Reference | None = None
    supportingInformation: References | None = None
    authoredOn: DateTime | None = None
    requester: Reference | None = None
    performer: Reference | None = None
    performerType: CodeableConcept | None = None
    recorder: Reference | None = None
    reasonCode: Concepts | None = None
    reasonReference: References | None = None
    instantiatesCanonical: Uris | None = None
    instantiatesUri: Uris | None = None
    basedOn: References | None = None
    groupIdentifier: Identifier | None = None
    courseOfTherapyType: CodeableConcept | None = None
    insurance: References | None = None
    note: Notes | None = None
    dosageInstruction: tuple[Dosage, ...] | None = None
    dispenseRequest: DispenseRequest | None = None
    substitution: Substitution | None = None
    priorPrescription: Reference | None = None
    detectedIssue: References | None = None
    eventHistory: References | None = None


class Performer(Element):
    function: CodeableConcept | None = None
    actor: Reference


def _dose_or_rate(dosage: Members) -> Iterator[Problem]:
    """mad-1."""
    if not {"dose", "rateRatio", "rateQuantity"} & dosage.keys():
        yield Problem("dose", "is missing; without it, rate[x] must be there")


class GivenDosage(Element):
    at_most_one = ("rate",)
    rules = (_dose_or_rate,)
    text: String | None = None
    site: CodeableConcept | None = None
    route: CodeableConcept | None = None
    method: CodeableConcept | None = None
    dose: Quantity | None = None
    rateRatio: Ratio | None = None
    rateQuantity: Quantity | None = None


class MedicationAdministration(Resource):
    exactly_one = ("medication", "effective")
    identifier: tuple[Identifier, ...] | None = None
    instantiates: Uris | None = None
    partOf: References | None = None
    status: Literal[
        "in-progress", "not-done", "on-hold", "completed", "entered-in-error", "stopped", "unknown",
    ]  # fmt: skip
    statusReason: Concepts | None = None
    category: CodeableConcept | None = None
    medicationCodeableConcept: CodeableConcept | None = None
    medicationReference: Reference | None = None
    subject: SubjectReference
    context: Reference | None = None
    supportingInformation: References | None = None
    effectiveDateTime: DateTime | None = None
    effectivePeriod: Period | None = None
    performer: tuple[Performer, ...] | None = None
    reasonCode: Concepts | None = None
    reasonReference: References | None = None
    request: Reference | None = None
    device: References | None = None
    note: Notes | None = None
    dosage: GivenDosage | None = None
    eventHistory: References | None = None


class MedicationStatement(Resource):
    exactly_one = ("medication",)
    at_most_one = ("effective",)
    identifier: tuple[Identifier, ...] | None = None
    basedOn: References | None = None
    partOf: References | None = None
    status: Literal[
        "active", "completed", "entered-in-error", "intended", "stopped", "on-hold", "unknown", "not-taken",
    ]  # fmt: skip
    statusReason: Concepts | None = None
    category: CodeableConcept | None = None
    medicationCodeableConcept: CodeableConcept | None = None
    medicationReference: Reference | None = None
    subject: SubjectReference
    context: Reference | None = None
    effectiveDateTime: DateTime | None = None
    effectivePeriod: Period | None = None
    dateAsserted: DateTime | None = None
    informationSource: Reference | None = None
    derivedFrom: References | None = None
    reasonCode: Concepts | None = None
    reasonReference: References | None = None
    note: Notes | None = None
    dosage: tuple[Dosage, ...] | None = None


def _document_or_reference(education: Members) -> Iterator[Problem]:
    """imm-1."""
    if not {"documentType", "reference"} & education.keys():
        yield Problem("documentType", "is missing; without it, reference must be there")


class Education(Element):
    rules = (_document_or_reference,)
    documentType: String | None = None
    reference: Uri | None = None
    publicationDate: DateTime | None = None
    presentationDate: DateTime | None = None


class AfterShot(Element):
    """A reaction that was seen after the immunization."""

    date: DateTime | None = None
    detail: Reference | None = None
    reported: Boolean | None = None


class Protocol(Element):
    exactly_one = ("doseNumber",)
    at_most_one = ("seriesDoses",)
    series: String | None = None
    authority: Reference | None = None
    targetDisease: Concepts | None = None
    doseNumberPositiveInt: PositiveInt | None = None
    doseNumberString: String | None = None
    seriesDosesPositiveInt: PositiveInt | None = None
    seriesDosesString: String | None = None


class Immunization(Resource):
    exactly_one = ("occurrence",)
    identifier: tuple[Identifier, ...] | None = None
    status: Literal["completed", "entered-in-error", "not-done"]
    statusReason: CodeableConcept | None = None
    vaccineCode: CodeableConcept
    patient: PatientReference
    encounter: Reference | None = None
    occurrenceDateTime: DateTime | None = None
    occurrenceString: String | None = None
    recorded: DateTime | None = None
    primarySource: Boolean | None = None
    reportOrigin: CodeableConcept | None = None
    location: Reference | None = None
    manufacturer: Reference | None = None
    lotNumber: String | None = None
    expirationDate: Date | None = None
    site: CodeableConcept | None = None
    route: CodeableConcept | None = None
    doseQuantity: Quantity | None = None
    performer: tuple[Performer, ...] | None = None
    note: Notes | None = None
    reasonCode: Concepts | None = None
    reasonReference: References | None = None
    isSubpotent: Boolean | None = None
    subpotentReason: Concepts | None = None
    education: tuple[Education, ...] | None = None
    programEligibility: Concepts | None = None
    fundingSource: CodeableConcept | None = None
    reaction: tuple[AfterShot, ...] | None = None
    protocolApplied: tuple[Protocol, ...] | None = None
