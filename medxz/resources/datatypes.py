"""The datatypes that resources share. Timing, Dosage and SampledData are loose: only what has a form is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator

from medxz.resources.base import Element, Members, Problem
from medxz.resources.forms import (
    Boolean,
    Code,
    DateTime,
    Integer,
    Number,
    PositiveInt,
    ReferenceText,
    String,
    Time,
    UnsignedInt,
    Uri,
    refuse,
)

AdministrativeGender = Literal["male", "female", "other", "unknown"]
Texts = tuple[String | None, ...]
Uris = tuple[Uri | None, ...]


def _begins_before_its_end(period: Members) -> Iterator[Problem]:
    """per-1. A day and a moment are not compared: which of them is first depends on where one is."""
    start, end = period.get("start"), period.get("end")
    if not isinstance(start, str) or not isinstance(end, str) or ("T" in start) is not ("T" in end):
        return
    if "T" in start:
        try:
            backwards = datetime.fromisoformat(start) > datetime.fromisoformat(end)
        except (ValueError, TypeError):  # a leap second, or no dateTime at all: its own field says so
            return
    else:
        length = min(len(start), len(end))
        backwards = start[:length] > end[:length]
    if backwards:
        yield Problem("end", "must not be before start")


def _code_with_system(quantity: Members) -> Iterator[Problem]:
    """qty-3."""
    if "code" in quantity and "system" not in quantity:
        yield Problem("system", "is missing; a unit's code needs the system that it is of")


def _value_with_system(contact: Members) -> Iterator[Problem]:
    """cpt-2."""
    if "value" in contact and "system" not in contact:
        yield Problem("system", "is missing; say whether the value is a phone, an email …")


def _says_something(reference: Members) -> Iterator[Problem]:
    if not {"reference", "identifier", "display", "extension"} & reference.keys():
        yield Problem("reference", "is missing; without it, identifier or display must be there")


class Period(Element):
    rules = (_begins_before_its_end,)
    start: DateTime | None = None
    end: DateTime | None = None


class Coding(Element):
    system: Uri | None = None
    version: String | None = None
    code: Code | None = None
    display: String | None = None
    userSelected: Boolean | None = None


class CodeableConcept(Element):
    coding: tuple[Coding, ...] | None = None
    text: String | None = None


class Quantity(Element):
    """Also Age, Count, Distance, Duration and SimpleQuantity."""

    rules = (_code_with_system,)
    value: Number | None = None
    comparator: Literal["<", "<=", ">=", ">"] | None = None
    unit: String | None = None
    system: Uri | None = None
    code: Code | None = None


class Money(Element):
    value: Number | None = None
    currency: Code | None = None


class Range(Element):
    low: Quantity | None = None
    high: Quantity | None = None


class Ratio(Element):
    numerator: Quantity | None = None
    denominator: Quantity | None = None


class SampledData(Element):
    origin: Quantity
    period: Number
    dimensions: PositiveInt


class Identifier(Element):
    use: Literal["usual", "official", "temp", "secondary", "old"] | None = None
    type: CodeableConcept | None = None
    system: Uri | None = None
    value: String | None = None
    period: Period | None = None
    assigner: Reference | None = None


class Reference(Element):
    """Another resource: by its place, or by an identifier of whom nobody here may have a record."""

    rules = (_says_something,)
    reference: ReferenceText | None = None
    type: Uri | None = None
    identifier: Identifier | None = None
    display: String | None = None


class HumanName(Element):
    use: Literal["usual", "official", "temp", "nickname", "anonymous", "old", "maiden"] | None = None
    text: String | None = None
    family: String | None = None
    given: Texts | None = None
    prefix: Texts | None = None
    suffix: Texts | None = None
    period: Period | None = None


class ContactPoint(Element):
    rules = (_value_with_system,)
    system: Literal["phone", "fax", "email", "pager", "url", "sms", "other"] | None = None
    value: String | None = None
    use: Literal["home", "work", "temp", "old", "mobile"] | None = None
    rank: PositiveInt | None = None
    period: Period | None = None


class Address(Element):
    use: Literal["home", "work", "temp", "old", "billing"] | None = None
    type: Literal["postal", "physical", "both"] | None = None
    text: String | None = None
    line: Texts | None = None
    city: String | None = None
    district: String | None = None
    state: String | None = None
    postalCode: String | None = None
    country: String | None = None
    period: Period | None = None


class Attachment(Element):
    contentType: Code | None = None
    language: Code | None = None
    data: String | None = None
    url: Uri | None = None
    size: UnsignedInt | None = None
    hash: String | None = None
    title: String | None = None
    creation: DateTime | None = None


class Annotation(Element):
    at_most_one = ("author",)
    authorReference: Reference | None = None
    authorString: String | None = None
    time: DateTime | None = None
    text: String


class Narrative(Element):
    status: Literal["generated", "extensions", "additional", "empty"]
    div: String


class Repeat(Element):
    """When and how often, in FHIR's own short words."""

    at_most_one = ("bounds",)
    boundsDuration: Quantity | None = None
    boundsRange: Range | None = None
    boundsPeriod: Period | None = None
    count: PositiveInt | None = None
    duration: Number | None = None
    durationUnit: Literal["s", "min", "h", "d", "wk", "mo", "a"] | None = None
    frequency: PositiveInt | None = None
    period: Number | None = None
    periodUnit: Literal["s", "min", "h", "d", "wk", "mo", "a"] | None = None
    timeOfDay: tuple[Time | None, ...] | None = None


