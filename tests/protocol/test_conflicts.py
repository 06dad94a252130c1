"""What does not agree is told: in the push, in the entity, in the list, by its id, in the status; until it is settled."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from medxz.op import Operation
from tests.making import OTHER_DEVICE, fixed_id, make_op
from tests.protocol.conftest import Caller, Server
from tests.protocol.refused import assert_refused, assert_well
from tests.protocol.test_entities import follow, listed, path_of, patient

CONFLICTS = "/v1/conflicts"


def fork(before: Operation, number: int, *payloads: str, op_type: str = "update") -> list[Operation]:
    """Ops beside each other."""
    return [follow(before, number + at, payload, op_type) for at, payload in enumerate(payloads)]


async def conflicts(caller: Caller, **query: Any) -> list[dict[str, Any]]:
    return await listed(caller, CONFLICTS, "conflicts", **query)


async def test_a_conflict_is_told_everywhere(device: Caller) -> None:
    """Push, entity, list, single and status say the same of it, with both sides' values as they were written."""
    created = patient(1, '{"phone":0.0,"name":"A"}')
    left, right = fork(created, 2, '{"phone":1.50}', '{"phone":2.50}')
    answer = await device.push_exact(created, left, right)
    result = answer.body["results"][2]
    assert (result["status"], result["fields"]) == ("conflict", ["phone"])
    [told] = await conflicts(device)
    assert told["conflict_id"] == result["conflict_id"]
    assert (told["kind"], told["state"], told["fields"]) == ("edit", "open", ["phone"])
    assert told["heads"] == sorted((left.op_id, right.op_id))
    assert {side["op_id"]: side["values"]["phone"] for side in told["sides"]} == {
        left.op_id: 1.5, right.op_id: 2.5,
    }  # fmt: skip
    entity = (await device.ask("GET", path_of(created))).body
    assert entity["conflicts"] == [{name: told[name] for name in entity["conflicts"][0]}]
    assert (await device.ask("GET", f"{CONFLICTS}/{told['conflict_id']}")).body == told
    assert (await device.status())["open_conflicts"] == 1
    assert b'"phone":1.50' in await device.raw(CONFLICTS)


async def test_a_resolve_settles_it(device: Caller) -> None:
    """From then on it is no longer open, and stays to be read under its id with who settled it."""
    created = make_op(1, entity_type="Condition", payload='{"code":"a"}')
    left, right = fork(created, 2, '{"code":"b"}', '{"code":"c"}', op_type="amend")
    await device.push(created, left, right)
    [told] = await conflicts(device)
    settled = follow(
        created, 4, '{"code":"c","_resolve":{"reason":"asked her"}}', "resolve",
        parents=tuple(sorted((left.op_id, right.op_id))),
    )  # fmt: skip
    assert (await device.push(settled)).statuses == ["accepted"]
    assert await conflicts(device) == []
    assert (await device.status())["open_conflicts"] == 0
    [resolved] = await conflicts(device, state="resolved")
    assert resolved == told | {"state": "resolved", "resolved_by": settled.op_id}
    assert (await device.ask("GET", f"{CONFLICTS}/{told['conflict_id']}")).body == resolved
    entity = (await device.ask("GET", path_of(created))).body
    assert (entity["conflicts"], entity["state"]) == ([], {"code": "c"})


async def test_a_conflict_says_that_it_may_change(device: Caller) -> None:
    """While a parent is missing it is provisional."""
    created = patient(1, '{"phone":0}')
    left, right = fork(created, 2, '{"phone":1}', '{"phone":2}')
    await device.push(left, right)
    [told] = await conflicts(device)
    assert told["provisional"] is True
    await device.push(created)
    [told] = await conflicts(device)
    assert told["provisional"] is False


async def test_a_retract_beside_an_edit(device: Caller) -> None:
    """It is a conflict of all fields, and the side that took the entity back says why."""
    created = make_op(1, payload='{"value":1}')
    back = follow(created, 2, '{"reason":"wrong patient"}', "retract")
    edit = follow(created, 3, '{"value":2}', "amend")
    await device.push(created, back, edit)
    [told] = await conflicts(device)
    assert (told["kind"], told["fields"]) == ("retract", ["*"])
    [mark] = [side["retracted"] for side in told["sides"] if "retracted" in side]
    assert mark == {"op_id": back.op_id, "reason": "wrong patient"}


