"""Backups and runbooks with real processes: a clinic at work, a box that burns, and nobody who loses anything."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medxz import Device
from medxz.device.keyfile import read_key
from tests.system.hub_process import CLINIC, HubProcess, answer, command, wait_until
from tests.system.ledger import Ledger, client_of, make_pushers
from tests.system.runbook import Runbook
from tests.system.world import (
    CLOUD,
    DEVICE,
    HUB,
    IDS,
    NURSE,
    CloudProcess,
    EnrolledTablet,
    Process,
    SiteHub,
    done,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("backup")]

# of a person; a machine types faster, and may have others to wait for
REPLACED_S_MAX = 300.0
PROGRAMS = {"medxz-hub": HUB, "medxz-cloud": CLOUD, "medxz": DEVICE}


def typed(words: list[str]) -> dict[str, Any]:
    """What a command of a runbook answers."""
    return done(PROGRAMS[words[0]], *[word for word in words[1:] if word != "--json"])


class LoneHub(Process):
    """A hub without a cloud, and a tablet that holds a token of its."""

    def __init__(self, folder: Path, name: str = "hub") -> None:
        folder.mkdir(exist_ok=True)
        super().__init__(folder, HUB, name)
        self.key_file = folder / f"{name}.key"

    def make(self) -> LoneHub:
        done(HUB, "init", "--data", self.data, "--clinic", CLINIC)
        return self

    def tablet(self, store: Path) -> Path:
        device, user = IDS.uuid7(), IDS.uuid7()
        asked = ("--device", device, "--user", user, "--role", "clinician", "--ttl", 36_000)
        token = done(HUB, "token", "--data", self.data, *asked)["access_token"]
        done(DEVICE, "init", "--store", store, "--server", self.url, "--token", token)
        return store


async def wrote(store: Path, count: int) -> set[str]:
    """Patients that this tablet recorded; its hub has them when this returns."""
    async with Device.open(store, key=read_key(store, None)) as device:
        ids = {
            (await device.record("Patient", {"resourceType": "Patient", "name": [{"family": f"F{n}"}]})).op_id
            for n in range(count)
        }
        assert (await device.sync()).status.here == 0
    return ids


async def synced(store: Path) -> set[str]:
    """The ids of the ops that this tablet has after a sync."""
    async with Device.open(store, key=read_key(store, None)) as device:
        await device.sync()
    told = done(DEVICE, "log", "--store", store)
    return {str(op["op_id"]) for op in told["ops"]}


@pytest.fixture
def lone(tmp_path: Path) -> Iterator[LoneHub]:
    hub = LoneHub(tmp_path / "old").make()
    hub.run("--no-mdns")
    yield hub
    hub.end()


async def test_a_box_that_burnt_comes_back_by_its_runbook(lone: LoneHub, tmp_path: Path) -> None:
    """After the commands of the runbook every tablet has every op: those of the backup, and those that came after it."""
    first, second = lone.tablet(tmp_path / "first"), lone.tablet(tmp_path / "second")
    before = await wrote(first, 15)
    stick = tmp_path / "stick"
    told = done(HUB, "backup", "--data", lone.data, "--to", stick)
    assert (told["ops"], told["recovery_key_shown"]) == (15, False)
    key = tmp_path / "key"
    key.write_text(done(HUB, "backup", "--data", lone.data, "--show-recovery-key")["recovery_key"])
    epoch = done(HUB, "status", "--data", lone.data)["epoch"]
    after = await wrote(first, 10)
    lone.end()
    shutil.rmtree(lone.folder)

    new = LoneHub(tmp_path / "new")
    new.port, new.url = lone.port, lone.url
    values = {"HUB": new.data, "STICK": stick, "KEY": key}
    book = Runbook("restore-a-hub.md")
    assert book.take("systemctl stop", values)  # there is no unit here
    restored = typed(book.take("medxz-hub restore", values))
    assert restored["ops"] == 15
    assert restored["epoch"] != epoch
    assert book.take("medxz-hub run", values)[:2] == ["medxz-hub", "run"]
    new.run("--no-mdns")
    try:
        assert await synced(first) >= before | after
        assert await synced(second) >= before | after
        assert typed(book.take("medxz-hub doctor", values))["ok"]
        typed(book.take("medxz-hub device list", values))
        typed(book.take("medxz-hub user list", values))
        book.assert_done()
    finally:
        new.end()


async def test_an_old_backup_over_a_newer_store_loses_nothing(lone: LoneHub, tmp_path: Path) -> None:
    """What came after the backup and is on no tablet any more is read out of the store that was set aside."""
    tablet = lone.tablet(tmp_path / "tablet")
    before = await wrote(tablet, 5)
    stick = tmp_path / "stick"
    done(HUB, "backup", "--data", lone.data, "--to", stick)
    after = await wrote(tablet, 40)
    visitor = lone.tablet(tmp_path / "visitor")
    lone.end(signal.SIGTERM)
    shutil.rmtree(tablet)
    done(HUB, "restore", "--data", lone.data, "--from", stick)
    lone.run("--no-mdns")

    def is_filled() -> bool:
        told = done(HUB, "status", "--data", lone.data)
        return [file["state"] for file in told["damaged_files"]] == ["done"]

    wait_until(is_filled, "the store that was set aside is read out")
    assert await synced(visitor) >= before | after


async def test_backups_while_pushes_go_on(tmp_path: Path) -> None:
    """Each backup has what was acknowledged before it began, opens elsewhere, and holds up nobody who pushes."""
    hub = HubProcess(tmp_path).start("--plain-http", "--no-mdns")
    ledger = Ledger()
    pushers = make_pushers(hub, ledger, random.Random(5), (40, 10))
    try:
        async with client_of(hub) as client:
            pushing = [asyncio.create_task(pusher.run(client)) for pusher in pushers]
            counts: list[int] = []
            for _ in range(3):
                known = len(ledger.seqs)
                told = await asyncio.to_thread(
                    answer, "backup", "--data", hub.data, "--to", tmp_path / "stick"
                )
                assert told["ops"] >= known
                counts.append(len(ledger.seqs))
            assert counts[0] < counts[1] < counts[2], "nobody could push meanwhile"
            hub.kill()
            await asyncio.gather(*pushing)
    finally:
        hub.kill()
    other = tmp_path / "other"
    where = ("--data", other, "--key-file", hub.made["key_file"])
    assert answer("restore", *where, "--from", tmp_path / "stick")["ops"] >= counts[1]
    assert answer("doctor", *where)["ok"]


def audited(cloud: CloudProcess, event: str) -> list[Any]:
    told = cloud.command("audit", "list")["entries"]
    return [entry["detail"] for entry in told if entry["event"] == event]


@pytest.mark.proof
async def test_a_backup_comes_back_from_the_cloud(tmp_path: Path) -> None:
    """The box itself gets its own by its own key, also where its store is rubbish; a new one in its place takes in what only it had."""
    cloud = CloudProcess(tmp_path, "North").start()
    cloud.add_user(NURSE)
    old = SiteHub(tmp_path / "old", cloud, "North")
    old.folder.mkdir()
    old_id = old.claim()["hub_id"]
    old.start()
    tablet = EnrolledTablet(tmp_path / "tablet", old, cloud, "North", NURSE)
    tablet.record("Abebe")
    tablet.until_in_the_cloud()
    copied = tmp_path / "copied"
    cloud.end()
    shutil.copytree(cloud.data, copied)
    cloud.start()
    tablet.record("Bekele")
    tablet.until_in_the_cloud()
    key = tmp_path / "key"
    key.write_text(done(HUB, "backup", "--data", old.data, "--show-recovery-key")["recovery_key"])
    assert done(HUB, "backup", "--data", old.data, "--to", "cloud")["ops"] == 2
    old.end()
    from_cloud = ("--from", "cloud")
    old_data = ("--data", old.data, *from_cloud)
    [listed] = done(HUB, "restore", *old_data, "--list")["backups"]
    assert listed["hub_id"] == old_id
    old.data.joinpath("hub.db").write_bytes(b"rubbish" * 10_000)
    told = done(HUB, "restore", *old_data)
    assert (told["hub_id"], told["ops"], told["noted"], told["from"]) == (old_id, 2, True, "cloud")
    assert audited(cloud, "backup_fetched") == [{"backup": listed["id"]}]
    old.start()
    assert done(HUB, "doctor", "--data", old.data)["ok"]

    # a fire, and a cloud of yesterday: `Bekele` is in the backup alone
    old.destroy()
    shutil.rmtree(tablet.store)
    cloud.end()
    shutil.move(cloud.data / "backups", copied)
    shutil.rmtree(cloud.data)
    copied.rename(cloud.data)
    cloud.start()
    new = SiteHub(tmp_path / "new", cloud, "North")
    new.folder.mkdir()
    code = cloud.code("hub", "North", "--replaces", old_id)
    done(HUB, "claim", "--data", new.data, "--cloud", cloud.url, "--code", code, "--name", "North")
    new_data = ("--data", new.data, *from_cloud)
    refused = command("restore", *new_data, "--json")
    assert (refused.returncode, json.loads(refused.stderr)["code"]) == (1, "recovery_key")
    told = done(HUB, "restore", *new_data, "--recovery-key-file", key)
    assert (told["taken_from"], told["ops_new"]) == (old_id, 2)
    assert done(HUB, "restore", *new_data, "--recovery-key-file", key)["ops_new"] == 0
    assert list((new.folder / "backups").iterdir()) == [], "what was fetched is gone"
    new.start()
    try:
        status = ("status", "--data", new.data)
        wait_until(lambda: done(HUB, *status)["backlog"] == 0, "the cloud has what came back")
        assert done(HUB, *status)["server_id"] != old_id
        late = EnrolledTablet(tmp_path / "late", new, cloud, "North", NURSE)
        late.sync()
        assert late.families() == {"Abebe", "Bekele"}
    finally:
        new.end()
        cloud.end()


async def test_a_hub_that_died_is_replaced_by_its_runbook(tmp_path: Path) -> None:
    """A card that is stepped on: by the commands of the runbook, within five minutes, a new hub has what tablet and cloud have."""
    cloud = CloudProcess(tmp_path, "North").start()
    cloud.add_user(NURSE)
    old = SiteHub(tmp_path, cloud, "North")
    old_id = old.claim()["hub_id"]
    old.start()
    tablet = EnrolledTablet(tmp_path / "tablet", old, cloud, "North", NURSE)
    tablet.record("Abebe")
    tablet.until_in_the_cloud()
    told = done(HUB, "backup", "--data", old.data, "--to", "cloud")
    assert (told["carried_to"], told["off_this_disk"]) == ("cloud", True)
    [laid_down] = (cloud.data / "backups" / cloud.clinic_id / old_id).iterdir()
    assert {path.name for path in laid_down.iterdir()} == {"hub.db", "audit.db", "manifest.json"}
    cloud.end()  # what comes now is on the hub and the tablet alone
    tablet.record("Bekele")
    tablet.sync()
    assert tablet.status()["hub"] == 1
    away = command("backup", "--data", old.data, "--to", "cloud", "--json")
    said = json.loads(away.stderr)
    assert (away.returncode, said["code"]) == (3, "cloud_required")
    assert "was made and lies in" in said["message"]
    assert len([*(old.folder / "backups").glob("medxz-hub-*/2*/manifest.json")]) == 2
    assert command("restore", "--data", old.data, "--from", "cloud", "--list").returncode == 3
    old.destroy()
    cloud.start()
    new = SiteHub(tmp_path, cloud, "North", "new")
    new.port, new.url = old.port, old.url
    values: dict[str, object] = {
        "CLOUD": cloud.data, "CLINIC": cloud.clinic_id, "SITE": "North", "HUB": new.data,
        "CLOUD_URL": cloud.url, "NAME": "North",
    }  # fmt: skip
    begun = time.monotonic()
    book = Runbook("replace-a-hub.md")
    [listed] = typed(book.take("medxz-cloud hub list", values))["hubs"]
    assert listed["hub_id"] == old_id
    values["OLD"] = listed["hub_id"]
    values["CODE"] = typed(book.take("medxz-cloud code", values))["code"]
    typed(book.take("medxz-hub claim", values))
    assert book.take("medxz-hub run", values)[:2] == ["medxz-hub", "run"]
    new.start()
    try:
        tablet.until_in_the_cloud()
        status, doctor = book.take("medxz-hub status", values), book.take("medxz-hub doctor", values)
        wait_until(lambda: typed(status)["backlog"] == 0, "the cloud has everything")
        assert typed(doctor)["ok"]
        book.assert_done()
        took_s = time.monotonic() - begun
        assert tablet.families() == {"Abebe", "Bekele"}
        revoked = {hub["hub_id"]: hub["revoked"] for hub in cloud.command("hub", "list")["hubs"]}
        assert revoked == {old_id: True, typed(status)["server_id"]: False}
        assert took_s < REPLACED_S_MAX
    finally:
        new.end()
        cloud.end()
