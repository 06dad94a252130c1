"""Patient, RelatedPerson and Coverage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from medxz.resources.base import Element, Members, Problem, Resource
from medxz.resources.datatypes import (
    Address,
    AdministrativeGender,
    Attachment,
    CodeableConcept,
    Concepts,
    ContactPoint,
    HumanName,
    Identifier,
    Money,
    PatientReference,
    Period,
    Quantity,
    Reference,
    References,
)
from medxz.resources.forms import AtLeastOne, Boolean, Date, DateTime, Integer, PositiveInt, String


def _says_who(contact: Members) -> Iterator[Problem]:
    """pat-1."""
    if not {"name", "telecom", "address", "organization"} & contact.keys():
        yield Problem("name", "is missing; without it, telecom, address or organization must be there")


class Contact(Element):
    rules = (_says_who,)
    relationship: Concepts | None = None
    name: HumanName | None = None
    telecom: tuple[ContactPoint, ...] | None = None
    address: Address | None = None
    gender: AdministrativeGender | None = None
    organization: Reference | None = None
    period: Period | None = None


class Communication(Element):
    language: CodeableConcept
    preferred: Boolean | None = None


class Link(Element):
    other: Reference
    type: Literal["replaced-by", "replaces", "refer", "seealso"]


class Patient(Resource):
    at_most_one = ("deceased", "multipleBirth")
    identifier: tuple[Identifier, ...] | None = None
    active: Boolean | None = None
    name: tuple[HumanName, ...] | None = None
    telecom: tuple[ContactPoint, ...] | None = None
    gender: AdministrativeGender | None = None
    birthDate: Date | None = None
    deceasedBoolean: Boolean | None = None
    deceasedDateTime: DateTime | None = None
    address: tuple[Address, ...] | None = None
    maritalStatus: CodeableConcept | None = None
    multipleBirthBoolean: Boolean | None = None
    multipleBirthInteger: Integer | None = None
    photo: tuple[Attachment, ...] | None = None
    contact: tuple[Contact, ...] | None = None
    communication: tuple[Communication, ...] | None = None
    generalPractitioner: References | None = None
    managingOrganization: Reference | None = None
    link: tuple[Link, ...] | None = None


class RelatedPerson(Resource):
    identifier: tuple[Identifier, ...] | None = None
    active: Boolean | None = None
    patient: PatientReference
    relationship: Concepts | None = None
    name: tuple[HumanName, ...] | None = None
    telecom: tuple[ContactPoint, ...] | None = None
    gender: AdministrativeGender | None = None
    birthDate: Date | None = None
    address: tuple[Address, ...] | None = None
    photo: tuple[Attachment, ...] | None = None
    period: Period | None = None
    communication: tuple[Communication, ...] | None = None


class CoverageClass(Element):
    type: CodeableConcept
    value: String
    name: String | None = None


class CostException(Element):
    type: CodeableConcept
    period: Period | None = None


class Cost(Element):
    exactly_one = ("value",)
    type: CodeableConcept | None = None
    valueQuantity: Quantity | None = None
    valueMoney: Money | None = None
    exception: tuple[CostException, ...] | None = None


class Coverage(Resource):
    identifier: tuple[Identifier, ...] | None = None
    status: Literal["active", "cancelled", "draft", "entered-in-error"]
    type: CodeableConcept | None = None
    policyHolder: Reference | None = None
    subscriber: Reference | None = None
    subscriberId: String | None = None
    beneficiary: PatientReference
    dependent: String | None = None
    relationship: CodeableConcept | None = None
    period: Period | None = None
    payor: Annotated[References, AtLeastOne]
    class_: tuple[CoverageClass, ...] | None = Field(default=None, alias="class")
    order: PositiveInt | None = None
    network: String | None = None
    costToBeneficiary: tuple[Cost, ...] | None = None
    subrogation: Boolean | None = None
    contract: References | None = None
