"""Two hubs of a site: what one has, the other has, with no internet at all; the cloud gets it once."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import httpx
import pytest

from hub.ask import ask
from hub.neighbours import neighbour
from hub.uplink import uplink
from medxz.store.base import Append, Outcome
from tests.making import as_json
from tests.neighbours.conftest import are_online, figures, id_of, ops_of, states
from tests.uplink.conftest import Box, Relay, Tablet, until
from tests.uplink.test_uplink import follow


async def test_what_is_pushed_to_one_is_on_the_other_without_the_cloud(
    relay: Relay, north: Box, second: Box, nora: Tablet
) -> None:
    """With the cloud away, an op comes on a tablet's stream at the other hub; who goes over there finds all of them."""
    at_second = Tablet(second, nora.clinic_id, nora.device_id, nora.user_id, nora.token, key=nora.key)
    await until(lambda: at_second.is_known, "that the second hub was told of the tablet")
    await relay.stop()
    arrived: dict[str, float] = {}
    reading = asyncio.create_task(follow(at_second, arrived))
    ids = await nora.record(30)
    await until(lambda: sorted(arrived) == sorted(ids), "the ops on the stream at the second hub")
    reading.cancel()
    await north.stop()
    nora.box = second
    ids += await nora.record(5)
    assert sorted(await nora.pulled()) == sorted(ids)
    again = await nora.ask("GET", "/v1/sync/status", token=nora.token)
    assert again.json()["received_through"] == len(ids)


async def test_a_hub_that_was_gone_gets_what_it_missed(
    relay: Relay, north: Box, second: Box, nora: Tablet
) -> None:
    """While one is down the other says so; back again it has everything, and reads on from where it was."""
    await nora.record(10)
    await until(lambda: ops_of(second) == 10, "the first ops")
    await relay.stop()
    await second.stop()
    await until(lambda: not are_online(north), "the loss of the second hub")
    [lost] = states(north)
    assert (lost.hub_id, lost.last_error is not None) == (id_of(second), True)
    before = await figures(north.http)
    await nora.record(20)
    await second.start()
    await until(lambda: ops_of(second) == 30, "what it missed")
    await until(lambda: are_online(north, second), "both hubs")
    after = await figures(north.http)
    name = 'medxz_request_seconds_count{endpoint="resume",status="200"}'
    assert after.get(name, 0) == before.get(name, 0), "the cursor that it had kept is good"


async def test_nothing_goes_in_circles(
    relay: Relay, north: Box, second: Box, nora: Tablet, monkeypatch
) -> None:
    """What came from a neighbour, and is read there again, is known without a look into the file; both end alike."""
    await relay.stop()
    await relay_user_at(second, nora)
    offered = {box.folder.name: offers_to(box, monkeypatch) for box in (north, second)}
    ids = await nora.record(200)
    await until(lambda: ops_of(second) == 200, "the ops at the second hub")
    nora.box = second
    ids += await nora.record(100)
    await until(lambda: ops_of(north) == 300, "the ops at the first hub")
    assert sorted(await nora.pulled()) == sorted(ids)
    nora.box = north
    ids += await nora.record()
    await until(lambda: ops_of(second) == 301, "one more")
    assert {name: sorted(ops) for name, ops in offered.items()} == dict.fromkeys(offered, sorted(ids))
    assert [box.running.clinic.pull.streams_open for box in (north, second)] == [1, 1]


