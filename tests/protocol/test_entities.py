"""Entities as they stand, their ops, their history, and lists of them: read as they were written, page by page."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from medxz import limits
from medxz.op import Operation
from medxz.service.wanted import Wanted
from medxz.store.views import Asked, Found, Portion, Views
from tests.making import DEVICE, OTHER_DEVICE, USER, fixed_id, make_op
from tests.protocol.conftest import Caller, Server
from tests.protocol.refused import assert_refused, assert_well

SECRET = "Zwicky-Lüthi"


def patient(number: int, payload: str = '{"resourceType":"Patient"}', **changes: Any) -> Operation:
    return make_op(number, entity_type="Patient", payload=payload, **changes)


def follow(
    before: Operation, number: int, payload: str, op_type: str = "update", **changes: Any
) -> Operation:
    return make_op(
        number, entity_type=before.entity_type, entity_id=before.entity_id, op_type=op_type, payload=payload,
        parents=changes.pop("parents", (before.op_id,)), **changes,
    )  # fmt: skip


def path_of(op: Operation) -> str:
    return f"/v1/entities/{op.entity_type}/{op.entity_id}"


async def listed(caller: Caller, path: str, name: str = "entities", **query: Any) -> list[dict[str, Any]]:
    """A whole list, by following its cursor."""
    items: list[dict[str, Any]] = []
    while True:
        answer = await caller.ask("GET", path, params=query)
        assert answer.status == 200, answer.body
        assert len(answer.body[name]) <= query.get("limit", limits.LIST_PAGE_DEFAULT)
        items += answer.body[name]
        if answer.body["next_cursor"] is None:
            return items
        query["cursor"] = answer.body["next_cursor"]


async def test_an_entity_is_what_its_ops_make_it(device: Caller) -> None:
    """State, heads, version and conflicts; the state's members sorted, each as it was written."""
    created = patient(1, '{"weight":72.50,"name":[ {"family" : "A"} ],"n":12345678901234567890123,"gone":1}')
    later = follow(created, 2, '{"gone":null,"name":"B"}')
    await device.push_exact(created, later)
    told = await device.raw(path_of(created))
    assert told == (
        b'{"entity_type":"Patient","entity_id":"%b","state":{"n":12345678901234567890123,"name":"B","weight":72.50},'
        b'"heads":["%b"],"version":2,"conflicts":[],"missing_parents":[]}'
        % (created.entity_id.encode(), later.op_id.encode())
    )


async def test_a_parent_that_is_not_here_is_named(device: Caller) -> None:
    """Its child is shown all the same, and the entity says what it misses until that comes."""
    created = patient(1, '{"a":1}')
    later = follow(created, 2, '{"b":2}')
    await device.push(later)
    answer = await device.ask("GET", path_of(created))
    assert answer.body["missing_parents"] == [created.op_id]
    assert answer.body["state"] == {"b": 2}
    await device.push(created)
    healed = await device.ask("GET", path_of(created))
    assert (healed.body["missing_parents"], healed.body["state"]) == ([], {"a": 1, "b": 2})


async def test_a_retracted_entity_is_there(device: Caller) -> None:
    """It keeps its values, says by which op and why, and stays in its list."""
    created = make_op(1, entity_type="Condition", payload='{"code":"x"}')
    back = follow(created, 2, '{"reason":"wrong patient"}', "retract")
    await device.push(created, back)
    answer = await device.ask("GET", path_of(created))
    mark = {"op_id": back.op_id, "reason": "wrong patient"}
    assert answer.body["state"] == {"code": "x", "retracted": mark}
    assert await listed(device, "/v1/entities/Condition") == [answer.body]


async def test_what_was_stored_is_in_the_list(device: Caller) -> None:
    """A list asked for after a push was answered has what was pushed, each time."""
    for number in range(1, 30):
        op = patient(number)
        await device.push(op)
        assert op.entity_id in {item["entity_id"] for item in await listed(device, "/v1/entities/Patient")}


