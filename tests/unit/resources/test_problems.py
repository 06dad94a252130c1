"""What record() says of a payload: by path, in words, for each kind of op."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from medxz import limits
from medxz.resources import MODELS, problems_of
from tests.making import fixed_id
from tests.unit.resources.oracle import TERMS, accepts

ENTITY = fixed_id(1)
CODE = {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}
PATIENT = {"reference": f"Patient/{ENTITY}"}
WHY = {"extension": [{"url": "urn:x:why", "valueCode": "unknown"}]}
LAWFUL: dict[str, dict[str, Any]] = {
    "Patient": {},
    "Observation": {"status": "final", "code": CODE},
    "Encounter": {"status": "planned", "class": {"code": "AMB"}},
    "MedicationRequest": {
        "status": "active", "intent": "order", "subject": PATIENT, "medicationCodeableConcept": {"text": "a"},
    },
    "AllergyIntolerance": {
        "patient": PATIENT,
        "clinicalStatus": {"coding": [{"system": f"{TERMS}allergyintolerance-clinical", "code": "active"}]},
    },
    "Condition": {"subject": PATIENT},
    "Immunization": {"status": "completed", "vaccineCode": CODE, "patient": PATIENT, "occurrenceString": "May"},
}  # fmt: skip


def status_of(kind: str, code: str) -> dict[str, Any]:
    return {"coding": [{"system": f"{TERMS}{kind}", "code": code}]}


def paths(kind: str, payload: object, op_type: str = "create", entity_id: str | None = None) -> list[str]:
    return [path for path, _ in problems_of(kind, 1, op_type, json.dumps(payload).encode(), entity_id)]


@pytest.mark.parametrize("kind", LAWFUL)
def test_the_least_that_is_lawful(kind: str) -> None:
    """A resource with what must be there is lawful, and each of its members must be there."""
    resource = LAWFUL[kind]
    assert paths(kind, resource) == []
    for name in resource:
        assert paths(kind, resource | {name: None}) != []


@pytest.mark.parametrize(
    ("kind", "members", "path"),
    [
        ("Patient", {"name": [{"family": 5}]}, "name[0].family"),
        ("Patient", {"name": {"family": "a"}}, "name"),
        ("Patient", {"name": [{"given": ["a", ""]}]}, "name[0].given[1]"),
        ("Patient", {"gender": "F"}, "gender"),
        ("Patient", {"active": "true"}, "active"),
        ("Patient", {"birthDate": "2026-02-30"}, "birthDate"),
        ("Patient", {"deceasedBoolean": True, "deceasedDateTime": "2026"}, "deceased[x]"),
        ("Patient", {"deceasedDate": "2026"}, "deceasedDate"),
        ("Patient", {"multipleBirthInteger": 2**31}, "multipleBirthInteger"),
        ("Patient", {"contact": [{"gender": "male"}]}, "contact[0].name"),
        ("Patient", {"telecom": [{"value": "07"}]}, "telecom[0].system"),
        ("Patient", {"link": [{"other": {}, "type": "refer"}]}, "link[0].other"),
        ("Patient", {"managingOrganization": {"reference": "the clinic"}}, "managingOrganization.reference"),
        ("Patient", {"managingOrganization": {"reference": "#o"}}, "managingOrganization.reference"),
        ("Patient", {"managingOrganization": {"type": "Organization"}}, "managingOrganization.reference"),
        ("Patient", {"contained": [{"id": "o"}]}, "contained[0].resourceType"),
        ("Patient", {"contained": [{"resourceType": "A", "contained": []}]}, "contained[0].contained"),
        ("Patient", {"id": "not that"}, "id"),
        ("Patient", {"resourceType": "Person"}, "resourceType"),
        ("Patient", {"meta": {"lastUpdated": "2026"}}, "meta.lastUpdated"),
        ("Observation", {"status": "finished"}, "status"),
        ("Observation", {"status": None, "_status": {"id": "a"}}, "status"),
        ("Observation", {"code": {}}, "code"),
        ("Observation", {"subject": {"reference": "Encounter/1"}}, "subject"),
        ("Observation", {"effectiveDateTime": "2026-11-21T10:00:00"}, "effectiveDateTime"),
        ("Observation", {"effectiveDateTime": "٢٠٢٦"}, "effectiveDateTime"),
        ("Observation", {"valueQuantity": {"value": "36.6"}}, "valueQuantity.value"),
        ("Observation", {"valueQuantity": {"value": 1, "code": "mm[Hg]"}}, "valueQuantity.system"),
        ("Observation", {"valueDecimal": 1.5}, "valueDecimal"),
        ("Observation", {"valueInteger": 1.0}, "valueInteger"),
        ("Observation", {"valueInteger": 1, "dataAbsentReason": CODE}, "dataAbsentReason"),
        ("Observation", {"valueInteger": 1, "component": [{"code": CODE}]}, "component[0].code"),
        (
            "Observation",
            {"component": [{"code": {"text": "a"}, "valueString": 5}]},
            "component[0].valueString",
        ),
        ("Observation", {"referenceRange": [{"appliesTo": [CODE]}]}, "referenceRange[0].text"),
        ("Encounter", {"period": {"start": "2026-02", "end": "2026-01-31"}}, "period.end"),
        (
            "Encounter",
            {"period": {"start": "2026-01-01T10:00:00+02:00", "end": "2026-01-01T07:59:59Z"}},
            "period.end",
        ),
        ("AllergyIntolerance", {"category": ["food", "dust"]}, "category[1]"),
        ("AllergyIntolerance", {"clinicalStatus": {"text": "active"}}, "clinicalStatus"),
        ("AllergyIntolerance", {"reaction": [{"manifestation": []}]}, "reaction[0].manifestation"),
        (
            "AllergyIntolerance",
            {"verificationStatus": status_of("allergyintolerance-verification", "entered-in-error")},
            "clinicalStatus",
        ),
        ("Condition", {"category": [status_of("condition-category", "problem-list-item")]}, "clinicalStatus"),
        (
            "Condition",
            {"abatementString": "May", "clinicalStatus": status_of("condition-clinical", "active")},
            "clinicalStatus",
        ),
        ("Immunization", {"protocolApplied": [{"series": "a"}]}, "protocolApplied[0].doseNumber[x]"),
    ],
)
def test_where_a_resource_is_not_lawful(kind: str, members: dict[str, Any], path: str) -> None:
    """Each mistake is found, alone, at its path, and the message does not repeat what was written."""
    payload = json.dumps(LAWFUL[kind] | members).encode()
    found = problems_of(kind, 1, "create", payload, ENTITY)
    assert [problem.path for problem in found] == [path]
    assert "the clinic" not in found[0].message


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        ("Patient", {"birthDate": None, "_birthDate": WHY}),
        ("Patient", {"name": [{"given": ["a", None], "_given": [None, {"id": "b"}]}]}),
        ("Patient", {"contained": [{"resourceType": "Organization", "id": "o"}],
                     "managingOrganization": {"reference": "#o"}}),
        ("Patient", {"id": ENTITY, "resourceType": "Patient"}),
        ("Observation", {"status": None, "_status": WHY}),
        ("Observation", {"valueQuantity": {"value": 1e300}}),
        ("Observation", {"subject": {"identifier": {"system": "urn:x:mrn", "value": "7"}}}),
        ("Encounter", {"period": {"start": "2026-01-02T00:30:00+02:00", "end": "2026-01-01"}}),
        ("Encounter", {"period": {"start": "2026", "end": "2026-01-31"}}),
        ("Condition", {"verificationStatus": status_of("condition-ver-status", "entered-in-error")}),
    ],
)  # fmt: skip
def test_unusual_but_lawful(kind: str, members: dict[str, Any]) -> None:
    """What FHIR allows for what is not known, or known otherwise, is taken; the oracle takes it too."""
    resource = {"resourceType": kind} | LAWFUL[kind] | members
    assert paths(kind, resource, entity_id=ENTITY) == []
    assert accepts(kind, json.dumps(resource).encode())


def test_what_is_not_modelled_passes() -> None:
    """A member, a type or a schema_version that is not known here is no problem, whatever it holds."""
    assert paths("Patient", {"x-ward": [1, {"name": 5}], "n": 1, "ethnicity": "", "deceasedBy": {}}) == []
    assert paths("Basket", {"status": 5, "id": ""}) == []
    assert problems_of("Observation", 2, "create", b"{}") == []
    assert paths("Patient", LAWFUL["Patient"], op_type="delete") == []


@pytest.mark.parametrize(
    "payload",
    [
        b"[1]",
        b"{",
        b"",
        b"\xff",
        b"{" * 100_000,
        b'{"a":NaN}',
        b'{"a":1e9999999999999999999}',
        b'{"a":' * 500 + b"5" + b"}" * 500,
    ],
)
def test_what_is_no_payload_is_left_to_the_rules(payload: bytes) -> None:
    """Text that is no JSON object is refused elsewhere, in words of its own; here it is no error."""
    assert problems_of("Patient", 1, "create", payload) == []


@pytest.mark.parametrize(
    ("kind", "members", "expected"),
    [
        ("Encounter", {}, []),
        ("Encounter", {"status": "finished", "period": {"end": "2026"}}, []),
        ("Encounter", {"status": "over"}, ["status"]),
        ("Encounter", {"status": None}, ["status"]),
        ("Encounter", {"class": None}, ["class"]),
        ("Encounter", {"status": None, "_status": WHY}, []),
        ("Encounter", {"partOf": None}, []),
        ("Encounter", {"id": "other"}, ["id"]),
        ("Encounter", {"participant": [{"individual": {"reference": "no"}}]}, ["participant[0].individual.reference"]),
        ("Encounter", {"statusHistory": [{"status": "arrived"}]}, ["statusHistory[0].period"]),
        ("MedicationRequest", {"medicationCodeableConcept": None}, ["medication[x]"]),
        ("MedicationRequest", {"medicationCodeableConcept": None, "medicationReference": {"display": "a"}}, []),
        ("Patient", {"deceasedBoolean": True, "deceasedDateTime": "2026"}, ["deceased[x]"]),
        ("Patient", {"deceasedBoolean": None, "deceasedDateTime": "2026"}, []),
        ("Condition", {"abatementString": "May"}, []),
    ],
)  # fmt: skip
@pytest.mark.parametrize("op_type", ["update", "resolve"])
def test_a_patch_is_held_against_the_fields_it_names(
    kind: str, members: dict[str, Any], expected: list[str], op_type: str
) -> None:
    """What a patch names is checked; what it leaves out may be there; what must be there is not removed."""
    assert paths(kind, members, op_type, ENTITY) == expected


@pytest.mark.parametrize(
    ("reason", "lawful"),
    [("a mistake", True), (None, True), ("", False), ("  ", False), (5, False), (["a"], False)],
)
def test_a_reason_is_text(reason: object, lawful: bool) -> None:
    """The reason of a retract or a resolve says something, or is left out."""
    assert paths("Patient", {"reason": reason}, "retract") == ([] if lawful else ["reason"])
    assert paths("Patient", {}, "retract") == []
    patch = {"_resolve": {"reason": reason}, "gender": "female"}
    assert paths("Patient", patch, "resolve") == ([] if lawful else ["_resolve.reason"])
    assert paths("Patient", {"_resolve": "a mistake"}, "resolve") == ["_resolve"]


def test_problems_are_bounded() -> None:
    """However much is wrong, only so much is told."""
    assert len(paths("Patient", {"name": [{"family": 5}] * 1_000})) == limits.PROBLEMS_MAX


def test_nested_as_deep_as_an_op_may_be() -> None:
    """Sections inside sections are looked at down to the deepest that an op may have."""
    section: dict[str, Any] = {"title": 5}
    for _ in range(limits.PAYLOAD_DEPTH_MAX // 2 - 2):
        section = {"section": [section]}
    assert any(path.endswith(".title") for path in paths("Composition", {"section": [section]}, "update"))


def test_every_type_of_the_policies_has_a_model() -> None:
    """The types that have a policy of their own, and those that are appended to, are modelled."""
    assert len(MODELS) == 17


def test_models_load_with_the_first_record() -> None:
    """Neither the library nor the hub's program loads the models: a server never reads a resource."""
    text = "import sys, medxz, medxz.device.device, hub.app; assert 'medxz.resources' not in sys.modules"
    subprocess.run([sys.executable, "-c", text], check=True)
