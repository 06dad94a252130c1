"""What is wrong with the payload of an op, said by path: `problems_of`.

`create` and `amend` carry the whole resource. `update` and `resolve` carry some members, each of which is held against
its own field: what they leave out may be there already. `retract` carries a reason. A type or a schema_version that
is not known here has no problems: it is relayed as it is. The payload is only read, and a message never repeats it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from medxz import limits
from medxz.resources.audit import AuditEvent
from medxz.resources.base import Element, Members, Problem, Resource, inconsistencies, present, shape_of
from medxz.resources.conditions import AllergyIntolerance, CarePlan, Condition
from medxz.resources.documents import Composition, DocumentReference
from medxz.resources.findings import DiagnosticReport, Observation
from medxz.resources.forms import BROKEN_FORM
from medxz.resources.medications import (
    Immunization,
    MedicationAdministration,
    MedicationRequest,
    MedicationStatement,
)
from medxz.resources.people import Coverage, Patient, RelatedPerson
from medxz.resources.visits import Appointment, Encounter
from medxz.rules import payload_problem

SCHEMA_VERSION: Final = 1
MODELS: Final[Mapping[str, type[Resource]]] = {
    model.__name__: model
    for model in (
        Patient, RelatedPerson, Coverage, Appointment, Encounter,
        AllergyIntolerance, Condition, MedicationRequest, CarePlan, Composition, DocumentReference,
        Observation, MedicationAdministration, MedicationStatement, Immunization, DiagnosticReport, AuditEvent,
    )
}  # fmt: skip

_DIGITS_MAX: Final = 32
_REASON_RULE: Final = "must be text that is not blank, or be left out"
_MESSAGES: Final = {
    "missing": "is missing",
    "string_type": "must be text",
    "bool_type": "must be true or false, not in quotes",
    "tuple_type": "must be a list",
    "model_type": "must be an object",
    "dict_type": "must be an object",
    "too_short": "must have at least one item",
}


def problems_of(
    entity_type: str, schema_version: int, op_type: str, payload: bytes, entity_id: str | None = None
) -> list[Problem]:
    """What a payload's author has to mend before it may be recorded; nothing where it is lawful or not known here.

    A payload that is no JSON object is not looked at: the rules of every op refuse it.
    """
    model = MODELS.get(entity_type) if schema_version == SCHEMA_VERSION else None
    members = _read(payload) if model is not None else None
    if model is None or members is None:
        return []
    match op_type:
        case "create" | "amend":
            found = _of_whole(model, members, entity_id)
        case "update":
            found = _of_patch(model, members, entity_id)
        case "resolve":
            about = members.pop("_resolve", None)
            found = [*_of_resolve(about), *_of_patch(model, members, entity_id)]
        case "retract":
            found = list(_of_reason(members, ""))
        case _:
            found = []
    first = {problem.path: problem for problem in reversed(found)}  # one for each place
    return list(reversed(first.values()))[: limits.PROBLEMS_MAX]


def _of_whole(model: type[Resource], members: Members, entity_id: str | None) -> list[Problem]:
    there = present(members)
    return [
        *_of_identity(model, there, entity_id),
        *_of_types(model, there),
        *inconsistencies(model, there),
        *_of_contained(there),
    ]


def _of_patch(model: type[Resource], members: Members, entity_id: str | None) -> list[Problem]:
    there = present(members)
    return [
        *_of_identity(model, there, entity_id),
        *_of_removed(model, members, there),
        *(
            problem
            for problem in _of_types(model, there)
            if problem.message != _MESSAGES["missing"] or problem.path not in _members_of(model)
        ),
        *inconsistencies(model, there, whole=False),
    ]


def _members_of(model: type[Element]) -> dict[str, bool]:
    """The model's members by their names in JSON: whether each must be there."""
    return {field.alias or name: field.is_required() for name, field in model.model_fields.items()}


def _of_identity(model: type[Resource], there: Members, entity_id: str | None) -> Iterator[Problem]:
    """A resource has one type and one id, and the op says both: what refers to Type/id must find it."""
    if there.get("resourceType", model.__name__) != model.__name__:
        yield Problem("resourceType", f"must be {model.__name__}, as the op says, or be left out")
    if entity_id is not None and there.get("id", entity_id) != entity_id:
        yield Problem(
            "id", "must be the op's entity_id, or be left out; an id of another system is an identifier"
        )


