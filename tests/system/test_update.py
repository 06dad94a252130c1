"""Updates of a hub, with RAUC itself: from the cloud and from a stick, kept and given back, refused and cut off."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.system.appliance import ROOT_BYTES, Appliance, Keys, why_not
from tests.system.hub_process import HubProcess, a_push, an_op, wait_until
from tests.system.world import IDS, CloudProcess, SiteHub

pytestmark = [pytest.mark.slow, pytest.mark.root]
if (reason := why_not()) and os.environ.get("MEDXZ_NAMESPACES") != "required":
    pytestmark.append(pytest.mark.skip(reason=reason))

QUICK = ("--within", "6")
CURRENT = {"state": "current", "version": "0.1.0"}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    assert why_not() is None
    return Keys(tmp_path_factory.mktemp("keys") / "keys")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubProcess]:
    """One without a cloud."""
    process = HubProcess(tmp_path)
    process.start("--plain-http", "--no-mdns")
    yield process
    process.kill()


@pytest.fixture
def machine(tmp_path: Path, keys: Keys) -> Iterator[Appliance]:
    """One that runs the first version, confirmed; its hub runs where a test asks for it too."""
    appliance = Appliance(tmp_path / "machine", keys, tmp_path / "hub")
    assert appliance.boot() == "0.1.0"
    assert appliance.update("--confirm")[1]["state"] == "kept"
    yield appliance
    appliance.shut_down()


def test_from_a_stick(machine: Appliance, hub: HubProcess, keys: Keys, tmp_path: Path) -> None:
    """A bundle is installed beside what runs, tried at the restart, and kept once the hub is well; its data is there."""
    device, user = IDS.uuid7(), IDS.uuid7()
    bearer = {"Authorization": f"Bearer {hub.token(device, user)}"}
    httpx.post(f"{hub.url}/v1/sync/push", content=a_push(an_op(device, user, 1)), headers=bearer)
    (tmp_path / "stick").mkdir()
    keys.bundle(tmp_path / "stick/new.raucb", "0.2.0")
    status, told = machine.update("--from", tmp_path / "stick")
    assert (status, told) == (0, {"state": "restarting", "version": "0.2.0", "before": "0.1.0"})
    assert machine.restarts == 1
    held = httpx.post(f"{hub.url}/v1/sync/push", content=a_push(an_op(device, user, 2)), headers=bearer)
    assert (held.status_code, held.json()["code"]) == (503, "overloaded"), "nobody begins to push any more"
    hub.stop()
    assert machine.boot() == "0.2.0"
    assert machine.standing()["last_update"]["state"] == "installed"
    hub.start("--plain-http", "--no-mdns")
    assert machine.update("--confirm", *QUICK)[1] == {"state": "confirmed", "version": "0.2.0", "why": None}
    standing = machine.standing()
    assert (standing["version"], standing["slot"], standing["next_slot"], standing["can_go_back"]) == (
        "0.2.0",
        "B",
        "B",
        True,
    )
    pulled = httpx.get(f"{hub.url}/v1/sync/pull", headers=bearer).json()["ops"]
    assert [op["device_seq"] for op in pulled] == [1]


def test_what_is_refused(machine: Appliance, keys: Keys, tmp_path: Path) -> None:
    """A step back, somebody else's signature, another machine's bundle and one that was altered: nothing is changed."""
    strangers = Keys(tmp_path / "strangers")
    altered = keys.bundle(tmp_path / "altered.raucb", "0.2.0")
    content = bytearray(altered.read_bytes())
    content[len(content) // 4] ^= 1
    altered.write_bytes(content)
    cases = {
        "downgrade": keys.bundle(tmp_path / "old.raucb", "0.0.9"),
        "bundle_refused": strangers.bundle(tmp_path / "strange.raucb", "0.2.0"),
    }
    for code, bundle in cases.items():
        _, told = machine.update("--from", bundle)
        assert told["code"] == code, told
    for bundle in (
        altered,
        keys.bundle(tmp_path / "pi.raucb", "0.2.0", "--arch", "arm64"),
        Path(__file__),
    ):
        status, told = machine.update("--from", bundle, "--force")
        assert (status, told["code"]) == (1, "bundle_refused"), told
        assert told["hint"]
    assert machine.restarts == 0
    assert machine.boot() == "0.1.0"
    status, told = machine.update("--from", cases["downgrade"], "--force")
    assert (status, told["version"]) == (0, "0.0.9")


@pytest.mark.proof
def test_a_hub_that_does_not_come_up(machine: Appliance, hub: HubProcess, keys: Keys, tmp_path: Path) -> None:
    """An update whose hub does not serve is given back by itself, and is not taken again."""
    bundle = keys.bundle(tmp_path / "broken.raucb", "0.2.0")
    machine.update("--from", bundle)
    hub.stop()
    assert machine.boot() == "0.2.0"
    status, told = machine.update("--confirm", *QUICK)
    assert (status, told["state"], told["version"]) == (1, "giving_back", "0.1.0"), told
    assert "does not answer" in told["why"]
    assert machine.boot() == "0.1.0"
    hub.start("--plain-http", "--no-mdns")
    assert machine.update("--confirm")[1]["state"] == "kept"
    assert machine.update("--from", bundle)[1]["code"] == "failed_before"
    last = machine.standing()["last_update"]
    assert (last["version"], last["state"]) == ("0.2.0", "failed")


def test_a_system_that_does_not_start(
    machine: Appliance, hub: HubProcess, keys: Keys, tmp_path: Path
) -> None:
    """After three starts that nobody confirmed the bootloader takes the version before, and that is told."""
    machine.update("--from", keys.bundle(tmp_path / "broken.raucb", "0.2.0"))
    assert [machine.boot() for _ in range(4)] == ["0.2.0", "0.2.0", "0.2.0", "0.1.0"]
    status, told = machine.update("--confirm")
    assert (status, told["state"], told["why"]) == (1, "back", "it did not come up")
    assert machine.boot() == "0.1.0"


def test_power_fails_while_it_is_written(machine: Appliance, keys: Keys, tmp_path: Path) -> None:
    """Cut off in the middle, the version that ran starts again; the update is then installed as if nothing had been."""
    bundle = keys.bundle(tmp_path / "new.raucb", "0.2.0", content="x" * ROOT_BYTES)
    half = ROOT_BYTES // 2
    machine.update_until_the_power_fails(half, "--from", bundle)
    written = machine.slot("B")
    assert (written[:5], written[half - 1 : half + 1]) == (b"0.2.0", b"x\0"), (
        "half of it, and not a byte more"
    )
    assert machine.boot() == "0.1.0"
    status, told = machine.update("--confirm", *QUICK)
    assert (status, told["state"]) == (1, "cut_off")
    assert machine.update("--from", bundle)[1]["state"] == "restarting"
    assert machine.boot() == "0.2.0"


def test_never_while_a_device_pushes(machine: Appliance, hub: HubProcess, keys: Keys, tmp_path: Path) -> None:
    """While a push is on its way nothing is written and nothing restarts; afterwards it goes on by itself."""
    device, user = IDS.uuid7(), IDS.uuid7()
    bearer = {"Authorization": f"Bearer {hub.token(device, user)}", "Content-Type": "application/json"}
    body, go_on, done = a_push(an_op(device, user, 1)), threading.Event(), []

    def slow() -> Iterator[bytes]:
        yield body[:10]
        go_on.wait(60)
        yield body[10:]

    pushing = threading.Thread(
        target=lambda: done.append(
            httpx.post(f"{hub.url}/v1/sync/push", content=slow(), headers=bearer, timeout=90)
        )
    )
    pushing.start()
    bundle = keys.bundle(tmp_path / "new.raucb", "0.2.0")
    status, told = machine.update("--from", bundle, "--wait", "1")
    assert (status, told["code"]) == (1, "busy")
    assert machine.standing()["last_update"] is None
    updating = machine.launch_update("--from", bundle)
    go_on.set()
    pushing.join()
    assert done[0].json()["results"][0]["status"] == "accepted"
    said, _ = updating.communicate(timeout=90)
    assert json.loads(said)["state"] == "restarting"


@dataclass
class Site:
    """A cloud, a hub of it that is in step, and the hub's machine, which runs the first version."""

    cloud: CloudProcess
    hub: SiteHub
    machine: Appliance

    def boot_into(self, version: str) -> None:
        self.hub.end()
        assert self.machine.boot() == version
        self.hub.start()


