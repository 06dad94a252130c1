"""What a device learns of a concurrent edit from the answer to its push, on a hub and on a cloud."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from medxz.op import Operation
from tests.making import CLINIC, DEVICE, OTHER_DEVICE, fixed_id, make_op
from tests.protocol.conftest import Caller, Server

ENTITY = fixed_id(0xE7)
NAMESPACE = uuid.UUID("ecedffc5-1d05-5e10-b09a-ad54783bcf93")


class Writer:
    """Ops of one entity, numbered as they are written."""

    def __init__(self, entity_type: str, device_id: str = DEVICE) -> None:
        self.entity_type = entity_type
        self.device_id = device_id
        self.number = 0

    def op(self, op_type: str, payload: dict[str, Any], *parents: Operation) -> Operation:
        self.number += 1
        return make_op(
            self.number, device_id=self.device_id, entity_type=self.entity_type, entity_id=ENTITY, op_type=op_type,
            parents=tuple(sorted(parent.op_id for parent in parents)), payload=json.dumps(payload),
        )  # fmt: skip


def conflict_id(entity_type: str, *ops: Operation) -> str:
    names = f"{CLINIC}\n{entity_type}\n{ENTITY}\n{','.join(sorted(op.op_id for op in ops))}"
    return str(uuid.uuid5(NAMESPACE, names))


async def test_concurrent_edits_of_one_field_conflict(server: Server, device: Caller) -> None:
    """Two phones for one patient: stored, and the second device is told which conflict, and in what."""
    other = await server.caller(device_id=OTHER_DEVICE)
    here, there = Writer("Patient"), Writer("Patient", OTHER_DEVICE)
    born = here.op("create", {"name": "A", "phone": "1"})
    first = here.op("update", {"phone": "2"}, born)
    second = there.op("update", {"phone": "3", "name": "B"}, born)
    assert (await device.push(born, first)).statuses == ["accepted", "accepted"]
    answer = await other.push(second)
    assert answer.body["results"] == [
        {
            "op_id": second.op_id,
            "status": "conflict",
            "server_seq": 3,
            "conflict_id": conflict_id("Patient", first, second),
            "fields": ["phone"],
        }
    ]
    assert (await other.push(second)).statuses == ["duplicate"]
    assert len(await device.pull_all()) == 3


async def test_edits_of_different_fields_merge(device: Caller) -> None:
    """A merged type conflicts field by field: what does not meet is joined without a word."""
    patient = Writer("Patient")
    born = patient.op("create", {"name": "A", "phone": "1"})
    sides = patient.op("update", {"phone": "2"}, born), patient.op("update", {"name": "B"}, born)
    assert (await device.push(born, *sides)).statuses == ["accepted"] * 3


@pytest.mark.parametrize("entity_type", ["Condition", "Observation"])
async def test_two_heads_of_a_type_that_people_settle(device: Caller, entity_type: str) -> None:
    """Under manual and append different states are a conflict in the fields that differ; equal ones are none."""
    writer = Writer(entity_type)
    born = writer.op("create", {"code": "x", "note": "n"})
    first = writer.op("amend", {"code": "y", "note": "n"}, born)
    same = writer.op("amend", {"code": "y", "note": "n"}, born)
    third = writer.op("amend", {"code": "z", "note": "n"}, born)
    answer = await device.push(born, first, same, third)
    assert answer.statuses == ["accepted", "accepted", "accepted", "conflict"]
    told = answer.body["results"][3]
    assert told["fields"] == ["code"]


async def test_one_push_is_judged_op_by_op(device: Caller) -> None:
    """A conflict is told of the op that makes it, of what comes while it is open, and no more once it is resolved."""
    patient = Writer("Patient")
    born = patient.op("create", {"phone": "1"})
    first, second = patient.op("update", {"phone": "2"}, born), patient.op("update", {"phone": "3"}, born)
    beside = patient.op("update", {"name": "B"}, first)
    settled = patient.op("resolve", {"phone": "3", "_resolve": {"reason": "asked her"}}, second, beside)
    after = patient.op("update", {"phone": "4"}, settled)
    answer = await device.push(born, first, second, beside, settled, after)
    assert answer.statuses == ["accepted", "accepted", "conflict", "conflict", "accepted", "accepted"]
    results = answer.body["results"]
    assert results[2]["conflict_id"] == results[3]["conflict_id"] == conflict_id("Patient", first, second)


async def test_a_retract_beside_an_edit_conflicts_in_everything(server: Server, device: Caller) -> None:
    """It is told as `*`, before what else conflicts; and after a restart as before it."""
    patient = Writer("Patient")
    born = patient.op("create", {"phone": "1"})
    edit, retract = (
        patient.op("update", {"phone": "2"}, born),
        patient.op("retract", {"reason": "twin"}, born),
    )
    await device.push(born, edit)
    await server.restart()
    answer = await device.push(retract)
    assert answer.statuses == ["conflict"]
    assert answer.body["results"][0]["fields"] == ["*"]
    assert answer.body["results"][0]["conflict_id"] == conflict_id("Patient", edit, retract)
    again = await device.push(patient.op("retract", {"reason": "twin"}, edit, retract))
    assert again.statuses == ["accepted"]


async def test_a_parent_that_comes_late_ends_a_conflict(device: Caller) -> None:
    """Ops that arrive before what they follow are stored; the conflict is gone when it has come."""
    patient = Writer("Patient")
    born = patient.op("create", {"phone": "1"})
    middle = patient.op("update", {"phone": "2"}, born)
    last = patient.op("update", {"phone": "3"}, middle)
    assert (await device.push(born, last)).statuses == ["accepted", "conflict"]
    assert (await device.push(middle)).statuses == ["accepted"]


async def test_one_id_under_two_types_is_two_entities(device: Caller) -> None:
    """Two creates under one id and different types have nothing to do with each other; under one type they conflict."""
    patient, condition = Writer("Patient"), Writer("Condition")
    condition.number = 10
    born = patient.op("create", {"phone": "1"}), condition.op("create", {"code": "x"})
    assert (await device.push(*born)).statuses == ["accepted", "accepted"]
    assert (await device.push(patient.op("create", {"phone": "9"}))).statuses == ["conflict"]


async def test_an_appended_type_is_never_updated(device: Caller) -> None:
    """An update of an observation is refused for good, with the field that is wrong."""
    writer = Writer("Observation")
    born = writer.op("create", {"value": 1})
    answer = await device.push(born, writer.op("update", {"value": 2}, born))
    assert answer.statuses == ["accepted", "invalid"]
    assert answer.body["results"][1]["field"] == "op_type"


@pytest.mark.parametrize("op_type", ["update", "amend", "retract"])
async def test_only_a_resolve_joins_what_people_settle(device: Caller, op_type: str) -> None:
    """Several parents under manual are a resolve's alone: anything else would end a conflict in silence."""
    writer = Writer("Condition")
    born = writer.op("create", {"code": "x"})
    sides = writer.op("update", {"code": "y"}, born), writer.op("update", {"code": "z"}, born)
    joined = writer.op(op_type, {"reason": "why"}, *sides)
    answer = await device.push(born, *sides, joined)
    assert answer.statuses == ["accepted", "accepted", "conflict", "invalid"]
    assert answer.body["results"][3]["field"] == "parents"


async def test_conflicts_are_counted(server: Server, device: Caller) -> None:
    """/metrics counts what was answered `conflict`."""
    condition = Writer("Condition")
    await device.push(condition.op("create", {"code": "x"}), condition.op("create", {"code": "y"}))
    assert 'medxz_pushed_ops_total{status="conflict"} 1.0' in server.services.metrics.render().decode()
