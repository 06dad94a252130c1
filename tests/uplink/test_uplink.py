"""A hub and its cloud: what is recorded at one site is everywhere, whatever is cut, ended or restored on the way."""

from __future__ import annotations

import asyncio
import shutil
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.making import as_json
from tests.uplink.conftest import DEADLINE_S, IDS, Box, Relay, Tablet, until


async def test_what_one_site_records_is_at_the_other(
    relay: Relay, north: Box, south: Box, nora: Tablet
) -> None:
    """An op goes up by itself and comes down at the other site by itself; its device learns that the cloud has it."""
    await relay.add_user("sam@clinic.example")
    sam = await Tablet.enrolled(south, relay, "South", "sam@clinic.example")
    [first] = await nora.record()
    [second] = await sam.record()
    await until(lambda: has(sam, first), "the first op at the south")
    await until(lambda: has(nora, second), "the second op at the north")
    await until(lambda: reached(nora, 1), "cloud_through of the first")
    status = await nora.status()
    assert status["upstream"]["state"] == "online"
    assert (status["upstream"]["backlog"], status["upstream"]["last_error"]) == (0, None)
    assert status["cloud_epoch"] == relay.running.store.server.epoch
    metrics = (await north.http.get("/metrics")).text
    assert "medxz_upstream_online 1.0" in metrics
    assert "medxz_upstream_backlog 0.0" in metrics


async def has(tablet: Tablet, op_id: str) -> bool:
    return op_id in await tablet.pulled()


async def reached(tablet: Tablet, number: int) -> bool:
    return await tablet.cloud_through() >= number


async def test_an_op_crosses_sites_at_once(relay: Relay, north: Box, south: Box, nora: Tablet) -> None:
    """With nobody polling, an op recorded at one site comes on the other site's stream in a fraction of a second."""
    await relay.add_user("sam@clinic.example")
    sam = await Tablet.enrolled(south, relay, "South", "sam@clinic.example")
    arrived: dict[str, float] = {}
    reading = asyncio.create_task(follow(sam, arrived))
    took = []
    for _ in range(15):
        op = nora.op()
        begun = time.perf_counter()
        await nora.push(op)
        await until(lambda op=op: op.op_id in arrived, "the op at the other site")  # type: ignore[misc]
        took.append(arrived[op.op_id] - begun)
        await asyncio.sleep(0.02)
    reading.cancel()
    assert statistics.median(took) < 1.0, took  # how fast it is, `make bench` measures


async def follow(tablet: Tablet, arrived: dict[str, float]) -> None:
    headers = {"Authorization": f"Bearer {tablet.token}"}
    async with tablet.box.http.stream("GET", "/v1/sync/stream", headers=headers) as answer:
        assert answer.status_code == httpx.codes.OK
        async for line in answer.aiter_lines():
            if line.startswith("data:") and "op_id" in line:
                for op in orjson.loads(line.removeprefix("data:")):
                    arrived[op["op_id"]] = time.perf_counter()


async def test_a_clinic_works_while_the_cloud_is_away(
    relay: Relay, north: Box, south: Box, nora: Tablet
) -> None:
    """Ops are taken and counted while the cloud is down, and are there, once each, soon after it is back."""
    before = await nora.record(3)
    await until(lambda: reached(nora, 3), "the first ops in the cloud")
    await relay.stop()
    during = await nora.record(40)
    await until(lambda: not north.is_online, "that the cloud is missed")
    status = (await nora.status())["upstream"]
    assert (status["state"], status["backlog"]) == ("offline", 40)
    assert status["last_error"]
    assert (await north.http.get("/health")).json()["ok"]
    await relay.start()
    await until(lambda: reached(nora, 43), "the rest in the cloud")
    assert await relay.stored(nora.token) == before + during
    await until(lambda: south.running.storage.log.last_seq == 43, "everything at the other site")


