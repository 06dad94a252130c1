"""A hub that its cloud can't be reached from, and a courier: what goes up, what comes down, and what is left alone."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import cloud.cli
import hub.cli
import hub.courier.packing
from hub.claimed import load_claim
from hub.courier.standing import read_note
from medxz import limits
from medxz.service.audit import entries_of
from medxz.store.directory import Directory
from tests.uplink.conftest import DEADLINE_S, IDS, Box, Relay, Tablet, free_port, until


class Courier:
    """Somebody with a stick, who types the commands at both ends."""

    def __init__(self, stick: Path, relay: Relay) -> None:
        self.stick, self.relay = stick, relay
        stick.mkdir()

    async def said(self, program: Any, *arguments: object) -> tuple[int, dict[str, Any]]:
        """The status of a command and what it answered, or complained of."""
        done = await asyncio.to_thread(CliRunner().invoke, program, [*map(str, arguments), "--json"])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            return 1, {"message": str(done.exception)}
        return done.exit_code, json.loads(done.stdout)

    async def at_hub(self, box: Box, command: str, *more: object, status: int | None = 0) -> dict[str, Any]:
        word = "--to" if command == "export" else "--from"
        found, told = await self.said(hub.cli.cli, command, "--data", box.folder, word, self.stick, *more)
        assert status in {found, None}, told
        return told

    async def at_cloud(
        self, *more: object, command: str = "import", status: int | None = 0
    ) -> dict[str, Any]:
        """`status` None: however it ends."""
        word = "--to" if command == "export" else "--from"
        where = ("--data", self.relay.folder, word, self.stick)
        found, told = await self.said(cloud.cli.cli, command, *where, *more)
        assert status in {found, None}, told
        return told

    async def call(self, box: Box) -> dict[str, Any]:
        """Up and down once."""
        await self.at_hub(box, "export")
        await self.at_cloud()
        return await self.at_hub(box, "import")

    def files(self, way: str) -> list[Path]:
        return sorted(self.stick.glob(f"medxz-{way}-*.courier"))


@pytest.fixture
async def courier(tmp_path: Path, relay: Relay) -> Courier:
    return Courier(tmp_path / "stick", relay)


async def moved(relay: Relay) -> None:
    """The cloud serves on, where no hub finds it."""
    await relay.stop()
    relay.port = free_port()
    await relay.start()


def known(box: Box) -> Directory:
    return box.running.storage.registry.directory


async def parted(relay: Relay, box: Box, *others: Box) -> None:
    """From now on only a courier goes between this hub and its cloud; the others find it as before."""
    await box.stop()
    for other in others:
        await other.stop()
    await moved(relay)
    await box.start()


async def met_again(relay: Relay, box: Box) -> None:
    """There is a line after all."""
    port = int(box.running.identity.claim.cloud_url.rsplit(":", 1)[1])  # type: ignore[union-attr]
    connection = box.running.doors.connection
    assert connection is not None
    connection.uplink.in_step.clear()
    await relay.stop()
    relay.port = port
    await relay.start()
    await until(connection.uplink.in_step.is_set, "in step")


async def ops_of(box: Box) -> set[str]:
    reading = await box.running.storage.log.ops_after(0, 10_000)
    return {str(json.loads(text)["op_id"]) for text in reading}


async def ops_of_cloud(relay: Relay) -> set[str]:
    clinic = await relay.running.parts.clinics.get(relay.clinic_id)
    return {str(json.loads(text)["op_id"]) for text in await clinic.log.ops_after(0, 10_000)}


async def test_a_round_leaves_what_a_connection_leaves(
    relay: Relay, north: Box, south: Box, nora: Tablet, courier: Courier
) -> None:
    """After one round both logs have every op, and a connection that comes then finds nothing to do: not an op goes
    either way, and what is kept of the cloud, its directory and how far both are stays what it was.
    """
    await relay.add_user("sam@clinic.example")
    sam = await Tablet.enrolled(south, relay, "South", "sam@clinic.example")
    early = await sam.record(3)
    await until(lambda: south.backlog == 0, "the south's ops in the cloud")
    await until(lambda: north.running.storage.log.last_seq == 3, "the south's ops in the north")
    await north.stop()
    late = await sam.record(4)
    await until(lambda: south.backlog == 0, "the south's ops in the cloud")
    await parted(relay, north, south)
    ours = await nora.record(7)
    assert await nora.cloud_through() == 0

    assert (await courier.at_hub(north, "export"))["ops"] == 7
    told = await courier.at_cloud()
    assert [(hub["accepted"], hub["pulled"]) for hub in told["hubs"]] == [(7, 11)]
    down = await courier.at_hub(north, "import")
    assert (down["refused"], down["ops"]) == ([], 4)
    note = read_note(north.running.storage.places.courier)
    assert note.exported is not None
    assert note.imported is not None
    assert (note.exported.ops, note.imported.ops, note.imported.answered) == (7, 4, 7)
    everything = {*early, *late, *ours}
    assert await ops_of(north) == await ops_of_cloud(relay) == everything
    assert (await nora.cloud_through(), north.backlog) == (7, 0)
    async with asyncio.timeout(DEADLINE_S):
        await north.running.doors.in_step()  # who waits for the cloud's log need not wait for a line
    assert (await courier.at_hub(north, "export"))["ops"] == 0

    registry = north.running.storage.registry
    before = (await registry.exchange(), registry.directory, registry.keys, registry.config)
    await met_again(relay, north)
    after = (await registry.exchange(), registry.directory, registry.keys, registry.config)
    assert after[:3] == before[:3]
    assert replace(after[3], targets=()) == replace(before[3], targets=())  # the cloud has moved back
    figures = relay.running.parts.services.metrics.render().decode()
    pushed = re.findall(r"^medxz_pushed_ops_total\S* (\S+)$", figures, re.MULTILINE)
    assert pushed
    assert set(map(float, pushed)) == {0.0}


async def events(box: Box) -> set[str]:
    """What the hub's own audit tells of."""
    storage = box.running.storage
    transactions = await storage.open_audit()
    try:
        entries, _ = await entries_of(transactions, storage.log.clinic_id, {}, None, 500)
    finally:
        await transactions.close()
    return {entry.event for entry in entries}