async def test_a_list_is_followed_while_it_grows(device: Caller) -> None:
    """Page by page, each entity once, and none is skipped, although others are added before and behind."""
    first = [patient(number) for number in range(1, 61)]
    await device.push(*first)
    seen: list[str] = []
    cursor: dict[str, str] = {}
    number = 61
    while True:
        answer = await device.ask("GET", "/v1/entities/Patient", params={"limit": 7} | cursor)
        seen += [item["entity_id"] for item in answer.body["entities"]]
        if answer.body["next_cursor"] is None:
            break
        cursor = {"cursor": answer.body["next_cursor"]}
        await device.push(patient(number, entity_id=fixed_id(number)), patient(number + 1))
        number += 2
    assert len(seen) == len(set(seen))
    assert {op.entity_id for op in first} <= set(seen)


async def test_a_list_is_of_one_type(device: Caller) -> None:
    """What is used under two types is two entities."""
    twice = fixed_id(0x77)
    await device.push(patient(1, '{"a":1}', entity_id=twice), make_op(2, entity_id=twice, payload='{"b":2}'))
    for entity_type, state in (("Patient", {"a": 1}), ("Observation", {"b": 2})):
        [item] = await listed(device, f"/v1/entities/{entity_type}")
        assert (item["entity_id"], item["state"], item["version"]) == (twice, state, 1)
    assert await listed(device, "/v1/entities/Condition") == []


async def test_patients_are_found(device: Caller) -> None:
    """By name without regard to accents and case, birth date, identifier and phone number."""
    muster = patient(
        1,
        '{"name":[{"family":"Müller","given":["Jürg"]}],"birthDate":"1980-02-29",'
        '"identifier":[{"system":"urn:ahv","value":"756.1234"}],"telecom":[{"system":"phone","value":"+41 44 123 45 67"}]}',
    )
    await device.push(muster, patient(2, '{"name":[{"family":"Other"}]}'))
    for words in ("muller", "MÜLLER jurg", "1980-02-29", "756.1234", "mül"):
        found = await listed(device, "/v1/entities/Patient", q=words)
        assert [item["entity_id"] for item in found] == [muster.entity_id], words
    assert await listed(device, "/v1/entities/Patient", q="nobody") == []
    assert await listed(device, "/v1/entities/Patient", q=" ") == []


async def test_what_is_about_a_patient(device: Caller) -> None:
    """`patient` gives a type's entities of that patient by date; `from` and `to` are days, both included."""
    person = patient(1)
    days = ["2026-01-05", "2026-01-06", "2026-01-07"]
    ops = [
        make_op(
            number,
            payload=f'{{"subject":{{"reference":"Patient/{person.entity_id}"}},"effectiveDateTime":"{day}T10:00:00Z"}}',
        )
        for number, day in enumerate(days, 2)
    ]
    await device.push(person, *ops, make_op(9, payload='{"effectiveDateTime":"2026-01-06"}'))

    async def dates(**query: str) -> list[str]:
        found = await listed(device, "/v1/entities/Observation", patient=person.entity_id, limit=2, **query)
        return sorted(item["state"]["effectiveDateTime"][:10] for item in found)

    assert await dates() == days
    assert await dates(**{"from": days[1]}) == days[1:]
    assert await dates(to=days[1]) == days[:2]
    assert await dates(**{"from": days[1], "to": days[1]}) == [days[1]]


async def test_the_ops_of_an_entity(device: Caller) -> None:
    """Whole, as a pull gives them, in the order of server_seq, page by page."""
    created = make_op(1, payload='{"value":120.50}')
    ops = [created]
    for number in range(2, 41):
        ops.append(follow(ops[-1], number, f'{{"value":{number}.50}}', "amend"))
    await device.push_exact(*ops, make_op(41))
    path = f"{path_of(created)}/ops"
    found = await listed(device, path, "ops", limit=7)
    pulled = (await device.pull()).body["ops"]
    assert found == pulled[:40]
    assert b'"payload":{"value":120.50}' in await device.raw(path)
    assert_refused(await device.ask("GET", f"/v1/entities/Patient/{created.entity_id}/ops"), 404, "not_found")