def offers_to(box: Box, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ops that are put to the writer of a hub from here on."""
    log, offered = box.running.storage.log, list[str]()
    append = log.append

    async def counting(batch: Append) -> list[Outcome]:
        offered.extend(op.op_id for op in batch.ops)
        return await append(batch)

    monkeypatch.setattr(log, "append", counting)
    return offered


async def relay_user_at(box: Box, tablet: Tablet) -> None:
    """Wait until a hub knows who a tablet's ops are by."""
    devices = box.running.storage.registry
    await until(lambda: tablet.device_id in devices.directory.devices, "the tablet in the directory")


async def test_the_cloud_gets_each_op_once(relay: Relay, north: Box, second: Box, nora: Tablet) -> None:
    """Two hubs that are both online hand up each op once; what came without the cloud is there once it is back."""
    live = []
    for count in range(1, 11):
        live += await nora.record()
        await until(partial(has_ops, second, count), "the op at the second hub")
    await until(lambda: north.backlog == second.backlog == 0, "the live ops in the cloud")
    async with httpx.AsyncClient(base_url=relay.url) as http:
        assert (await figures(http))['medxz_pushed_ops_total{status="duplicate"}'] == 0
    await relay.stop()
    away = await nora.record(40)
    await until(lambda: ops_of(second) == 50, "the others at the second hub")
    await north.stop()  # which had not handed them up
    await relay.start()
    await until(lambda: second.is_online and second.backlog == 0, "the second hub's uplink")
    assert sorted(await relay.stored(nora.token)) == sorted(live + away)


async def test_what_only_a_neighbour_has_goes_up_although_that_one_can_not(
    relay: Relay, north: Box, second: Box, nora: Tablet
) -> None:
    """Where the other hub can't reach the cloud, what it lent goes up from here, after a moment."""
    await relay_user_at(second, nora)
    cut_uplink(north)
    [op_id] = await nora.record()
    assert not await relay_has(relay, nora, op_id)
    await until(lambda: relay_has(relay, nora, op_id), "the op, by way of the second hub")


async def test_a_tablet_s_own_op_waits_for_no_neighbour(
    relay: Relay, north: Box, second: Box, nora: Tablet, monkeypatch
) -> None:
    """However much the other hub lends just then, what is pushed here goes up at once."""
    monkeypatch.setattr(uplink, "LENT_S", 3_600.0)
    await relay_user_at(second, nora)
    cut_uplink(north)
    lent = await nora.record(5)
    await until(lambda: ops_of(second) == 5, "what the first hub has lent")
    nora.box = second
    [own] = await nora.record()
    await until(lambda: relay_has(relay, nora, own), "the tablet's own op in the cloud")
    assert lent[0] in await relay.stored(nora.token)


def cut_uplink(box: Box) -> None:
    """This hub can't reach the cloud any more."""
    link: Any = box.running.doors.link
    for task in asyncio.all_tasks():
        if task.get_name() != "uplink":
            continue
        linked: Any = task.get_coro()
        if linked.cr_frame.f_locals["connection"].uplink is link.__self__:
            task.cancel()


async def relay_has(relay: Relay, tablet: Tablet, op_id: str) -> bool:
    return op_id in await relay.stored(tablet.token)


async def test_two_ops_with_one_number_are_kept_at_both(
    relay: Relay, north: Box, second: Box, nora: Tablet
) -> None:
    """Where a tablet was copied and each copy wrote at another hub, neither op is lost."""
    await relay.stop()
    await relay_user_at(second, nora)
    here = nora.op()
    nora.number = 0
    there = nora.op()
    await asyncio.gather(push(north, nora, as_json(here)), push(second, nora, as_json(there)))
    await until(lambda: ops_of(north) == ops_of(second) == 2, "both ops at both hubs")


async def push(box: Box, tablet: Tablet, op: dict[str, Any]) -> None:
    headers = {"Authorization": f"Bearer {tablet.token}"}
    answer = await box.http.post("/v1/sync/push", json={"ops": [op]}, headers=headers)
    assert answer.json()["results"][0]["status"] in {"accepted", "conflict"}, answer.text


async def test_who_is_unknown_to_one_hub_wrote_all_the_same(
    relay: Relay, north: Box, second: Box, nora: Tablet
) -> None:
    """What a neighbour has acknowledged is kept, whatever this hub knows of its author."""
    await relay.stop()
    registry = second.running.storage.registry
    await registry.put_user(nora.user_id, ["clinician"], disabled=True)
    await registry.revoke_device(nora.device_id)
    await nora.record(3)
    await until(lambda: ops_of(second) == 3, "the ops of somebody who was disabled there")


async def test_the_operator_sees_the_neighbours(relay: Relay, north: Box, second: Box) -> None:
    """`medxz-hub status`, /health and /metrics tell of them; that one is gone makes nobody unwell."""
    told = await status_of(north)
    [seen] = told["neighbours"]
    assert (seen["hub_id"], seen["url"], seen["state"]) == (id_of(second), second.url, "online")
    assert seen["last_ok_at"] is not None
    assert seen["last_error"] is None
    read = await figures(north.http)
    assert (read["medxz_neighbours"], read["medxz_neighbours_online"]) == (1, 1)
    await second.stop()
    await until(lambda: not are_online(north), "the loss of the second hub")
    [seen] = (await status_of(north))["neighbours"]
    assert (seen["state"], bool(seen["last_error"])) == ("offline", True)
    health = (await north.http.get("/health")).json()
    [check] = [check for check in health["checks"] if check["name"] == "neighbours"]
    assert health["ok"]
    assert check["detail"].startswith(f"0 of 1 online; {id_of(second)}: ")


def has_ops(box: Box, count: int) -> bool:
    return ops_of(box) == count


async def status_of(box: Box) -> dict[str, Any]:
    return await asyncio.to_thread(ask, box.settings.places.socket, "status")


async def test_a_hub_is_looked_for_again_when_it_comes_by(
    relay: Relay, north: Box, second: Box, monkeypatch
) -> None:
    """However long ago it was lost, it is read from as soon as it has asked to be let in itself."""
    monkeypatch.setattr(neighbour, "PAUSE_S", 3_600.0)
    monkeypatch.setattr(neighbour, "PAUSE_S_MAX", 3_600.0)
    await second.stop()
    await until(lambda: not are_online(north), "the loss of the second hub")
    await second.start()
    await until(lambda: are_online(north, second), "both hubs")