async def test_what_the_cloud_decided_comes_down(
    relay: Relay, north: Box, nora: Tablet, courier: Courier
) -> None:
    """People, revocations, configuration, keys and the certificate are as the cloud has them, at once; both audits say so."""
    await parted(relay, north)
    await nora.record(1)
    new = await relay.add_user("ned@clinic.example")
    await relay.admin.config.set(relay.clinic_id, "keep_own_days", 90)
    await relay.admin.keys.rotate(at_once=True)
    await relay.admin.devices.revoke(relay.clinic_id, nora.device_id)
    serial = north.running.doors.certificate.credential.certificate.serial_number  # type: ignore[union-attr]
    keys = north.running.storage.registry.keys
    await moved(relay)  # a relay that runs hears of its keys within half a minute
    told = await courier.call(north)
    registry = north.running.storage.registry
    assert new in known(north).users
    assert registry.config.keep_own_days == 90
    assert registry.keys != keys
    assert known(north).devices[nora.device_id].revoked
    assert (await nora.ask("GET", "/v1/sync/status", token=nora.token)).status_code == 401
    assert told["taken"][0]["renewed"] is False  # it is as good as the one that is there
    assert north.running.doors.certificate.credential.certificate.serial_number == serial  # type: ignore[union-attr]
    assert {"courier_exported", "courier_imported", "directory_changed"} <= await events(north)