async def test_a_page_is_bounded_by_its_bytes(device: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long ops and long entities come on more pages, and none of them is lost."""
    monkeypatch.setattr(limits, "PULL_PAGE_BYTES_MAX", 50_000)
    text = "x" * 20_000
    ops = [make_op(number, payload=f'{{"a":"{text}"}}') for number in range(1, 21)]
    ops += [follow(ops[0], 21, f'{{"a":"{text}"}}', "amend")]
    ops += [follow(ops[-1], 22, f'{{"a":"{text}"}}', "amend")]
    await device.push(*ops)
    page = await device.ask("GET", "/v1/entities/Observation")
    assert 1 <= len(page.body["entities"]) < 20
    assert len(await listed(device, "/v1/entities/Observation")) == 20
    first = await device.ask("GET", f"{path_of(ops[0])}/ops")
    assert len(first.body["ops"]) == 2
    assert len(await listed(device, f"{path_of(ops[0])}/ops", "ops")) == 3
    assert len(await listed(device, f"{path_of(ops[0])}/history", "history")) == 3


async def test_the_history_of_an_entity(server: Server, device: Caller) -> None:
    """Each op with who, where, when and each field before and after, parents first, and what merged by itself."""
    other = await server.caller(device_id=OTHER_DEVICE)
    created = patient(1, '{"name":"A","phone":1.50}')
    left, right = (
        follow(created, 2, '{"phone":2.50}'),
        follow(created, 1, '{"mail":"m"}', device_id=OTHER_DEVICE),
    )
    both = follow(left, 3, '{"name":"B"}', parents=tuple(sorted((left.op_id, right.op_id))))
    await device.push_exact(created, left)
    await other.push(right)
    open_ends = await device.ask("GET", f"{path_of(created)}/history")
    assert open_ends.body["merged"]["heads"] == sorted((left.op_id, right.op_id))
    await device.push(both)
    items = await listed(device, f"{path_of(created)}/history", "history", limit=2)
    assert [item["op_id"] for item in items][0::3] == [created.op_id, both.op_id]
    by_id = {item["op_id"]: item for item in items}
    assert by_id[left.op_id]["fields"] == {"phone": {"before": 1.5, "after": 2.5}}
    assert by_id[right.op_id]["fields"] == {"mail": {"before": None, "after": "m"}}
    assert by_id[both.op_id]["merged"]["heads"] == sorted((left.op_id, right.op_id))
    who = by_id[right.op_id]
    assert (who["user_id"], who["device_id"], who["device_time"]) == (USER, OTHER_DEVICE, right.device_time)
    assert who["server_seq"] == 3
    assert b'"before":1.50,"after":2.50' in await device.raw(f"{path_of(created)}/history")
    assert by_id[left.op_id]["device_id"] == DEVICE


BAD = fixed_id(0xBAD)


@pytest.mark.parametrize(
    ("path", "status", "code", "field"),
    [
        (f"/v1/entities/patient/{BAD}", 422, "invalid", "type"),
        (f"/v1/entities/P%20x/{BAD}", 422, "invalid", "type"),
        ("/v1/entities/Patient/x", 422, "invalid", "id"),
        (f"/v1/entities/Patient/{BAD.upper()}", 422, "invalid", "id"),
        (f"/v1/entities/Patient/{BAD}%0A", 422, "invalid", "id"),
        (f"/v1/entities/Patient/{BAD}", 404, "not_found", None),
        (f"/v1/entities/Patient/{BAD}/ops", 404, "not_found", None),
        (f"/v1/entities/Patient/{BAD}/history", 404, "not_found", None),
        ("/v1/entities/Patient/x/ops", 422, "invalid", "id"),
        ("/v1/entities/x/x/history", 422, "invalid", "type"),
        ("/v1/entities/é", 422, "invalid", "type"),
        ("/v1/entities/Patient?limit=0", 422, "invalid", "limit"),
        ("/v1/entities/Patient?limit=501", 422, "invalid", "limit"),
        ("/v1/entities/Patient?limit=x", 422, "invalid", "limit"),
        ("/v1/entities/Patient?q=", 422, "invalid", "q"),
        (f"/v1/entities/Patient?q={'x' * 201}", 422, "invalid", "q"),
        ("/v1/entities/Observation?q=x", 422, "invalid", "q"),
        (f"/v1/entities/Patient?q=x&patient={BAD}", 422, "invalid", "patient"),
        ("/v1/entities/Encounter?patient=x", 422, "invalid", "patient"),
        ("/v1/entities/Encounter?from=2026-01-01", 422, "invalid", "from"),
        ("/v1/entities/Encounter?to=2026-01-01", 422, "invalid", "to"),
        (f"/v1/entities/Encounter?patient={BAD}&from=2026-02-30", 422, "invalid", "from"),
        (f"/v1/entities/Encounter?patient={BAD}&to=1.1.2026", 422, "invalid", "to"),
        (f"/v1/entities/Encounter?patient={BAD}&to=2026-01-01T00:00:00Z", 422, "invalid", "to"),
        ("/v1/entities/Patient?cursor=", 400, "bad_cursor", None),
        ("/v1/entities/Patient?cursor=x", 400, "bad_cursor", None),
        ("/v1/entities/Patient?cursor=%C3%A9", 400, "bad_cursor", None),
        (f"/v1/entities/Patient?cursor={'A' * 2000}", 400, "bad_cursor", None),
        (f"/v1/entities/Patient/{BAD}/ops?cursor=AAAA", 400, "bad_cursor", None),
        (f"/v1/entities/Patient/{BAD}/history?cursor=AAAA", 400, "bad_cursor", None),
        (f"/v1/entities/Patient/{BAD}/history?limit=0", 422, "invalid", "limit"),
        ("/v1/entities/Patient?colour=red", 422, "invalid", "colour"),
        ("/v1/entities", 404, "not_found", None),
        ("/v1/entities/", 404, "not_found", None),
        (f"/v1/entities/Patient/{BAD}/", 404, "not_found", None),
    ],
)
async def test_bad_requests(
    server: Server, device: Caller, path: str, status: int, code: str, field: str | None
) -> None:
    """What is asked for wrongly is refused with the code, and the field, that the protocol has for it."""
    assert_refused(await device.ask("GET", path), status, code, field=field)
    assert_well(server)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_entities_are_only_read(device: Caller, method: str) -> None:
    """An entity is changed by pushing ops, and by nothing else."""
    for path in ("/v1/entities/Patient", f"/v1/entities/Patient/{BAD}", "/v1/conflicts"):
        assert_refused(await device.ask(method, path), 405, "method_not_allowed")


async def test_a_cursor_is_of_one_list(device: Caller) -> None:
    """One of another type, question or entity is bad_cursor; a cursor of the log is none of a list, nor the other way."""
    people = [patient(n, '{"name":[{"family":"Same"}]}') for n in range(1, 4)]
    await device.push(*people, *(make_op(n) for n in range(4, 7)), follow(people[0], 7, '{"a":1}'))
    one = {"limit": "1"}
    paths = [
        "/v1/entities/Patient?limit=1", "/v1/entities/Observation?limit=1", "/v1/entities/Patient?limit=1&q=same",
        f"{path_of(people[0])}/ops?limit=1", f"{path_of(people[0])}/history?limit=1",
    ]  # fmt: skip
    cursors = {path: (await device.ask("GET", path)).body["next_cursor"] for path in paths}
    cursors["/v1/sync/pull?limit=1"] = (await device.pull(**one)).body["next_cursor"]
    for path in cursors:
        for other, cursor in cursors.items():
            answer = await device.ask("GET", f"{path}&cursor={cursor}")
            if path == other:
                assert answer.status == 200
            else:
                assert answer.code in {"bad_cursor", "cursor_epoch_changed"}, (path, other)


async def test_nothing_of_a_patient_is_told(server: Server, device: Caller) -> None:
    """Neither the log, at its most talkative, nor the metrics nor an error hold what was searched for or found."""
    await device.push(patient(1, f'{{"name":[{{"family":"{SECRET}"}}],"birthDate":"1931-07-19"}}'))
    path = "/v1/entities/Patient"
    found = await listed(device, path, q=SECRET)
    assert len(found) == 1
    refused = [
        await device.ask("GET", path, params={"q": SECRET, "cursor": "x"}),
        await device.ask("GET", path, params={"q": SECRET * 30}),
        await device.ask("GET", "/v1/entities/Observation", params={"q": SECRET}),
        await device.ask("GET", path, params={"name": SECRET}),
        await device.ask("GET", f"{path}/{SECRET}"),
        await device.ask("GET", f"/v1/entities/{SECRET}"),
        await device.ask("GET", "/v1/conflicts", params={"state": SECRET}),
    ]
    metrics = await device.raw("/metrics")
    said = server.said.getvalue() + metrics + json.dumps([answer.body for answer in refused]).encode()
    assert all(400 <= answer.status < 500 for answer in refused)
    for secret in (SECRET, "Zwicky", "1931-07-19", found[0]["entity_id"]):
        assert secret.encode() not in said
        assert json.dumps(secret)[1:-1].encode() not in said


@pytest.mark.parametrize("ending", ["", "/history"])
async def test_entities_of_many_ops_are_worked_out_a_few_at_a_time(
    server: Server, device: Caller, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many ask, a few such entities are in memory, each read in portions; the answer is the same for all."""
    ops = [patient(1, '{"n":1}')]
    for number in range(2, 101):
        ops.append(follow(ops[-1], number, f'{{"n":{number}}}'))
    await device.push_exact(*ops)
    read, reading, most = server.log.entity_ops, 0, 0

    async def counted(*asked: Any, **how: Any) -> list[bytes]:
        nonlocal reading, most
        assert how["limit"] * limits.OP_BYTES_MAX <= limits.PULL_PAGE_BYTES_MAX
        is_large = how.get("after_seq", 0) > 0
        reading += is_large
        most = max(most, reading)
        await asyncio.sleep(0)
        found = await read(*asked, **how)
        reading -= is_large
        return found

    monkeypatch.setattr(server.log, "entity_ops", counted)
    answers = await asyncio.gather(*(device.raw(path_of(ops[0]) + ending) for _ in range(6)))
    assert len(set(answers)) == 1
    told = json.loads(answers[0])
    assert told.get("version", len(told.get("history", ()))) == 100
    assert 1 <= most <= limits.LARGE_ENTITIES_MAX


async def test_a_type_of_other_letters_is_another_type(server: Server) -> None:
    """Who reads appointments sees nothing of a type that is spelt in capitals, of a patient or at all."""
    admin, desk = (
        await server.caller("admin"),
        await server.caller("front_desk", device_id=OTHER_DEVICE, user_id=fixed_id(0xE8)),
    )
    who = fixed_id(0x71)
    of_patient = json.dumps(
        {"subject": {"reference": f"Patient/{who}"}, "start": "2026-01-01", "note": SECRET}
    )
    ops = [
        make_op(number, entity_type=name, entity_id=fixed_id(0x80 + number), payload=of_patient)
        for number, name in enumerate(("Appointment", "APPOINTMENT"), start=1)
    ]
    assert (await admin.push(*ops)).statuses == ["accepted", "accepted"]
    for query in ({}, {"patient": who}):
        found = await listed(desk, "/v1/entities/Appointment", **query)
        assert [entity["entity_id"] for entity in found] == [ops[0].entity_id], query
    refused = await desk.ask("GET", "/v1/entities/APPOINTMENT", params={"patient": who})
    assert_refused(refused, 403, "forbidden")


def test_what_lists_say_too_much_is_left_out() -> None:
    """A row of another type than the one asked for is passed over, wherever it comes from."""

    class TooMuch(Views):
        def __init__(self) -> None: ...

        def of_patient(self, asked: Asked, after: str | None, limit: int) -> Portion[Found]:
            return Portion([Found(name, fixed_id(1), False) for name in ("APPOINTMENT", "Appointment")], "1")

    portion = Wanted("Appointment", patient_id=fixed_id(2)).portion(TooMuch(), None, 10)
    assert ([row.entity_type for row in portion.rows], portion.after) == (["Appointment"], "1")


async def test_health_tells_of_entities_that_were_left_out(
    server: Server, device: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists go on without an entity that a fault keeps out of them, and whoever runs the server is told."""

    def views_check(answer: Any) -> dict[str, Any]:
        return next(check for check in answer.body["checks"] if check["name"] == "views")

    assert views_check(await device.ask("GET", "/health"))["ok"]

    def failing(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("medxz.store.views.taking._taken", failing)
    await device.push_exact(patient(1))
    assert await listed(device, "/v1/entities/Patient") == []
    check = views_check(await device.ask("GET", "/health"))
    assert (check["ok"], check["detail"][:10]) == (False, "1 entities")
