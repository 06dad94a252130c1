"""What a device says of entities, and how their conflicts are settled: by the library, over a real store."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import jwt
import pytest

from medxz.device.device import Device, Machine
from medxz.errors import OpInvalid, PayloadInvalid, StoreError
from medxz.op import Operation
from tests.making import CLINIC, DEVICE, OTHER_DEVICE, USER, fixed_id, make_op
from tests.unit.device.scripted import KEY, URL, ScriptedServer

TOKEN = jwt.encode({"cid": CLINIC, "did": DEVICE, "sub": USER}, "k" * 32, algorithm="HS256")
ADA = {"resourceType": "Patient", "name": [{"family": "Ott", "given": ["Ada"]}], "birthDate": "1980-02-29"}
ALLERGY = {
    "resourceType": "AllergyIntolerance", "patient": {"reference": f"Patient/{fixed_id(1)}"},
    "code": {"text": "nuts"},
    "clinicalStatus": {
        "coding": [
            {"system": "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical", "code": "active"}
        ]
    },
}  # fmt: skip


@pytest.fixture
def server() -> ScriptedServer:
    return ScriptedServer()


@pytest.fixture
async def device(tmp_path: Path, server: ScriptedServer) -> AsyncIterator[Device]:
    machine = Machine(connect=lambda url, **_: server)
    async with Device.create(tmp_path / "d", key=KEY, server=URL, token=TOKEN, machine=machine) as device:
        yield device


_SEQ = iter(range(1, 1_000))


async def theirs(
    server: ScriptedServer, entity: tuple[str, str], op_type: str, payload: object, *parents: str
) -> Operation:
    """An op of another device, which reaches this one with its next sync."""
    op = make_op(
        next(_SEQ), device_id=OTHER_DEVICE, entity_type=entity[0], entity_id=entity[1], op_type=op_type,
        parents=tuple(sorted(parents)), payload=json.dumps(payload),
    )  # fmt: skip
    await server.arrive(op)
    return op


async def torn_patient(device: Device, server: ScriptedServer) -> tuple[tuple[str, str], str, str]:
    """A patient whose phone was changed in two places at once: (entity, our op, theirs)."""
    made = await device.record("Patient", ADA)
    entity = ("Patient", made.entity_id)
    ours = await device.record(
        "Patient", b'{"telecom":[{"system":"phone","value":"1"}],"active":true}', op="update",
        entity_id=made.entity_id,
    )  # fmt: skip
    other = await theirs(
        server,
        entity,
        "update",
        {"telecom": [{"system": "phone", "value": "2"}], "gender": "female"},
        made.op_id,
    )
    await device.sync()
    return entity, ours.op_id, other.op_id


async def test_an_entity_as_it_stands(device: Device, server: ScriptedServer) -> None:
    """Fields that were changed apart are joined; one that was changed twice is in conflict, each side with who and when."""
    entity, ours, other = await torn_patient(device, server)
    view = await device.get(*entity)
    assert view is not None
    assert (view.state["active"], view.state["gender"]) == (b"true", b'"female"')
    [conflict] = (await device.conflicts()).rows
    assert conflict.fields == ("telecom",)
    assert {side.op_id for side in conflict.sides} == {ours, other}
    assert {side.device_id for side in conflict.sides} == {DEVICE, OTHER_DEVICE}
    assert (await device.status()).open_conflicts == 1
    assert await device.conflict(conflict.conflict_id) == conflict
    history = await device.history(*entity)
    assert history is not None
    assert [entry.change.op_type for entry in history.entries] == ["create", "update", "update"]
    assert await device.get("Patient", fixed_id(9)) is None
    assert await device.history("Patient", fixed_id(9)) is None


@pytest.mark.parametrize("by", ["side", "field", "value", "entity"])
async def test_settling_a_conflict(device: Device, server: ScriptedServer, by: str) -> None:
    """However it is decided, one resolve follows all heads, writes what differs and nothing else, and says why."""
    entity, ours, other = await torn_patient(device, server)
    [conflict] = (await device.conflicts()).rows
    match by:
        case "side":
            done = await device.resolve(conflict.conflict_id, take=ours, reason="asked")
        case "field":
            done = await device.resolve(conflict.conflict_id, take={"telecom": ours}, reason="asked")
        case "value":
            value = b'[{"system":"phone","value":"1"}]'
            done = await device.resolve(conflict.conflict_id, fields={"telecom": value}, reason="asked")
        case _:
            done = await device.resolve(entity, take=ours, reason="asked")
    [resolve] = done
    assert resolve.parents == tuple(sorted((ours, other)))
    assert bytes(resolve.payload) == (
        b'{"telecom":[{"system":"phone","value":"1"}],"_resolve":{"reason":"asked"}}'
    )
    assert (await device.conflicts()).rows == []
    [settled] = (await device.conflicts("resolved")).rows
    assert (settled.conflict_id, settled.resolved_by) == (conflict.conflict_id, resolve.op_id)
    await device.sync()
    assert server.stored_ids()[-1] == resolve.op_id
    with pytest.raises(StoreError, match="was resolved"):
        await device.resolve(conflict.conflict_id, take=ours, reason="again")


async def test_what_is_not_named_stays(device: Device, server: ScriptedServer) -> None:
    """A resolve of one field of a type that does not merge leaves the others in conflict, under the same id."""
    made = await device.record("AllergyIntolerance", ALLERGY)
    entity = ("AllergyIntolerance", made.entity_id)
    ours = await device.record(
        entity[0], b'{"criticality":"low","type":"allergy"}', op="update", entity_id=entity[1]
    )
    await theirs(server, entity, "update", {"criticality": "high", "type": "intolerance"}, made.op_id)
    await device.sync()
    with pytest.raises(OpInvalid) as refused:
        await device.record(entity[0], b'{"criticality":"high"}', op="update", entity_id=entity[1])
    assert refused.value.field == "parents"
    assert "medxz resolve" in refused.value.hint
    [conflict] = (await device.conflicts()).rows
    assert conflict.fields == ("criticality", "type")
    await device.resolve(conflict.conflict_id, take={"type": ours.op_id}, reason="tested")
    [left] = (await device.conflicts()).rows
    assert left.fields == ("criticality",)
    await device.resolve(left.conflict_id, fields={"criticality": "high"}, reason="tested")
    assert (await device.status()).open_conflicts == 0


async def test_heads_that_say_the_same(device: Device, server: ScriptedServer) -> None:
    """Two equal changes are no conflict; a resolve of the entity joins them, so that it can be changed again."""
    made = await device.record("AllergyIntolerance", ALLERGY)
    entity = ("AllergyIntolerance", made.entity_id)
    await device.record(entity[0], b'{"criticality":"low"}', op="update", entity_id=entity[1])
    await theirs(server, entity, "update", {"criticality": "low"}, made.op_id)
    await device.sync()
    assert (await device.conflicts()).rows == []
    await device.resolve(entity, fields={"criticality": "high"}, reason="tested")
    await device.record(entity[0], b'{"criticality":"low"}', op="update", entity_id=entity[1])
    view = await device.get(*entity)
    assert view is not None
    assert (len(view.heads), view.state["criticality"]) == (1, b'"low"')


async def torn_by_a_retract(device: Device, server: ScriptedServer) -> tuple[tuple[str, str], str, str]:
    made = await device.record("Patient", ADA)
    entity = ("Patient", made.entity_id)
    ours = await device.record("Patient", b'{"active":true}', op="update", entity_id=made.entity_id)
    other = await theirs(server, entity, "retract", {"reason": "entered twice"}, made.op_id)
    await device.sync()
    return entity, ours.op_id, other.op_id


async def test_keeping_what_was_retracted_elsewhere(device: Device, server: ScriptedServer) -> None:
    """Where the side that was not retracted is taken, the entity is back, by one op."""
    entity, ours, _ = await torn_by_a_retract(device, server)
    [conflict] = (await device.conflicts()).rows
    assert (conflict.kind, conflict.fields) == ("retract", ("*",))
    [resolve] = await device.resolve(conflict.conflict_id, take=ours, reason="it is hers")
    view = await device.get(*entity)
    assert view is not None
    assert (view.retracted, view.state["active"], view.heads) == (None, b"true", (resolve.op_id,))


async def test_taking_the_side_that_retracted(device: Device, server: ScriptedServer) -> None:
    """Where it is taken, a resolve takes its values and a retract follows it, for the reason that it had."""
    entity, _, other = await torn_by_a_retract(device, server)
    [conflict] = (await device.conflicts()).rows
    resolve, retract = await device.resolve(conflict.conflict_id, take=other, reason="so it is")
    assert (retract.op_type, retract.parents) == ("retract", (resolve.op_id,))
    assert bytes(retract.payload) == b'{"reason":"entered twice"}'
    view = await device.get(*entity)
    assert view is not None
    assert view.retracted is not None
    assert "active" not in view.state
    assert (await device.status()).open_conflicts == 0


async def test_what_may_follow_a_retract(device: Device, server: ScriptedServer) -> None:
    """On a retracted entity an update or another retract is refused, whoever retracted it; an amend brings it back."""
    made = await device.record("Patient", ADA)
    entity_id = made.entity_id
    await device.record("Patient", {"reason": "wrong"}, op="retract", entity_id=entity_id)
    for op, payload in (("update", {"active": True}), ("retract", {"reason": "again"})):
        with pytest.raises(OpInvalid) as refused:
            await device.record("Patient", payload, op=op, entity_id=entity_id)
        assert refused.value.field == "op_type"
    await device.record("Patient", ADA, op="amend", entity_id=entity_id)
    await device.record("Patient", {"active": True}, op="update", entity_id=entity_id)
    entity, *_ = await torn_by_a_retract(device, server)
    with pytest.raises(OpInvalid, match="retracted"):
        await device.record("Patient", {"active": False}, op="update", entity_id=entity[1])


@pytest.mark.parametrize(
    ("decision", "field"),
    [
        ({}, "payload"),
        ({"take": fixed_id(8)}, "take"),
        ({"take": {"gender": "ours"}}, "take"),
        ({"fields": {"telecom": b"{"}}, "telecom"),
        ({"fields": {"telecom": object()}}, "telecom"),
        ({"fields": {"_resolve": 1}}, "_resolve"),
        ({"fields": {"birthDate": "soon"}}, "payload"),
        ({"take": "ours", "user_id": "me"}, "user_id"),
    ],
)
async def test_decisions_that_are_none(
    device: Device, server: ScriptedServer, decision: dict, field: str
) -> None:
    """What is about no side, no JSON or no such resource is refused, and nothing is recorded."""
    _, ours, _ = await torn_patient(device, server)
    [conflict] = (await device.conflicts()).rows
    said = json.dumps(decision, default=lambda _: None) if "fields" not in decision else ""
    decision = json.loads(said.replace("ours", ours)) if said else decision
    with pytest.raises(OpInvalid) as refused:
        await device.resolve(conflict.conflict_id, reason="x", **decision)
    assert refused.value.field == field
    assert (await device.status()).last_seq == 2


async def test_two_patients_that_may_be_one(device: Device) -> None:
    """They are told of as such, and are not resolved but linked."""
    first, second = [(await device.record("Patient", ADA)).entity_id for _ in range(2)]
    [found] = (await device.conflicts()).rows
    assert found.kind == "duplicate"
    assert {side.entity_id for side in found.sides} == {first, second}
    with pytest.raises(StoreError, match="two patients"):
        await device.resolve(found.conflict_id, take=first, reason="x")
    link = [{"other": {"reference": f"Patient/{second}"}, "type": "seealso"}]
    await device.record("Patient", {"link": link}, op="update", entity_id=first)
    assert (await device.conflicts()).rows == []


async def test_lists_and_searches(device: Device) -> None:
    """By type, by patient and date, by what people type; in pages, each entity once."""
    ada = (await device.record("Patient", ADA)).entity_id
    eve = (await device.record("Patient", ADA | {"name": [{"family": "Müller"}]})).entity_id
    for day in ("2026-11-20", "2026-11-21", "2026-11-22"):
        await device.record(
            "Observation",
            {
                "resourceType": "Observation", "status": "final", "code": {"text": "Pulse"},
                "subject": {"reference": f"Patient/{ada}"}, "effectiveDateTime": day,
            },
        )  # fmt: skip
    page = await device.list("Patient", limit=1)
    assert page.after is not None
    rest = await device.list("Patient", after=page.after)
    assert {view.entity.entity_id for view in [*page.rows, *rest.rows]} == {ada, eve}
    assert [view.entity.entity_id for view in (await device.search("muller 1980")).rows] == [eve]
    of_ada = await device.of_patient(ada, types=["Observation"], first="2026-11-21", last="2026-11")
    assert [view.state["effectiveDateTime"] for view in of_ada.rows] == [b'"2026-11-22"', b'"2026-11-21"']
    assert len((await device.of_patient(ada)).rows) == 3
    with pytest.raises(OpInvalid):
        await device.of_patient(ada, first="soon")


async def test_reading_beside_a_writer(device: Device, server: ScriptedServer, tmp_path: Path) -> None:
    """A store that is only read shows an entity as it is, and in lists what the writer has taken in."""
    entity, *_ = await torn_patient(device, server)
    async with Device.open(tmp_path / "d", key=KEY, read_only=True) as reader:
        assert (await reader.get(*entity)) == (await device.get(*entity))
        await device.list("Patient")
        assert len((await reader.list("Patient")).rows) == 1
        assert (await reader.status()).open_conflicts == 1
        with pytest.raises(StoreError):
            await reader.resolve(entity, fields={"active": True}, reason="x")


async def test_what_is_checked_of_a_resolve(device: Device, server: ScriptedServer) -> None:
    """A value that is written anew must be lawful; one that is taken from a side stands there already."""
    entity, *_ = await torn_patient(device, server)
    unknown = await theirs(
        server, entity, "update", {"telecom": "of a later version"}, *(await device.heads(*entity))
    )
    await device.record("Patient", {"telecom": []}, op="update", entity_id=entity[1])
    await device.sync()
    with pytest.raises(PayloadInvalid) as refused:
        await device.resolve(entity, fields={"telecom": "44"}, reason="x")
    assert refused.value.problems
    [resolve] = await device.resolve(entity, take=unknown.op_id, reason="x")
    assert b'"telecom":"of a later version"' in bytes(resolve.payload)
