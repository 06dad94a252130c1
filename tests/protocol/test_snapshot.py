"""A snapshot and a pull from its cursor are the log: nothing is missing, nothing twice, whatever is written meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from medxz import limits
from medxz.merge.line import changes_of_line
from medxz.merge.view import view_of
from tests.making import CLINIC, DEVICE, OTHER_DEVICE, fixed_id, make_op, run_of
from tests.protocol.conftest import Caller, Server

SNAPSHOT = "/v1/sync/snapshot"
CLERK = fixed_id(0xE7)


async def snapshot_of(caller: Caller) -> tuple[dict[str, Any], list[bytes]]:
    """The header, and the lines as they came."""
    answer = await caller.ask("GET", SNAPSHOT, headers={"Accept-Encoding": "gzip"})
    assert answer.status == 200
    body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
    head, *lines = body.splitlines()
    return json.loads(head), lines


@asynccontextmanager
async def reading(caller: Caller) -> AsyncIterator[AsyncIterator[str]]:
    """A snapshot of which nothing has been read yet."""
    headers = {"Authorization": f"Bearer {caller.token}", "Accept-Encoding": "identity"}
    async with caller.server.http.stream("GET", SNAPSHOT, headers=headers) as response:
        assert response.status_code == 200
        yield response.aiter_lines()


def ops_in(lines: list[bytes]) -> list[str]:
    return [op["op_id"] for line in lines for op in json.loads(line)["graph"]]


def some_clinic(first: int, last: int) -> list[Any]:
    """Ops of many types, a third of them of entities that have one already."""
    ops: list[Any] = []
    for number in range(first, last + 1):
        if number % 3 or not ops:
            ops.append(make_op(number, entity_type="Patient" if number % 2 else "Observation"))
        else:
            before = ops[-1]
            ops.append(
                make_op(
                    number, entity_type=before.entity_type, entity_id=before.entity_id, op_type="amend",
                    parents=(before.op_id,), payload=f'{{"status":"amended","value":{number}.50}}',
                )
            )  # fmt: skip
    return ops


async def test_an_empty_log_has_a_snapshot(server: Server, device: Caller) -> None:
    """It has no entities, and a cursor from which everything comes."""
    head, lines = await snapshot_of(device)
    assert (head["entities"], head["have"], lines) == (0, {}, [])
    assert (head["server_id"], head["epoch"]) == (server.log.server_id, server.log.epoch)
    await device.push(make_op(1))
    assert len((await device.pull(head["cursor"])).body["ops"]) == 1


async def test_a_snapshot_and_a_pull_are_the_log(device: Caller) -> None:
    """What is in the snapshot is not in a pull from its cursor, and what is pushed later is."""
    ops = some_clinic(1, 1_300)
    await device.push(*ops[:900])
    await device.push(*ops[900:1_200])
    head, lines = await snapshot_of(device)
    assert head["entities"] == len(lines) == len({op.entity_id for op in ops[:1_200]})
    assert sorted(ops_in(lines)) == sorted(op.op_id for op in ops[:1_200])
    assert (await device.pull(head["cursor"])).body["ops"] == []
    await device.push(*ops[1_200:])
    later = (await device.pull(head["cursor"])).body["ops"]
    assert [op["op_id"] for op in later] == [op.op_id for op in ops[1_200:]]


async def test_pushes_go_on_meanwhile(
    server: Server, device: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is being read others write, to its entities and to new ones: none of that is in it, all of it follows."""
    monkeypatch.setattr(limits, "SNAPSHOT_BATCH_ENTITIES", 20)
    ops = some_clinic(1, 2_000)
    await device.push(*ops[:600])
    lines: list[bytes] = []
    async with reading(device) as coming:
        head = json.loads(await anext(coming))
        done = 600
        async for line in coming:
            lines.append(line.encode())
            if len(lines) % 40 == 0 and done < 2_000:
                await device.push(*ops[done : done + 150])
                done += 150
    assert done > 600
    assert head["entities"] == len(lines)
    later = []
    cursor = head["cursor"]
    while page := (await device.pull(cursor)).body["ops"]:
        later += [op["op_id"] for op in page]
        cursor = (await device.pull(cursor)).body["next_cursor"]
    assert sorted(ops_in(lines) + later) == sorted(op.op_id for op in ops[:done])


async def test_what_it_says_to_have_is_what_it_has(device: Caller) -> None:
    """`have` names the numbers of its ops, of every device: a resume with it, here or elsewhere, lacks nothing."""
    await device.push(*run_of(1, 5), *run_of(8, 9))
    other = await device.server.caller(device_id=OTHER_DEVICE)
    await other.push(*run_of(1, 3, OTHER_DEVICE))
    head, _ = await snapshot_of(device)
    assert head["have"] == {DEVICE: [[1, 5], [8, 9]], OTHER_DEVICE: 3}
    await device.push(*run_of(6, 7))
    answer = await device.ask("POST", "/v1/sync/resume", json={"have": head["have"]})
    pulled = (await device.pull(answer.body["cursor"])).body["ops"]
    assert [op["device_seq"] for op in pulled] == [6, 7]


async def test_a_rejected_number_is_nothing_to_have(device: Caller) -> None:
    """A number that is settled by a dead letter is not claimed: another server may hold its op."""
    await device.push(make_op(1), make_op(2, hash="0" * 64), make_op(3))
    head, _ = await snapshot_of(device)
    assert head["have"] == {DEVICE: [[1, 1], [3, 3]]}


