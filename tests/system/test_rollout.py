"""A rollout told on a real hub with RAUC itself: it takes what is offered, a bad version stops there, and back is back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.system.appliance import Appliance, Keys, why_not
from tests.system.hub_process import wait_until
from tests.system.world import CLOUD, CloudProcess, SiteHub, done

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.proof]
if (reason := why_not()) and os.environ.get("MEDXZ_NAMESPACES") != "required":
    pytestmark.append(pytest.mark.skip(reason=reason))


@dataclass
class Fleet:
    """A cloud with an operator, and its one hub on a machine of its own."""

    cloud: CloudProcess
    hub: SiteHub
    machine: Appliance
    token: str
    rollout_id: str = ""

    def told(self) -> dict[str, Any]:
        """The hub as the operator sees it."""
        bearer = {"Authorization": f"Bearer {self.token}"}
        [hub] = httpx.get(f"{self.cloud.url}/v1/fleet/hubs", headers=bearer, timeout=30).json()["hubs"]
        return dict(hub)

    def ask(self, *words: object) -> dict[str, Any]:
        return dict(done(CLOUD, *words, "--data", self.cloud.data))

    def begin(self, version: str) -> None:
        """It is offered to the hub, which installs it and starts into it."""
        self.rollout_id = self.ask("rollout", "start", "--version", version, "--max-failures", 0)[
            "rollout_id"
        ]
        assert self.machine.update()[1]["state"] == "restarting"

    def start_into(self, version: str) -> None:
        self.hub.end()
        assert self.machine.boot() == version
        self.hub.start()

    def wait_until_it_is(self, state: str) -> dict[str, Any]:
        told: dict[str, Any] = {}

        def is_so() -> bool:
            told.update(self.ask("rollout", "status", "--rollout", self.rollout_id))
            return bool(told["state"] == state)

        wait_until(is_so, f"the rollout is {state}")
        return told


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    keys = Keys(tmp_path / "keys")
    cloud = CloudProcess(tmp_path, "North")
    cloud.start()
    hub = SiteHub(tmp_path, cloud, "North")
    hub.claim()
    machine = Appliance(tmp_path / "machine", keys, hub.data)
    monkeypatch.setenv("MEDXZ_MACHINE_ROOT", str(machine.root))
    try:
        machine.boot()
        hub.start()
        assert machine.update("--confirm")[1]["state"] == "kept"
        made = Fleet(cloud, hub, machine, "")
        made.ask("operator", "add", "--name", "Ada")
        made.token = made.ask("operator", "token", "--operator", "Ada")["access_token"]
        for version in ("0.1.0", "0.2.0", "0.3.0", "0.4.0"):
            made.ask(
                "release", "add", "--bundle", keys.bundle(tmp_path / f"{version}.raucb", version), "--hold"
            )
        wait_until(lambda: made.told()["reported_at"] is not None, "its first report")
        yield made
    finally:
        machine.shut_down()
        hub.end()
        cloud.end()


def test_a_release_comes_and_a_bad_one_goes(fleet: Fleet) -> None:
    """What is good is done when the hub has kept it; what is not pauses it; aborted, the hub goes back to what it ran."""
    told = fleet.told()
    assert (told["version"], told["compatible"], told["ring"]) == ("0.1.0", "medxz-hub-amd64", "all")
    assert fleet.machine.update("--check")[1]["state"] == "current", "held back, it is nobody's newest"
    fleet.begin("0.2.0")
    fleet.start_into("0.2.0")
    assert fleet.machine.update("--confirm", "--within", "20")[1]["state"] == "confirmed"
    assert fleet.wait_until_it_is("done")["hubs"]["done"] == 1

    fleet.begin("0.3.0")
    fleet.hub.end()
    assert fleet.machine.boot() == "0.3.0"
    assert fleet.machine.update("--confirm", "--within", "2")[1]["state"] == "giving_back", (
        "no hub serves there"
    )
    fleet.start_into("0.2.0")
    fleet.machine.update("--confirm")
    paused = fleet.wait_until_it_is("paused")
    assert [hub["version"] for hub in paused["failed"]] == ["0.2.0"]
    assert "does not" in paused["failed"][0]["why"]
    assert fleet.machine.update("--check")[1]["state"] == "current"
    fleet.ask("rollout", "abort")

    fleet.begin("0.4.0")
    fleet.start_into("0.4.0")
    wait_until(lambda: fleet.told()["version"] == "0.4.0", "it tells what it runs")
    assert fleet.ask("rollout", "status")["hubs"]["settling"] == 1, "it is being tried still"
    assert fleet.machine.update("--confirm", "--within", "20")[1]["state"] == "confirmed"
    fleet.ask("rollout", "abort")
    wait_until(lambda: fleet.told()["version_wanted"] == "0.2.0", "it is told to go back")
    assert fleet.machine.update()[1] == {"state": "restarting", "version": "0.2.0", "before": "0.4.0"}
    fleet.start_into("0.2.0")
    assert fleet.machine.update("--confirm", "--within", "20")[1]["state"] == "confirmed"
    wait_until(lambda: fleet.told()["version"] == "0.2.0", "it tells what it runs")
    assert fleet.machine.update("--check")[1]["state"] == "current"