async def test_a_certificate_is_brought_before_it_is_due(
    relay: Relay, north: Box, courier: Courier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate that will not last until next year's courier is asked for, brought, kept, and used at once."""
    await parted(relay, north)
    connection = north.running.doors.connection
    assert connection is not None
    before = connection.certificate.claim
    await asyncio.sleep(max(0.0, 1.1 - time.time() % 1.0))  # certificates know seconds
    monkeypatch.setattr(hub.courier.packing, "RENEWED_PART", 1_000_000)
    told = await courier.call(north)
    assert told["taken"][0]["renewed"]
    assert connection.certificate.claim.certificate != before.certificate
    assert (await load_claim(north.running.storage.registry)) == connection.certificate.claim
    assert (await courier.call(north))["refused"] == []


async def test_what_was_refused_is_told_to_its_device(
    relay: Relay, north: Box, south: Box, nora: Tablet, courier: Courier
) -> None:
    """An op that the cloud can't store, and one that the hub would not, settle their numbers; the tablet hears of the first."""
    await relay.add_user("sam@clinic.example")
    sam = await Tablet.enrolled(south, relay, "South", "sam@clinic.example")
    await north.stop()  # it does not hear of what follows
    theirs = sam.op()
    await sam.push(theirs)
    await until(lambda: south.backlog == 0, "the south's op in the cloud")
    await parted(relay, north, south)
    # as no honest device would: an id that another has used
    reused, unsigned, good = nora.op(op_id=theirs.op_id), nora.op(signature="A" * 86), nora.op()
    statuses = [result["status"] for result in (await nora.push(reused, unsigned, good))["results"]]
    assert statuses == ["accepted", "rejected", "accepted"]
    up = await courier.at_hub(north, "export")
    assert (up["ops"], up["dead_letters"]) == (2, 1)
    await courier.at_cloud()
    assert (await courier.at_hub(north, "import"))["refused"] == []
    status = await nora.status()
    assert status["refused_upstream"] == [{"op_id": theirs.op_id, "code": "op_id_reused"}]
    assert (status["cloud_through"], north.backlog) == (3, 0)
    again = await courier.at_hub(north, "export")
    assert (again["ops"], again["dead_letters"]) == (0, 0)


async def test_what_is_not_for_us_or_not_whole_is_left_in_a_line(
    relay: Relay, north: Box, south: Box, nora: Tablet, courier: Courier, tmp_path: Path
) -> None:
    """A file that is cut off, altered, for another hub, of another cloud's clinic, or of a revoked hub is left with a line
    that says so, and nothing of it counts; those beside it are taken.
    """
    await parted(relay, north, south)
    ours = await nora.record(2)
    await courier.at_hub(north, "export")
    [up] = courier.files("up")
    whole = up.read_bytes()
    for bad, why in ((whole[:-1], "not whole"), (whole[:-5] + b"wrong", "altered"), (b"what?", "no file of")):
        up.write_bytes(bad)
        told = await courier.at_cloud(status=1)
        assert why in told["refused"][0]
        assert await ops_of_cloud(relay) == set()
    up.write_bytes(whole)
    lies = up.with_name(up.name.replace("-0001", "-0002"))
    lies.write_bytes(whole.replace(b'"number":1', b'"number":2'))
    told = await courier.at_cloud(status=1)
    assert "was not made by the hub that it names" in told["refused"][0]
    assert await ops_of_cloud(relay) == set(ours)

    down = courier.files("down")[-1]
    mine = down.read_bytes()
    before = known(north)
    north_id, south_id = (box.running.identity.server_id.encode() for box in (north, south))
    down.write_bytes(mine.replace(north_id, south_id))
    assert "nothing for this hub" in (await courier.at_hub(north, "import", status=1))["message"]
    for bad, why in (
        (mine[:-1], "not whole"),
        (mine[:-5] + b"wrong", "altered"),
        (mine.replace(relay.clinic_id.encode(), IDS.uuid7().encode()), "for another clinic"),
        (mine.replace(b'"made_at":"2', b'"made_at":"3'), "not made by this hub's cloud"),
    ):
        down.write_bytes(bad)
        told = await courier.at_hub(north, "import", status=1)
        assert why in told["refused"][0]
        assert known(north) == before
    down.write_bytes(mine)
    assert (await courier.at_hub(north, "import"))["refused"] == []

    await relay.admin.hubs.revoke(relay.clinic_id, north.running.identity.server_id)
    await nora.record(1)
    await courier.at_hub(north, "export")
    told = await courier.at_cloud(status=1)
    assert "was revoked" in told["refused"][0]
    assert await ops_of_cloud(relay) == set(ours)


async def test_older_files_undo_nothing(relay: Relay, north: Box, nora: Tablet, courier: Courier) -> None:
    """A file from before a revocation is refused once the hub has heard of that; the newest can be taken again and again."""
    await parted(relay, north)
    await nora.record(2)
    await courier.at_hub(north, "export")
    await courier.at_cloud()
    [old] = courier.files("down")
    kept = old.read_bytes()
    await relay.admin.devices.revoke(relay.clinic_id, nora.device_id)
    await courier.at_cloud()  # the same files again: duplicates, and an answer that is newer
    [new] = courier.files("down")
    assert (await courier.at_hub(north, "import"))["taken"][0]["answered"] == 2
    old.write_bytes(kept)
    new.rename(new.with_suffix(".away"))
    told = await courier.at_hub(north, "import", status=1)
    assert "from before what the cloud was last heard to say" in told["refused"][0]
    assert known(north).devices[nora.device_id].revoked
    old.unlink()
    new.with_suffix(".away").rename(new)
    before = (known(north), await north.running.storage.registry.exchange())
    assert (await courier.at_hub(north, "import"))["ops"] == 0
    assert before == (known(north), await north.running.storage.registry.exchange())


async def test_slices_are_taken_each_by_itself(
    relay: Relay, north: Box, south: Box, nora: Tablet, courier: Courier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is too much for one file comes in several; without the first its ops wait for it, and then all of them are there.
    A hub that does not run takes and gives the same.
    """
    monkeypatch.setattr(limits, "COURIER_SLICE_BYTES", 1_000)
    monkeypatch.setattr(limits, "PULL_OPS_DEFAULT", 10)
    monkeypatch.setattr(hub.courier.packing, "OPS_BYTES", 4_000)
    await relay.add_user("sam@clinic.example")
    sam = await Tablet.enrolled(south, relay, "South", "sam@clinic.example")
    await north.stop()
    theirs = await sam.record(30)
    await until(lambda: south.backlog == 0, "the south's ops in the cloud")
    await parted(relay, north, south)
    ours = await nora.record(40)
    await north.stop()

    assert (await courier.at_hub(north, "export"))["ops"] == 40
    assert len(courier.files("up")) > 2
    await courier.at_cloud()
    assert await ops_of_cloud(relay) == {*ours, *theirs}
    *before, _last = courier.files("down")
    assert len(before) > 2
    for each in before:
        each.rename(each.with_suffix(".away"))
    assert "take the files before it first" in (await courier.at_hub(north, "import", status=1))["refused"][0]
    for each in before:
        each.with_suffix(".away").rename(each)
    assert (await courier.at_hub(north, "import"))["ops"] == 30
    await north.start()
    assert await ops_of(north) == await ops_of_cloud(relay)
    assert await nora.cloud_through() == 40
    assert (await courier.at_hub(north, "export"))["ops"] == 0
    assert len(courier.files("up")) == 1


async def test_a_new_hub_begins_with_a_stick(tmp_path: Path, make_box: Callable[[str], Box]) -> None:
    """A hub that has met its cloud for its claim alone gets everything by `medxz-cloud export`, of a cloud with a root of its
    own; one that was never claimed is told what to do.
    """
    relay, box = Relay(tmp_path / "cloud", tls=True), make_box("north")
    await relay.make()
    await relay.start()
    try:
        claimed = await box.claim(relay, "North")
        await moved(relay)
        user_id = await relay.add_user("nora@clinic.example")
        courier = Courier(tmp_path / "stick", relay)
        told = await courier.at_cloud("--hub", claimed["hub_id"], command="export")
        assert (told["hub_id"], told["pulled"], told["made_at"]) == (claimed["hub_id"], 0, None)
        assert (await courier.at_hub(box, "import"))["refused"] == []  # it does not run yet
        await box.start()
        assert user_id in known(box).users
        assert known(box).cloud_epoch == relay.running.store.server.epoch
        await relay.stop()
        assert (await courier.call(box))["refused"] == []  # nor does the cloud
        [target] = [each for each in box.running.storage.registry.config.targets if each.kind == "cloud"]
        assert target.url == "https://127.0.0.1:8443"  # where it would serve by what is set
    finally:
        await relay.stop()
    alone = make_box("alone")
    await courier.said(hub.cli.cli, "init", "--data", alone.folder, "--clinic", IDS.uuid7())
    for start in (False, True):
        if start:
            await alone.start()
        told = await courier.at_hub(alone, "export", status=1)
        assert "belongs to no cloud" in told["message"]
