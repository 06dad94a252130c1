"""Composition (notes) and DocumentReference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from medxz.resources.base import Element, Members, Problem, Resource
from medxz.resources.datatypes import (
    Attachment,
    CodeableConcept,
    Coding,
    Concepts,
    Identifier,
    Narrative,
    Period,
    Reference,
    References,
)
from medxz.resources.forms import AtLeastOne, DateTime, Instant, String

DocumentStatus = Literal["preliminary", "final", "amended", "entered-in-error"]
Relation = Literal["replaces", "transforms", "signs", "appends"]


class Attester(Element):
    mode: Literal["personal", "professional", "legal", "official"]
    time: DateTime | None = None
    party: Reference | None = None


class CompositionRelation(Element):
    exactly_one = ("target",)
    code: Relation
    targetIdentifier: Identifier | None = None
    targetReference: Reference | None = None


class DocumentedEvent(Element):
    code: Concepts | None = None
    period: Period | None = None
    detail: References | None = None


def _not_hollow(section: Members) -> Iterator[Problem]:
    """cmp-1, cmp-2."""
    if not {"text", "entry", "section"} & section.keys():
        yield Problem("text", "is missing; without it, entry or section must be there")
    if {"emptyReason", "entry"} <= section.keys():
        yield Problem("emptyReason", "must not be there beside entry")


class Section(Element):
    rules = (_not_hollow,)
    title: String | None = None
    code: CodeableConcept | None = None
    author: References | None = None
    focus: Reference | None = None
    text: Narrative | None = None
    mode: Literal["working", "snapshot", "changes"] | None = None
    orderedBy: CodeableConcept | None = None
    entry: References | None = None
    emptyReason: CodeableConcept | None = None
    section: tuple[Section, ...] | None = None


class Composition(Resource):
    identifier: Identifier | None = None
    status: DocumentStatus
    type: CodeableConcept
    category: Concepts | None = None
    subject: Reference | None = None
    encounter: Reference | None = None
    date: DateTime
    author: Annotated[References, AtLeastOne]
    title: String
    confidentiality: Literal["U", "L", "M", "N", "R", "V"] | None = None
    attester: tuple[Attester, ...] | None = None
    custodian: Reference | None = None
    relatesTo: tuple[CompositionRelation, ...] | None = None
    event: tuple[DocumentedEvent, ...] | None = None
    section: tuple[Section, ...] | None = None


class DocumentRelation(Element):
    code: Relation
    target: Reference


class DocumentContent(Element):
    attachment: Attachment
    format: Coding | None = None


class DocumentContext(Element):
    encounter: References | None = None
    event: Concepts | None = None
    period: Period | None = None
    practiceSetting: CodeableConcept | None = None
    sourcePatientInfo: Reference | None = None
    related: References | None = None


class DocumentReference(Resource):
    masterIdentifier: Identifier | None = None
    identifier: tuple[Identifier, ...] | None = None
    status: Literal["current", "superseded", "entered-in-error"]
    docStatus: DocumentStatus | None = None
    type: CodeableConcept | None = None
    category: Concepts | None = None
    subject: Reference | None = None
    date: Instant | None = None
    author: References | None = None
    authenticator: Reference | None = None
    custodian: Reference | None = None
    relatesTo: tuple[DocumentRelation, ...] | None = None
    description: String | None = None
    securityLabel: Concepts | None = None
    content: Annotated[tuple[DocumentContent, ...], AtLeastOne]
    context: DocumentContext | None = None