class Timing(Element):
    event: tuple[DateTime | None, ...] | None = None
    repeat: Repeat | None = None
    code: CodeableConcept | None = None


class DoseAndRate(Element):
    at_most_one = ("dose", "rate")
    type: CodeableConcept | None = None
    doseRange: Range | None = None
    doseQuantity: Quantity | None = None
    rateRatio: Ratio | None = None
    rateRange: Range | None = None
    rateQuantity: Quantity | None = None


class Dosage(Element):
    at_most_one = ("asNeeded",)
    sequence: Integer | None = None
    text: String | None = None
    patientInstruction: String | None = None
    timing: Timing | None = None
    asNeededBoolean: Boolean | None = None
    asNeededCodeableConcept: CodeableConcept | None = None
    route: CodeableConcept | None = None
    doseAndRate: tuple[DoseAndRate, ...] | None = None


Concepts = tuple[CodeableConcept, ...]
References = tuple[Reference, ...]
Notes = tuple[Annotation, ...]


def _referring_to(*types: str) -> AfterValidator:
    """A reference that is written Type/id is to one of these; of any other spelling the type is not known here."""

    def hold(reference: Reference) -> Reference:
        target, slash, _ = (reference.reference or "").partition("/")
        if slash and target.isalpha() and target not in types:
            raise refuse(f"must refer to {' or '.join(types)}")
        return reference

    return AfterValidator(hold)


PatientReference = Annotated[Reference, _referring_to("Patient")]
SubjectReference = Annotated[Reference, _referring_to("Patient", "Group")]
AnySubjectReference = Annotated[Reference, _referring_to("Patient", "Group", "Device", "Location")]


def _from(system: str, *codes: str) -> AfterValidator:
    """A concept that has a coding of this system, with one of its codes: what a required binding asks for."""

    def hold(concept: CodeableConcept) -> CodeableConcept:
        said = [coding.code for coding in concept.coding or () if coding.system == system]
        if not said or any(code not in codes for code in said):
            raise refuse(f"must have a coding with system {system} and a code of {', '.join(codes)}")
        return concept

    return AfterValidator(hold)


TERMS: Final = "http://terminology.hl7.org/CodeSystem/"
AllergyClinicalStatus = Annotated[
    CodeableConcept, _from(f"{TERMS}allergyintolerance-clinical", "active", "inactive", "resolved")
]
AllergyVerification = Annotated[
    CodeableConcept,
    _from(
        f"{TERMS}allergyintolerance-verification", "unconfirmed", "confirmed", "refuted", "entered-in-error"
    ),
]
ConditionClinicalStatus = Annotated[
    CodeableConcept,
    _from(
        f"{TERMS}condition-clinical",
        "active", "recurrence", "relapse", "inactive", "remission", "resolved",
    ),
]  # fmt: skip
ConditionVerification = Annotated[
    CodeableConcept,
    _from(
        f"{TERMS}condition-ver-status",
        "unconfirmed", "provisional", "differential", "confirmed", "refuted", "entered-in-error",
    ),
]  # fmt: skip


def has_code(concept: Any, code: str) -> bool:
    """Whether a CodeableConcept, as JSON, has a coding with this code."""
    codings = concept.get("coding") if isinstance(concept, dict) else None
    return isinstance(codings, list) and any(
        isinstance(coding, dict) and coding.get("code") == code for coding in codings
    )
