"""Observation and DiagnosticReport."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from medxz.resources.base import Element, Members, Problem, Resource, has_choice
from medxz.resources.datatypes import (
    AnySubjectReference,
    Attachment,
    CodeableConcept,
    Concepts,
    Identifier,
    Notes,
    Period,
    Quantity,
    Range,
    Ratio,
    Reference,
    References,
    SampledData,
    Timing,
)
from medxz.resources.forms import Boolean, DateTime, Instant, Integer, String, Time


def _absent_or_there(members: Members) -> Iterator[Problem]:
    """obs-6, for components too."""
    if "dataAbsentReason" in members and has_choice("value", members):
        yield Problem("dataAbsentReason", "must not be there beside a value")


def _value_in_one_place(observation: Members) -> Iterator[Problem]:
    """obs-7."""
    components = observation.get("component")
    if has_choice("value", observation) and isinstance(components, list):
        codings = _codings(observation.get("code"))
        for index, component in enumerate(components):
            if isinstance(component, dict) and codings & _codings(component.get("code")):
                yield Problem(
                    f"component[{index}].code", "must not be the observation's own, which has a value itself"
                )


def _codings(concept: Any) -> set[tuple[str | None, str]]:
    codings = concept.get("coding") if isinstance(concept, dict) else None
    return {
        (coding.get("system") if isinstance(coding.get("system"), str) else None, coding["code"])
        for coding in (codings if isinstance(codings, list) else ())
        if isinstance(coding, dict) and isinstance(coding.get("code"), str)
    }


def _low_high_or_text(reference_range: Members) -> Iterator[Problem]:
    """obs-3."""
    if not {"low", "high", "text"} & reference_range.keys():
        yield Problem("text", "is missing; without it, low or high must be there")


class ReferenceRange(Element):
    rules = (_low_high_or_text,)
    low: Quantity | None = None
    high: Quantity | None = None
    type: CodeableConcept | None = None
    appliesTo: Concepts | None = None
    age: Range | None = None
    text: String | None = None


class Component(Element):
    at_most_one = ("value",)
    rules = (_absent_or_there,)
    code: CodeableConcept
    valueQuantity: Quantity | None = None
    valueCodeableConcept: CodeableConcept | None = None
    valueString: String | None = None
    valueBoolean: Boolean | None = None
    valueInteger: Integer | None = None
    valueRange: Range | None = None
    valueRatio: Ratio | None = None
    valueSampledData: SampledData | None = None
    valueTime: Time | None = None
    valueDateTime: DateTime | None = None
    valuePeriod: Period | None = None
    dataAbsentReason: CodeableConcept | None = None
    interpretation: Concepts | None = None
    referenceRange: tuple[ReferenceRange, ...] | None = None


class Observation(Resource):
    at_most_one = ("value", "effective")
    rules = (_absent_or_there, _value_in_one_place)
    identifier: tuple[Identifier, ...] | None = None
    basedOn: References | None = None
    partOf: References | None = None
    status: Literal[
        "registered", "preliminary", "final", "amended", "corrected", "cancelled", "entered-in-error", "unknown",
    ]  # fmt: skip
    category: Concepts | None = None
    code: CodeableConcept
    subject: AnySubjectReference | None = None
    focus: References | None = None
    encounter: Reference | None = None
    effectiveDateTime: DateTime | None = None
    effectivePeriod: Period | None = None
    effectiveTiming: Timing | None = None
    effectiveInstant: Instant | None = None
    issued: Instant | None = None
    performer: References | None = None
    valueQuantity: Quantity | None = None
    valueCodeableConcept: CodeableConcept | None = None
    valueString: String | None = None
    valueBoolean: Boolean | None = None
    valueInteger: Integer | None = None
    valueRange: Range | None = None
    valueRatio: Ratio | None = None
    valueSampledData: SampledData | None = None
    valueTime: Time | None = None
    valueDateTime: DateTime | None = None
    valuePeriod: Period | None = None
    dataAbsentReason: CodeableConcept | None = None
    interpretation: Concepts | None = None
    note: Notes | None = None
    bodySite: CodeableConcept | None = None
    method: CodeableConcept | None = None
    specimen: Reference | None = None
    device: Reference | None = None
    referenceRange: tuple[ReferenceRange, ...] | None = None
    hasMember: References | None = None
    derivedFrom: References | None = None
    component: tuple[Component, ...] | None = None


class Media(Element):
    comment: String | None = None
    link: Reference


class DiagnosticReport(Resource):
    at_most_one = ("effective",)
    identifier: tuple[Identifier, ...] | None = None
    basedOn: References | None = None
    status: Literal[
        "registered", "partial", "preliminary", "final", "amended", "corrected", "appended", "cancelled",
        "entered-in-error", "unknown",
    ]  # fmt: skip
    category: Concepts | None = None
    code: CodeableConcept
    subject: AnySubjectReference | None = None
    encounter: Reference | None = None
    effectiveDateTime: DateTime | None = None
    effectivePeriod: Period | None = None
    issued: Instant | None = None
    performer: References | None = None
    resultsInterpreter: References | None = None
    specimen: References | None = None
    result: References | None = None
    imagingStudy: References | None = None
    media: tuple[Media, ...] | None = None
    conclusion: String | None = None
    conclusionCode: Concepts | None = None
    presentedForm: tuple[Attachment, ...] | None = None