async def test_a_front_desk_claims_only_what_it_was_shown(server: Server, device: Caller) -> None:
    """Of a narrow scope are the lines, their number and `have`: when it sees more, a resume brings the rest."""
    await device.push(*(make_op(n, entity_type="Patient" if n % 2 else "Condition") for n in range(1, 11)))
    desk = await server.caller("front_desk", device_id=OTHER_DEVICE, user_id=CLERK, scope="front_desk")
    head, lines = await snapshot_of(desk)
    assert head["scope"] == "front_desk"
    assert head["entities"] == len(lines) == 5
    assert head["have"] == {DEVICE: [[n, n] for n in range(1, 11, 2)]}
    assert (await desk.pull(head["cursor"])).body["ops"] == []
    await server.registry.put_device(OTHER_DEVICE, "full")
    assert (await desk.pull(head["cursor"])).code == "cursor_scope_changed"
    answer = await desk.ask("POST", "/v1/sync/resume", json={"have": head["have"]})
    ops = (await desk.pull(answer.body["cursor"])).body["ops"]
    assert set(range(2, 11, 2)) <= {op["device_seq"] for op in ops}


async def test_lines_are_what_the_entities_are(device: Caller) -> None:
    """A line says of its entity what asking for it says, byte for byte; and from its graph the same follows."""
    created = make_op(
        1, entity_type="Patient", payload='{"name":"A","weight":72.50,"n":12345678901234567890123}'
    )
    sides = [
        make_op(
            2 + at, entity_type="Patient", entity_id=created.entity_id, op_type="update", parents=(created.op_id,),
            payload=f'{{"name":"{name}"}}',
        )
        for at, name in enumerate("BC")
    ]  # fmt: skip
    orphan = make_op(
        4, entity_type="Encounter", op_type="update", parents=(fixed_id(0xBAD),), payload='{"a":1.0}'
    )
    taken = make_op(5, entity_type="Condition")
    back = make_op(
        6, entity_type="Condition", entity_id=taken.entity_id, op_type="retract", parents=(taken.op_id,),
        payload='{"reason":"wrong patient"}',
    )  # fmt: skip
    await device.push_exact(created, *sides, orphan, taken, back)
    _, lines = await snapshot_of(device)
    assert len(lines) == 3
    for line in lines:
        entity, changes = changes_of_line(CLINIC, line)
        told = await device.raw(f"/v1/entities/{entity.entity_type}/{entity.entity_id}")
        assert view_of(entity, changes).to_wire_json() == told
        said, expected = json.loads(line), json.loads(told)
        assert {name: said[name] for name in expected} == expected
    assert any(b'"n":12345678901234567890123' in line and b'"weight":72.50' in line for line in lines)


async def test_an_id_under_two_types_is_two_lines(device: Caller) -> None:
    """The header counts entities as the lines do, also where a device has used one id for two things."""
    twice = fixed_id(0x77)
    await device.push(
        *(make_op(n, entity_id=twice, entity_type=t) for n, t in enumerate(("Patient", "Condition"), 1))
    )
    head, lines = await snapshot_of(device)
    assert head["entities"] == len(lines) == 2


async def test_nothing_is_held_for_a_slow_reader(
    server: Server, device: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot that nobody reads on pins no page of the file: the write-ahead log can begin again."""
    monkeypatch.setattr(limits, "SNAPSHOT_BATCH_ENTITIES", 1)
    payload = '{"note":"' + "x" * 200_000 + '"}'
    for first in range(1, 121, 20):
        await device.push(*run_of(first, first + 19, payload=payload))
    async with reading(device) as coming:
        await anext(coming)
        writing = server.log._file.writing
        [(busy, _, _)] = await server.log.run(
            lambda: writing.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        )
        assert busy == 0
        assert server.clinic.snapshot.being_read == 1


async def test_a_token_may_end_meanwhile(
    server: Server, device: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has begun is finished, however slow its reader's link; the next request needs another token."""
    await device.push(*some_clinic(1, 50))
    monkeypatch.setattr(limits, "SNAPSHOT_BATCH_ENTITIES", 5)
    async with reading(device) as coming:
        head = json.loads(await anext(coming))
        ends_ms = server.services.gate._clock.now_ms() + 3_600_000
        monkeypatch.setattr(server.services.gate._clock, "now_ms", lambda: ends_ms)
        assert len([line async for line in coming]) == head["entities"]
    assert (await device.pull()).code == "token_expired"


@pytest.mark.parametrize("why", ["session", "device", "scope"])
async def test_it_ends_with_what_it_was_allowed_by(
    server: Server, device: Caller, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """When the session or the device is revoked, or sees less, it is cut off before the next portion."""
    monkeypatch.setattr(limits, "SNAPSHOT_BATCH_ENTITIES", 1)
    payload = '{"note":"' + "x" * 200_000 + '"}'
    for first in range(1, 121, 20):
        await device.push(*run_of(first, first + 19, payload=payload))
    async with reading(device) as coming:
        await anext(coming)
        match why:
            case "session":
                await server.registry.revoke_session(device.session_id)
            case "device":
                await server.registry.revoke_device(DEVICE)
            case "scope":
                await server.registry.put_device(DEVICE, "front_desk")
        with pytest.raises(httpx.RemoteProtocolError):
            assert len([line async for line in coming]) < 120
    while server.clinic.snapshot.being_read:  # there is no event for its end
        await asyncio.sleep(0.005)