@pytest.fixture
def site(tmp_path: Path, keys: Keys) -> Iterator[Site]:
    cloud = CloudProcess(tmp_path, "North")
    cloud.start()
    hub = SiteHub(tmp_path, cloud, "North")
    hub.claim()
    hub.start()
    machine = Appliance(tmp_path / "machine", keys, hub.data)
    try:
        machine.boot()
        assert machine.update("--confirm")[1]["state"] == "kept"
        wait_until(lambda: machine.update("--check") == (0, CURRENT), "the cloud")
        yield Site(cloud, hub, machine)
    finally:
        machine.shut_down()
        hub.end()
        cloud.end()


def test_from_the_cloud(site: Site, keys: Keys, tmp_path: Path) -> None:
    """What is added to the cloud is offered, fetched, installed, and kept once the hub is in step again."""
    offered = cloud_release(site.cloud, keys.bundle(tmp_path / "new.raucb", "0.2.0"))
    assert offered.pop("held") is False
    assert site.machine.update("--check")[1] == {"state": "offered", "go_back": False, **offered}
    status, told = site.machine.update()
    assert (status, told["state"]) == (0, "restarting"), told
    assert not list((tmp_path / "hub.update").glob("*.raucb")), "what was installed makes room"
    site.boot_into("0.2.0")
    assert site.machine.update("--confirm", "--within", "20")[1]["state"] == "confirmed"


@pytest.mark.proof
def test_the_cloud_is_away_just_then(site: Site, keys: Keys, tmp_path: Path) -> None:
    """Without its cloud it can't be told whether a version syncs: it is given back, and tried again when the cloud is there."""
    cloud_release(site.cloud, keys.bundle(tmp_path / "new.raucb", "0.2.0"))
    assert site.machine.update()[1]["state"] == "restarting"
    site.cloud.end()
    site.boot_into("0.2.0")
    status, told = site.machine.update("--confirm", *QUICK)
    assert (status, told["state"]) == (1, "giving_back")
    assert "sync" in told["why"]
    site.boot_into("0.1.0")
    assert site.machine.update("--confirm")[1]["state"] == "kept"
    assert site.machine.update()[0] == 3
    site.cloud.start()
    wait_until(lambda: site.machine.update("--check")[0] == 0, "the cloud again")
    assert site.machine.update()[1]["state"] == "restarting"
    site.boot_into("0.2.0")
    assert site.machine.update("--confirm", "--within", "20")[1]["state"] == "confirmed"


def cloud_release(cloud: CloudProcess, bundle: Path) -> dict[str, object]:
    from tests.system.world import CLOUD, done

    return done(CLOUD, "release", "add", "--data", cloud.data, "--bundle", bundle)