async def test_a_hub_that_is_ended_in_the_middle_goes_on(
    relay: Relay, north: Box, nora: Tablet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a hub had not sent when it was ended goes up after its next start, and nothing twice."""
    monkeypatch.setattr("medxz.replicate.cycle.PUSH_OPS", 20)
    await relay.stop()
    ids = await nora.record(600)
    await relay.start()
    await until(lambda: 0 < north.backlog < 600, "the middle of it")
    await north.stop()
    await north.start()
    await until(lambda: reached(nora, 600), "all of it in the cloud")
    assert await relay.stored(nora.token) == ids
    assert north.backlog == 0


async def test_a_hub_reads_a_clinic_s_log_from_the_beginning(
    relay: Relay, north: Box, nora: Tablet, make_box
) -> None:
    """A hub that is new to a clinic has all of it before long, and pushes none of it back."""
    ids = await nora.record(1_200)
    await until(lambda: reached(nora, 1_200), "all of it in the cloud")
    replaced = make_box("replaced")
    await replaced.claim(relay, "North")
    await replaced.start()
    await until(lambda: replaced.running.storage.log.last_seq == 1_200, "all of it in the new hub")
    nora.box = replaced
    await nora.refresh()
    assert await nora.pulled() == ids
    await until(lambda: reached(nora, 1_200), "the new hub says what the cloud has")
    assert (await nora.status())["received_through"] == 1_200


async def test_what_a_hub_rejected_never_blocks_a_watermark(relay: Relay, north: Box, nora: Tablet) -> None:
    """The number of an op that the hub refused for good is settled in the cloud too."""
    ops = [nora.op(), nora.op(), nora.op()]
    bodies = [as_json(op) for op in ops]
    bodies[1]["entity_type"] = "not a type"
    answer = await nora.ask("POST", "/v1/sync/push", {"ops": bodies}, token=nora.token)
    assert [result["status"] for result in answer.json()["results"]] == ["accepted", "rejected", "accepted"]
    await until(lambda: reached(nora, 3), "all three numbers in the cloud")
    assert await relay.stored(nora.token) == [ops[0].op_id, ops[2].op_id]


async def test_a_refusal_of_the_cloud_comes_down(relay: Relay, north: Box, south: Box, nora: Tablet) -> None:
    """Of two ops with one id the cloud refuses the second: its device is told, and its number is settled."""
    await relay.add_user("sam@clinic.example")
    sam = await Tablet.enrolled(south, relay, "South", "sam@clinic.example")
    await relay.stop()
    tablets = [nora, sam]
    op_id = IDS.uuid7()
    for tablet in tablets:
        await tablet.push(tablet.op(op_id=op_id), tablet.op())
    await relay.start()
    for tablet in tablets:
        await until(lambda tablet=tablet: reached(tablet, 2), "both numbers in the cloud")  # type: ignore[misc]
    told = [(await tablet.status())["refused_upstream"] for tablet in tablets]
    assert sorted(told, key=len) == [[], [{"op_id": op_id, "code": "op_id_reused"}]]
    refused = tablets[told.index([{"op_id": op_id, "code": "op_id_reused"}])]
    assert (await refused.push(refused.op()))["refused_upstream"] == [
        {"op_id": op_id, "code": "op_id_reused"}
    ]


async def test_who_was_disabled_meanwhile_is_looked_at_by_a_person(
    relay: Relay, north: Box, nora: Tablet
) -> None:
    """Ops of a user who was disabled, and of a device that was revoked, while the hub was cut off: kept, and marked."""
    await relay.add_user("rob@clinic.example")
    rob = await Tablet.enrolled(north, relay, "North", "rob@clinic.example")
    ada = await Tablet.enrolled(north, relay, "North", "ada@clinic.example")
    await relay.stop()
    ids = [*await nora.record(2), *await rob.record(1)]
    async with relay.office() as admin:
        await admin.users.disable(relay.clinic_id, "nora@clinic.example")
        await admin.devices.revoke(relay.clinic_id, rob.device_id)
    await relay.start()
    await until(lambda: north.backlog == 0 and north.is_online, "everything in the cloud")
    assert set(await relay.stored(ada.token)) == set(ids)
    reviews = await in_cloud(relay, "/v1/reviews", ada.token)
    assert {(review["op_id"], review["code"]) for review in reviews["reviews"]} == {
        (op_id, "forbidden") for op_id in ids
    }
    for tablet in (nora, rob):  # and from now on they are out
        await until(lambda tablet=tablet: is_out(tablet), "that they are out at the hub")  # type: ignore[misc]


async def in_cloud(relay: Relay, path: str, token: str) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=relay.url, timeout=30) as http:
        answer = await http.get(path, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


async def is_out(tablet: Tablet) -> bool:
    answer = await tablet.ask("GET", "/v1/sync/status", token=tablet.token)
    return answer.status_code == 401


async def test_a_session_that_is_revoked_ends_at_the_hub(relay: Relay, north: Box, nora: Tablet) -> None:
    """A revocation in the cloud ends that session's stream at a hub that is connected, at once."""
    reading = asyncio.create_task(follow(nora, {}))
    await nora.record()
    await relay.admin.users.disable(relay.clinic_id, "nora@clinic.example")
    await asyncio.wait_for(reading, DEADLINE_S)
    assert await is_out(nora)


async def test_a_cloud_restored_from_a_backup_gets_everything_again(
    relay: Relay, north: Box, south: Box, nora: Tablet, tmp_path: Path
) -> None:
    """Its new epoch makes marks fall and hubs push every device's ops that it lacks; then all is as it was."""
    first = await nora.record(5)
    await until(lambda: reached(nora, 5), "the first ops in the cloud")
    await relay.stop()
    shutil.copytree(relay.folder, tmp_path / "backup")
    await relay.start()
    epoch = (await nora.status())["cloud_epoch"]
    second = await nora.record(7)
    await until(lambda: reached(nora, 12), "everything in the cloud")
    await until(lambda: south.running.storage.log.last_seq == 12, "everything at the other site")
    await relay.stop()
    shutil.rmtree(relay.folder)
    shutil.copytree(tmp_path / "backup", relay.folder)
    await relay.start()

    async def is_another() -> bool:
        return (await nora.status())["cloud_epoch"] != epoch

    await until(is_another, "a new epoch")
    await until(lambda: reached(nora, 12), "everything in the cloud again")
    assert sorted(await relay.stored(nora.token)) == sorted(first + second)
    assert await nora.pulled() == first + second


async def test_a_cloud_that_is_put_back_twice_has_no_epoch_twice(
    relay: Relay, north: Box, nora: Tablet, tmp_path: Path
) -> None:
    """The second time it stands in an epoch that a hub has left: the hub shows it so, and everything comes again."""
    first = await nora.record(5)
    await until(lambda: reached(nora, 5), "the first ops in the cloud")
    await relay.stop()
    shutil.copytree(relay.folder, tmp_path / "backup")
    await relay.start()
    seen = [(await nora.status())["cloud_epoch"]]

    async def is_another() -> bool:
        return (await nora.status())["cloud_epoch"] not in seen

    made = list(first)
    for count in (8, 11):
        made += await nora.record(3)
        await until(partial(reached, nora, count), "what came since in the cloud")
        await relay.stop()
        shutil.rmtree(relay.folder)
        shutil.copytree(tmp_path / "backup", relay.folder)
        await relay.start()
        await until(is_another, "a new epoch")
        seen.append((await nora.status())["cloud_epoch"])
    await until(partial(reached, nora, 11), "everything in the cloud again")
    assert sorted(await relay.stored(nora.token)) == sorted(made)
    assert seen == sorted(set(seen))


async def test_what_a_restored_cloud_revokes_is_revoked(
    relay: Relay, north: Box, nora: Tablet, tmp_path: Path
) -> None:
    """It loses one decision, no op and no epoch, and takes another instead, of the same number: the hub hears of it."""
    await relay.add_user("sam@clinic.example")
    sam = await Tablet.enrolled(north, relay, "North", "sam@clinic.example")
    await relay.stop()
    shutil.copytree(relay.folder, tmp_path / "backup")
    async with relay.office() as office:
        await office.users.disable(relay.clinic_id, "sam@clinic.example")
    await relay.start()
    await until(lambda: is_out(sam), "the decision that is lost")
    heard = north.running.storage.registry.directory.revision
    await relay.stop()
    shutil.rmtree(relay.folder)
    shutil.copytree(tmp_path / "backup", relay.folder)
    async with relay.office() as office:
        await office.users.disable(relay.clinic_id, "nora@clinic.example")
    await relay.start()
    await until(lambda: is_out(nora), "the decision that took its place")
    assert north.running.storage.registry.directory.revision == heard
