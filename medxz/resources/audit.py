"""AuditEvent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from medxz.resources.base import Element, Members, Problem, Resource
from medxz.resources.datatypes import CodeableConcept, Coding, Concepts, Period, Reference, Uris
from medxz.resources.forms import AtLeastOne, Boolean, Instant, String


class Network(Element):
    address: String | None = None
    type: Literal["1", "2", "3", "4", "5"] | None = None


class Agent(Element):
    type: CodeableConcept | None = None
    role: Concepts | None = None
    who: Reference | None = None
    altId: String | None = None
    name: String | None = None
    requestor: Boolean
    location: Reference | None = None
    policy: Uris | None = None
    media: Coding | None = None
    network: Network | None = None
    purposeOfUse: Concepts | None = None


class Source(Element):
    site: String | None = None
    observer: Reference
    type: tuple[Coding, ...] | None = None


class Detail(Element):
    exactly_one = ("value",)
    type: String
    valueString: String | None = None
    valueBase64Binary: String | None = None


def _name_or_query(entity: Members) -> Iterator[Problem]:
    """sev-1."""
    if {"name", "query"} <= entity.keys():
        yield Problem("query", "must not be there beside name")


class AuditedThing(Element):
    """What FHIR calls an entity of the event."""

    rules = (_name_or_query,)
    what: Reference | None = None
    type: Coding | None = None
    role: Coding | None = None
    lifecycle: Coding | None = None
    securityLabel: tuple[Coding, ...] | None = None
    name: String | None = None
    description: String | None = None
    query: String | None = None
    detail: tuple[Detail, ...] | None = None


class AuditEvent(Resource):
    type: Coding
    subtype: tuple[Coding, ...] | None = None
    action: Literal["C", "R", "U", "D", "E"] | None = None
    period: Period | None = None
    recorded: Instant
    outcome: Literal["0", "4", "8", "12"] | None = None
    outcomeDesc: String | None = None
    purposeOfEvent: Concepts | None = None
    agent: Annotated[tuple[Agent, ...], AtLeastOne]
    source: Source
    entity: tuple[AuditedThing, ...] | None = None