async def test_two_patients_who_may_be_one(device: Caller) -> None:
    """They are told as a duplicate, never merged, and a link settles it."""
    people = [
        patient(n, f'{{"identifier":[{{"system":"urn:ahv","value":"756.1"}}],"name":[{{"family":"F{n}"}}]}}')
        for n in (1, 2)
    ]
    await device.push(*people)
    [told] = await conflicts(device)
    assert (told["kind"], told["entity_type"], told["fields"], told["heads"]) == (
        "duplicate", "Patient", ["identifier"], [],
    )  # fmt: skip
    ids = sorted(op.entity_id for op in people)
    assert told["entity_id"] == ids[0]
    assert sorted(side["entity_id"] for side in told["sides"]) == ids
    assert (await device.status())["open_conflicts"] == 1
    assert len(await listed(device, "/v1/entities/Patient")) == 2
    link = f'{{"link":[{{"other":{{"reference":"Patient/{people[1].entity_id}"}},"type":"seealso"}}]}}'
    await device.push(follow(people[0], 3, link))
    assert await conflicts(device) == []
    [settled] = await conflicts(device, state="resolved")
    assert (settled["conflict_id"], settled["state"]) == (told["conflict_id"], "resolved")


async def test_a_list_of_conflicts_page_by_page(server: Server, device: Caller) -> None:
    """Each conflict once, while others appear."""
    number, expected = 1, set()
    for _ in range(20):
        created = patient(number, '{"phone":0}')
        await device.push(created, *fork(created, number + 1, '{"phone":1}', '{"phone":2}'))
        expected.add(created.entity_id)
        number += 3
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        answer = await device.ask("GET", CONFLICTS, params={"limit": 3} | cursor)
        seen += [conflict["entity_id"] for conflict in answer.body["conflicts"]]
        if answer.body["next_cursor"] is None:
            break
        cursor = {"cursor": answer.body["next_cursor"]}
        created = patient(number, '{"phone":0}')
        await device.push(created, *fork(created, number + 1, '{"phone":1}', '{"phone":2}'))
        number += 3
    assert len(seen) == len(set(seen))
    assert expected <= set(seen)
    first = (await device.ask("GET", CONFLICTS, params={"limit": 3})).body["next_cursor"]
    assert_refused(
        await device.ask("GET", CONFLICTS, params={"cursor": first, "state": "resolved"}), 400, "bad_cursor"
    )


async def test_two_devices_at_once(server: Server, device: Caller) -> None:
    """Of two pushes that meet, one at least is told of the conflict, and the list has it."""
    other = await server.caller(device_id=OTHER_DEVICE)
    created = patient(1, '{"phone":0}')
    await device.push(created)
    left = follow(created, 2, '{"phone":1}')
    right = follow(created, 1, '{"phone":2}', device_id=OTHER_DEVICE)
    answers = await asyncio.gather(device.push(left), other.push(right))
    assert sorted(answer.statuses[0] for answer in answers) == ["accepted", "conflict"]
    assert len(await conflicts(other)) == 1


@pytest.mark.parametrize(
    ("path", "status", "code", "field"),
    [
        ("/v1/conflicts?state=closed", 422, "invalid", "state"),
        ("/v1/conflicts?state=", 422, "invalid", "state"),
        ("/v1/conflicts?limit=0", 422, "invalid", "limit"),
        ("/v1/conflicts?cursor=x", 400, "bad_cursor", None),
        ("/v1/conflicts?state=open&state=open", 422, "invalid", "state"),
        ("/v1/conflicts/x", 422, "invalid", "id"),
        (f"/v1/conflicts/{fixed_id(0xBAD)}", 404, "not_found", None),
        (f"/v1/conflicts/{fixed_id(0xBAD)}?state=open", 422, "invalid", "state"),
        ("/v1/conflicts/", 404, "not_found", None),
    ],
)
async def test_bad_requests(
    server: Server, device: Caller, path: str, status: int, code: str, field: str | None
) -> None:
    """What is asked for wrongly is refused with the code, and the field, that the protocol has for it."""
    assert_refused(await device.ask("GET", path), status, code, field=field)
    assert_well(server)