def _of_removed(model: type[Resource], members: Members, there: Members) -> Iterator[Problem]:
    """null takes a member away: not one that must be there, unless it is there in another form."""
    for name, needed in _members_of(model).items():
        if needed and name in members and members[name] is None and not _is_explained(there, name):
            yield Problem(name, "cannot be removed: it must be there")
    for stem, forms, needed in shape_of(model).choices:
        removed = any(form in members and form not in there for form in forms)
        if needed and removed and not any(form in there or f"_{form}" in there for form in forms):
            yield Problem(f"{stem}[x]", "cannot be removed: one of its forms must be there")


def _of_types(model: type[Resource], there: Members) -> Iterator[Problem]:
    try:
        model.model_validate(there)
    except ValidationError as wrong:
        for error in wrong.errors(include_url=False):
            if not _is_extension_only(model, there, error):
                yield Problem(_path(error["loc"]), _message(error))


def _is_extension_only(model: type[Resource], there: Members, error: ErrorDetails) -> bool:
    """A primitive without a value, beside which an extension of `_name` says why there is none."""
    *way, name = error["loc"]
    if error["type"] != "missing" and error["input"] is not None:
        return False
    holder: Any = there
    element: type[Element] | None = model
    for step in way:
        holder = holder[step]
        if isinstance(step, str) and element is not None:
            element = dict(shape_of(element).inner).get(step)
    if element is None or not isinstance(holder, dict) or name in dict(shape_of(element).inner):
        return False
    return _is_explained(holder, name)


def _is_explained(holder: Members, name: int | str) -> bool:
    beside = holder.get(f"_{name}")
    return isinstance(beside, dict) and bool(beside.get("extension"))


def _path(loc: tuple[int | str, ...]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc).lstrip(".")


def _message(error: ErrorDetails) -> str:
    if error["type"] == BROKEN_FORM:
        return error["msg"]
    if error["type"] == "literal_error":
        expected = str(error["ctx"]["expected"])
        return "must be one of " + re.sub(r" or (?=')", ", ", expected).replace("'", "")
    return _MESSAGES.get(error["type"], "is not what FHIR R4 has here")


def _of_contained(there: Members) -> Iterator[Problem]:
    """dom-2, and what ref-1 asks: a reference to #id finds it inside the same resource."""
    contained = [each for each in there.get("contained", ()) if isinstance(each, dict)]
    for index, each in enumerate(contained):
        if not isinstance(each.get("resourceType"), str):
            yield Problem(f"contained[{index}].resourceType", "is missing")
        if "contained" in each:
            yield Problem(
                f"contained[{index}].contained", "must not be there: what is contained contains nothing"
            )
    ids = {each["id"] for each in contained if isinstance(each.get("id"), str)}
    for path, target in _local_references(there, ""):
        if target not in ids:
            yield Problem(path, "refers to a contained resource that is not there")


def _local_references(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _local_references(item, f"{path}[{index}]")
    elif isinstance(value, dict):
        for name, item in value.items():
            where = f"{path}.{name}" if path else name
            if name == "reference" and isinstance(item, str) and item.startswith("#") and len(item) > 1:
                yield where, item[1:]
            else:
                yield from _local_references(item, where)


def _of_resolve(about: object) -> Iterator[Problem]:
    if isinstance(about, dict):
        yield from _of_reason(about, "_resolve.")
    elif about is not None:
        yield Problem("_resolve", "must be an object with a reason")


def _of_reason(members: Members, path: str) -> Iterator[Problem]:
    reason = members.get("reason")
    if reason is not None and not (isinstance(reason, str) and reason.strip()):
        yield Problem(f"{path}reason", _REASON_RULE)


def _read(payload: bytes) -> dict[str, Any] | None:
    """The members of a JSON object, its decimals exact; None where it is no such thing, or nested too deeply."""
    marks = payload.count(b"{") + payload.count(b"[")
    if marks > limits.PAYLOAD_DEPTH_MAX and payload_problem(payload) is not None:
        return None
    try:
        value = json.loads(payload, parse_float=Decimal, parse_int=_whole, parse_constant=_none)
    except (ValueError, RecursionError, InvalidOperation):
        return None
    return value if isinstance(value, dict) else None


def _whole(digits: str) -> int | Decimal:
    """Python makes no int of thousands of digits; no field takes that many as one."""
    return int(digits) if len(digits) <= _DIGITS_MAX else Decimal(digits)


def _none(name: str) -> object:
    raise ValueError(f"{name} is not JSON")
