"""AllergyIntolerance, Condition and CarePlan."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from medxz.resources.base import Element, Members, Problem, Resource, has_choice
from medxz.resources.datatypes import (
    AllergyClinicalStatus,
    AllergyVerification,
    CodeableConcept,
    Concepts,
    ConditionClinicalStatus,
    ConditionVerification,
    Identifier,
    Notes,
    PatientReference,
    Period,
    Quantity,
    Range,
    Reference,
    References,
    SubjectReference,
    Timing,
    Uris,
    has_code,
)
from medxz.resources.forms import AtLeastOne, Boolean, DateTime, String

_ENTERED_IN_ERROR: Final = "entered-in-error"


def _no_status_in_error(resource: Members) -> Iterator[Problem]:
    """ait-2, con-5."""
    if "clinicalStatus" in resource and has_code(resource.get("verificationStatus"), _ENTERED_IN_ERROR):
        yield Problem("clinicalStatus", "must not be there while verificationStatus is entered-in-error")


def _allergy_with_status(allergy: Members) -> Iterator[Problem]:
    """ait-1."""
    if "clinicalStatus" not in allergy and not has_code(allergy.get("verificationStatus"), _ENTERED_IN_ERROR):
        yield Problem(
            "clinicalStatus", "is missing; only where verificationStatus is entered-in-error there is none"
        )


class Reaction(Element):
    substance: CodeableConcept | None = None
    manifestation: Annotated[Concepts, AtLeastOne]
    description: String | None = None
    onset: DateTime | None = None
    severity: Literal["mild", "moderate", "severe"] | None = None
    exposureRoute: CodeableConcept | None = None
    note: Notes | None = None


class AllergyIntolerance(Resource):
    at_most_one = ("onset",)
    rules = (_allergy_with_status, _no_status_in_error)
    identifier: tuple[Identifier, ...] | None = None
    clinicalStatus: AllergyClinicalStatus | None = None
    verificationStatus: AllergyVerification | None = None
    type: Literal["allergy", "intolerance"] | None = None
    category: tuple[Literal["food", "medication", "environment", "biologic"] | None, ...] | None = None
    criticality: Literal["low", "high", "unable-to-assess"] | None = None
    code: CodeableConcept | None = None
    patient: PatientReference
    encounter: Reference | None = None
    onsetDateTime: DateTime | None = None
    onsetAge: Quantity | None = None
    onsetPeriod: Period | None = None
    onsetRange: Range | None = None
    onsetString: String | None = None
    recordedDate: DateTime | None = None
    recorder: Reference | None = None
    asserter: Reference | None = None
    lastOccurrence: DateTime | None = None
    note: Notes | None = None
    reaction: tuple[Reaction, ...] | None = None


def _summary_or_assessment(stage: Members) -> Iterator[Problem]:
    """con-1."""
    if not {"summary", "assessment"} & stage.keys():
        yield Problem("summary", "is missing; without it, assessment must be there")


def _code_or_detail(evidence: Members) -> Iterator[Problem]:
    """con-2."""
    if not {"code", "detail"} & evidence.keys():
        yield Problem("code", "is missing; without it, detail must be there")


def _problem_with_status(condition: Members) -> Iterator[Problem]:
    """con-3."""
    categories = condition.get("category")
    listed = isinstance(categories, list) and any(has_code(each, "problem-list-item") for each in categories)
    in_error = has_code(condition.get("verificationStatus"), _ENTERED_IN_ERROR)
    if listed and not in_error and "clinicalStatus" not in condition:
        yield Problem("clinicalStatus", "is missing; an item of the problem list has one")


def _abated_is_over(condition: Members) -> Iterator[Problem]:
    """con-4."""
    status = condition.get("clinicalStatus")
    if (
        has_choice("abatement", condition)
        and status is not None
        and not any(has_code(status, code) for code in _OVER)
    ):
        yield Problem("clinicalStatus", f"must be one of {', '.join(_OVER)} where there is an abatement")


_OVER: Final = ("inactive", "resolved", "remission")


class Stage(Element):
    rules = (_summary_or_assessment,)
    summary: CodeableConcept | None = None
    assessment: References | None = None
    type: CodeableConcept | None = None


class Evidence(Element):
    rules = (_code_or_detail,)
    code: Concepts | None = None
    detail: References | None = None


class Condition(Resource):
    at_most_one = ("onset", "abatement")
    rules = (_problem_with_status, _abated_is_over, _no_status_in_error)
    identifier: tuple[Identifier, ...] | None = None
    clinicalStatus: ConditionClinicalStatus | None = None
    verificationStatus: ConditionVerification | None = None
    category: Concepts | None = None
    severity: CodeableConcept | None = None
    code: CodeableConcept | None = None
    bodySite: Concepts | None = None
    subject: SubjectReference
    encounter: Reference | None = None
    onsetDateTime: DateTime | None = None
    onsetAge: Quantity | None = None
    onsetPeriod: Period | None = None
    onsetRange: Range | None = None
    onsetString: String | None = None
    abatementDateTime: DateTime | None = None
    abatementAge: Quantity | None = None
    abatementPeriod: Period | None = None
    abatementRange: Range | None = None
    abatementString: String | None = None
    recordedDate: DateTime | None = None
    recorder: Reference | None = None
    asserter: Reference | None = None
    stage: tuple[Stage, ...] | None = None
    evidence: tuple[Evidence, ...] | None = None
    note: Notes | None = None


def _reference_or_detail(activity: Members) -> Iterator[Problem]:
    """cpl-3."""
    if {"reference", "detail"} <= activity.keys():
        yield Problem("detail", "must not be there beside reference")


class ActivityDetail(Element):
    at_most_one = ("scheduled", "product")
    kind: (
        Literal[
            "Appointment", "CommunicationRequest", "DeviceRequest", "MedicationRequest", "NutritionOrder", "Task",
            "ServiceRequest", "VisionPrescription",
        ]
        | None
    ) = None  # fmt: skip
    code: CodeableConcept | None = None
    reasonCode: Concepts | None = None
    reasonReference: References | None = None
    goal: References | None = None
    status: Literal[
        "not-started", "scheduled", "in-progress", "on-hold", "completed", "cancelled", "stopped", "unknown",
        "entered-in-error",
    ]  # fmt: skip
    statusReason: CodeableConcept | None = None
    doNotPerform: Boolean | None = None
    scheduledTiming: Timing | None = None
    scheduledPeriod: Period | None = None
    scheduledString: String | None = None
    location: Reference | None = None
    performer: References | None = None
    productCodeableConcept: CodeableConcept | None = None
    productReference: Reference | None = None
    dailyAmount: Quantity | None = None
    quantity: Quantity | None = None
    description: String | None = None


class Activity(Element):
    rules = (_reference_or_detail,)
    outcomeCodeableConcept: Concepts | None = None
    outcomeReference: References | None = None
    progress: Notes | None = None
    reference: Reference | None = None
    detail: ActivityDetail | None = None


class CarePlan(Resource):
    identifier: tuple[Identifier, ...] | None = None
    instantiatesCanonical: Uris | None = None
    instantiatesUri: Uris | None = None
    basedOn: References | None = None
    replaces: References | None = None
    partOf: References | None = None
    status: Literal["draft", "active", "on-hold", "revoked", "completed", "entered-in-error", "unknown"]
    intent: Literal["proposal", "plan", "order", "option"]
    category: Concepts | None = None
    title: String | None = None
    description: String | None = None
    subject: SubjectReference
    encounter: Reference | None = None
    period: Period | None = None
    created: DateTime | None = None
    author: Reference | None = None
    contributor: References | None = None
    careTeam: References | None = None
    addresses: References | None = None
    supportingInfo: References | None = None
    goal: References | None = None
    activity: tuple[Activity, ...] | None = None
    note: Notes | None = None
