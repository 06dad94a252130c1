"""Somebody else's reading of FHIR R4: lawful resources made by walking its models, and places where to break them."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from fhir.resources.R4B import get_fhir_model_class
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from medxz.resources import MODELS
from medxz.resources.base import Element, shape_of

TERMS = "http://terminology.hl7.org/CodeSystem/"
# what no model of ours looks into, and what only makes resources long
LEFT_OUT = {"resource_type", "fhir_comments", "contained", "extension", "modifierExtension", "text", "meta"}
DEPTH_MAX = 4


@dataclass(frozen=True)
class Field:
    """One member as the oracle has it."""

    name: str
    kind: str  # a primitive's name, or that of an element
    is_element: bool
    is_list: bool
    required: bool
    codes: tuple[str, ...]
    choice: str | None
    choice_required: bool


@cache
def fields_of(kind: str) -> list[Field]:
    model = get_fhir_model_class(kind)
    named = ((found.alias or name, found) for name, found in model.model_fields.items())
    return [
        _field(name, found)
        for name, found in named
        if not name.startswith("_") and (name not in LEFT_OUT or (name == "text" and kind != "Resource"))
        if not (name == "text" and "Narrative" in str(found.annotation) and kind in MODELS)
    ]


def _field(name: str, found: FieldInfo) -> Field:
    text = str(found.annotation)
    more: dict[str, Any] = found.json_schema_extra if isinstance(found.json_schema_extra, dict) else {}
    element = re.search(r"abc\.(\w+)Type\b", text)
    primitive = re.search(r"Annotated\[[^\]]*?(\w+)(?:\(| object)", text)
    kind = element[1] if element else "Boolean" if "bool" in text else primitive[1] if primitive else "String"
    codes = tuple(more.get("enum_values", ()))
    return Field(
        name=name,
        kind="Base64" if "Base64" in text else "Url" if "AnyUrl" in text else kind,
        is_element=element is not None,
        is_list="List[" in text,
        required=found.is_required() or bool(more.get("element_required")),
        codes=() if "+" in codes else codes,
        choice=more.get("one_of_many"),
        choice_required=bool(more.get("one_of_many_required")),
    )


def accepts(kind: str, payload: bytes) -> bool:
    try:
        get_fhir_model_class(kind).model_validate_json(payload)
    except (ValidationError, AttributeError):  # it stumbles over an address that is no text
        return False
    return True


@dataclass
class Place:
    """A value in a resource that was made: the object that holds it, and what the oracle says of it."""

    holder: dict[str, Any]
    field: Field
    path: str


def modelled(kind: str, path: str) -> bool:
    """Whether our model of this resource has the member at this path."""
    model: type[Element] = MODELS[kind]
    *way, last = re.sub(r"\[\d+\]", "", path).split(".")
    for name in way:
        inner = dict(shape_of(model).inner)
        if name not in inner:
            return False
        model = inner[name]
    return last in {field.alias or name for name, field in model.model_fields.items()}


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _objects(item)


class Maker:
    """Makes one resource of a type, the same for the same seed."""

    def __init__(self, kind: str, seed: int) -> None:
        self.chance = random.Random(f"{kind} {seed}")
        self.places: list[Place] = []
        self.kind = kind
        self.resource: dict[str, Any] = self._element(kind, "", 0)
        self.resource["resourceType"] = kind
        inside = {id(holder) for holder in _objects(self.resource)}
        self.places = [
            place for place in self.places if id(place.holder) in inside and place.field.name in place.holder
        ]

    def _element(self, kind: str, path: str, depth: int) -> dict[str, Any]:
        fields = fields_of(kind)
        for stem in {field.choice for field in fields if field.choice}:
            forms = [field for field in fields if field.choice == stem]
            kept = (
                self.chance.choice(forms) if self.chance.random() < 0.6 or forms[0].choice_required else None
            )
            fields = [field for field in fields if field.choice != stem or field is kept]
        made: dict[str, Any] = {}
        share = 0.35 if depth == 0 else 0.3 if depth < DEPTH_MAX else 0.0
        for field in fields:
            needed = field.required or field.choice_required
            if needed or self.chance.random() < share:
                self._put(made, field, f"{path}{field.name}", depth)
        REPAIRS.get(kind, lambda *_: None)(made, self.chance)
        return made or {"id": "part"}

    def _put(self, holder: dict[str, Any], field: Field, path: str, depth: int) -> None:
        if field.is_list:
            count = self.chance.randint(1, 2)
            value: Any = [self._value(field, f"{path}[{index}]", depth) for index in range(count)]
        else:
            value = self._value(field, path, depth)
        holder[field.name] = value
        self.places.append(Place(holder, field, path))

    def _value(self, field: Field, path: str, depth: int) -> Any:
        if field.is_element and field.kind in ELEMENTS:
            return ELEMENTS[field.kind](self.chance, field.name)
        if field.is_element:
            return self._element(field.kind, f"{path}.", depth + 1)
        if field.codes:
            return self.chance.choice(field.codes)
        if field.name in OTHER_CODES and field.kind == "Code":
            return OTHER_CODES[field.name]
        return self.chance.choice(PRIMITIVES[field.kind])


DAYS = ["1987", "1987-04", "1987-04-30", "2024-02-29"]
MOMENTS = ["2026-11-21T10:00:00Z", "2026-11-21T23:59:60+02:00", "2026-11-21T10:00:00.123456-05:30"]
PRIMITIVES: dict[str, list[Any]] = {
    "String": ["a", "Ngũgĩ", " spaced ", "two\nlines"],
    "Markdown": ["*note*"],
    "Code": ["final", "two words"],
    "Uri": ["http://example.org/a", "urn:oid:1.2.3", "urn:uuid:3b9a4b8e-0d5c-4b8e-9f4e-1d2c3b4a5f60"],
    "Canonical": ["http://example.org/Plan|1.0"],
    "Url": ["https://example.org/file"],
    "Id": ["a", "A-1.b", "x" * 64],
    "Boolean": [True, False],
    "Decimal": [0, 1.5, -3.25, 120.50, 1e-3],
    "Integer": [-5, 0, 7],
    "PositiveInt": [1, 2**31 - 1],
    "UnsignedInt": [0, 12],
    "Date": DAYS,
    "DateTime": DAYS + MOMENTS,
    "Instant": MOMENTS,
    "Time": ["10:00:00", "23:59:59.5"],
    "Base64": ["SGVsbG8="],
    "Xhtml": ['<div xmlns="http://www.w3.org/1999/xhtml">note</div>'],
}
# required bindings of which the oracle does not know the codes, or knows only some
OTHER_CODES = {
    "status": "unknown", "confidentiality": "R", "action": "E", "outcome": "0", "durationUnit": "h", "periodUnit": "d",
    "comparator": "<=", "type": "2",
}  # fmt: skip
STATUS_OF = {
    "Appointment": "booked", "AppointmentParticipant": "accepted", "Encounter": "finished",
    "CarePlanActivityDetail": "not-started", "EncounterStatusHistory": "planned",
}  # fmt: skip


def _reference(chance: random.Random, name: str) -> dict[str, Any]:
    uuid = "0193a1b2-0000-7000-8000-%012x" % chance.randrange(2**40)
    kinds = (
        ("Patient",)
        if name in {"subject", "patient", "beneficiary"}
        else ("Patient", "Practitioner", "Group")
    )
    return chance.choice(
        [
            {"reference": f"{chance.choice(kinds)}/{uuid}", "display": "Somebody"},
            {"reference": f"Patient/{uuid}/_history/2"},
            {"reference": f"urn:uuid:{uuid}"},
            {"reference": f"https://example.org/fhir/Patient/{uuid}"},
            {"reference": "#"},
            {"type": "Patient", "identifier": {"system": "urn:oid:1.2.3", "value": "7"}},
            {"display": "Somebody"},
        ]
    )


def _concept(chance: random.Random, name: str) -> dict[str, Any]:
    coding = {
        "system": "http://snomed.info/sct",
        "code": f"{name}-{chance.randrange(10**6)}",
        "display": "A thing",
    }
    return chance.choice([{"text": "a thing"}, {"coding": [coding]}, {"coding": [coding], "text": "a thing"}])


ELEMENTS: dict[str, Callable[[random.Random, str], dict[str, Any]]] = {
    "Reference": _reference,
    "CodeableConcept": _concept,
    "Narrative": lambda *_: {"status": "generated", "div": PRIMITIVES["Xhtml"][0]},
}


def _keep_one(first: str, second: str) -> Callable[[dict[str, Any], random.Random], None]:
    def repair(made: dict[str, Any], chance: random.Random) -> None:
        if first in made and second in made:
            del made[chance.choice((first, second))]

    return repair


def _with(**members: Any) -> Callable[[dict[str, Any], random.Random], None]:
    def repair(made: dict[str, Any], chance: random.Random) -> None:
        for name, value in members.items():
            made.setdefault(name, value)

    return repair


def _ordered(made: dict[str, Any], chance: random.Random) -> None:
    made.update(
        {name: text for name, text in (("start", "1987"), ("end", "1988-01-01T00:00:00Z")) if name in made}
    )


def _with_text(made: dict[str, Any], chance: random.Random) -> None:
    made.pop("emptyReason", None)
    made["text"] = ELEMENTS["Narrative"](chance, "text")


def _one_value(made: dict[str, Any], chance: random.Random) -> None:
    if any(name.startswith("value") for name in made):
        made.pop("dataAbsentReason", None)


def _clinical(made: dict[str, Any], kind: str, verification: str) -> None:
    made["clinicalStatus"] = {"coding": [{"system": f"{TERMS}{kind}-clinical", "code": "inactive"}]}
    if "verificationStatus" in made:
        made["verificationStatus"] = {"coding": [{"system": f"{TERMS}{verification}", "code": "confirmed"}]}


SYSTEM = "http://unitsofmeasure.org"
REPAIRS: dict[str, Callable[[dict[str, Any], random.Random], None]] = {
    **dict.fromkeys(("Quantity", "Age", "Duration"), _with(system=SYSTEM)),
    "ContactPoint": _with(system="phone"),
    "Period": _ordered,
    "PatientContact": _with(name={"text": "Somebody"}),
    "AppointmentParticipant": _with(actor={"display": "Somebody"}),
    "ConditionStage": _with(summary={"text": "II"}),
    "ConditionEvidence": _with(code=[{"text": "seen"}]),
    "CarePlanActivity": _keep_one("reference", "detail"),
    "CompositionSection": _with_text,
    "ObservationReferenceRange": _with(text="normal"),
    "ObservationComponent": _one_value,
    "Observation": _one_value,
    "ImmunizationEducation": _with(documentType="leaflet"),
    "MedicationAdministrationDosage": _with(dose={"value": 1}),
    "AuditEventEntity": _keep_one("name", "query"),
    "AllergyIntolerance": lambda made, _: _clinical(
        made, "allergyintolerance", "allergyintolerance-verification"
    ),
    "Condition": lambda made, _: _clinical(made, "condition", "condition-ver-status"),
}  # fmt: skip
