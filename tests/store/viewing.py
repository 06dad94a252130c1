"""Views for tests: entities made of states or ops, and what the tables say, whatever way they were filled."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlcipher3 import dbapi2 as sqlcipher

from medxz.merge.change import change_of, members_of
from medxz.merge.entity import Entity
from medxz.merge.standing import Retracted
from medxz.merge.view import Resolved, View, resolved_of, view_of
from medxz.op import Operation
from medxz.store.views import Asked, Views, prepare
from tests.making import CLINIC, fixed_id

QUESTIONS = ("a", "mul", "anna", "1980-02-03", "MRN-1", "0151 2345678", "müller anna")
PEOPLE = [fixed_id(number) for number in range(0x100, 0x120)]


def empty() -> Views:
    connection = sqlcipher.connect(":memory:", isolation_level=None)
    prepare(connection)
    return Views(connection)


def view(entity_type: str, entity_id: str, state: Mapping[str, Any], *, retracted: bool = False) -> View:
    return View(
        entity=Entity(CLINIC, entity_type, entity_id),
        state=members_of(json.dumps(state).encode()),
        retracted=Retracted(fixed_id(0x9999), None) if retracted else None,
        heads=(),
        missing_parents=(),
        conflicts=(),
        version=1,
    )


def patient(number: int, *, retracted: bool = False, **state: Any) -> View:
    """A patient by a number; `family`, `given`, `born`, `mrn`, `phone` and `links` say the usual in FHIR's form."""
    usual: dict[str, Any] = {}
    if "family" in state or "given" in state:
        usual["name"] = [
            {"family": state.pop("family", None), "given": str(state.pop("given", "")).split()},
        ]
    if "born" in state:
        usual["birthDate"] = state.pop("born")
    if "mrn" in state:
        usual["identifier"] = [{"system": "urn:mrn", "value": state.pop("mrn")}]
    if "phone" in state:
        usual["telecom"] = [{"system": "phone", "value": state.pop("phone")}]
    if "links" in state:
        others = state.pop("links")
        usual["link"] = [{"other": {"reference": f"Patient/{PEOPLE[n]}"}, "type": "seealso"} for n in others]
    return view("Patient", PEOPLE[number], usual | state, retracted=retracted)


def of_ops(*ops: Operation) -> tuple[View, Sequence[Resolved]]:
    entity = Entity(CLINIC, ops[0].entity_type, ops[0].entity_id)
    changes = [change_of(op) for op in ops]
    return view_of(entity, changes), resolved_of(entity, changes)


def put(views: Views, *made: View) -> None:
    views.put(made)


def found(views: Views, text: str) -> list[int]:
    """The numbers of the patients that a text finds, in order."""
    return [PEOPLE.index(row.entity_id) for row in views.patients(text, None, 100).rows]


def duplicates(views: Views, state: str = "open") -> list[dict[str, Any]]:
    listed = views.conflicts(state, ["Patient"], None, 100).rows  # type: ignore[arg-type]
    return [json.loads(row.body) for row in listed if row.kind == "duplicate"]


def told(views: Views) -> dict[str, Any]:
    """All that the tables say, without the numbers that rows were given by chance."""
    connection = views._connection
    tables = {
        name: sorted(connection.execute(f"SELECT {columns} FROM view_{name}").fetchall(), key=repr)
        for name, columns in (
            ("entity JOIN view_type USING (kind)", "entity_type, entity_id, flags, place IS NULL, seal"),
            ("type", "entity_type, entities"),
            ("conflict", "*"),
            ("patient", "entity_id, is_retracted, sort_name"),
            ("dated JOIN view_type USING (kind)", "entity_type, entity_id, patient, place"),
            ("shared", "*"),
            ("shown", "*"),
            ("link", "*"),
            ("duplicate", "*"),
        )
    }
    answers = {
        text: sorted(row.entity_id for row in views.patients(text, None, 500).rows) for text in QUESTIONS
    }
    lists = {who: sorted(row.entity_id for row in of_patient(views, who)) for who in PEOPLE[:4]}
    return tables | answers | lists


def of_patient(views: Views, patient_id: str, types: Iterable[str] | None = None) -> Sequence[Any]:
    asked = Asked(patient_id, None if types is None else list(types))
    return views.of_patient(asked, None, 500).rows
