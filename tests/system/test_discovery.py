"""Hubs found by themselves, as processes over TLS, by real mDNS on loopback: what `medxz discover` says of each."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.hub_process import CLINIC, DEADLINE_S, environment, wait_until
from tests.system.world import DEVICE, HUB, IDS, Process, done, free_port

pytestmark = pytest.mark.slow

WITH_MDNS = {name: value for name, value in environment().items() if name != "MEDXZ_MDNS"}


class FoundHub(Process):
    """One that was made by itself, and makes itself known on loopback."""

    def __init__(self, folder: Path, clinic_id: str = CLINIC) -> None:
        folder.mkdir()
        super().__init__(folder, HUB, "hub")
        done(HUB, "init", "--data", self.data, "--clinic", clinic_id)
        self.start()
        self.server_id = str(done(HUB, "status", "--data", self.data)["server_id"])

    def start(self) -> None:
        self.url = f"https://127.0.0.1:{self.port}"
        self.run(plain=False)

    def pair(self) -> dict[str, Any]:
        return done(HUB, "pair", "--data", self.data, "--name", "tablet")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[FoundHub]:
    made = FoundHub(tmp_path / "ours")
    yield made
    made.end()


def told(*arguments: object, env: dict[str, str] | None = None) -> tuple[int, dict[str, Any]]:
    """A command's status, and what it answers or what is wrong."""
    ended = subprocess.run(
        [*DEVICE, *map(str, arguments), "--json"],
        env=env or WITH_MDNS, capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    return ended.returncode, json.loads(ended.stdout or ended.stderr)


def verdicts(
    hub: FoundHub, *arguments: object, env: dict[str, str] | None = None
) -> dict[tuple[str, str], str]:
    """The codes of everything that was found of this hub, by source and address."""
    _, answer = told("discover", "--wait", "2", *arguments, env=env)
    return {
        (one["source"], one["url"]): one["code"]
        for one in answer["found"]
        if one["server_id"] == hub.server_id
    }


def until(hub: FoundHub, where: tuple[str, str], code: str, *arguments: object) -> None:
    """On a busy machine not everything is heard at once."""
    wait_until(lambda: verdicts(hub, *arguments).get(where) == code, f"{code} for {where}")


def test_a_hub_that_is_found(hub: FoundHub, tmp_path: Path) -> None:
    """Whoever has no clinic sees who is here. A QR of an address that is no more enrols at the hub of its fingerprint,
    which is taken from then on, also where it moved to; and where it was last, once nobody is listened to.
    """
    until(hub, ("mdns", hub.url), "no_ca")
    assert told("discover", "--wait", "0.1")[0] == 1

    store, invited = tmp_path / "tablet", hub.pair()
    text = f"https://127.0.0.1:1/#c={invited['code']}&fp={invited['fp']}"
    status, enrolled = told("enroll", "--store", store, "--code", text)
    assert (status, enrolled.get("target")) == (0, hub.url), enrolled
    until(hub, ("mdns", hub.url), "taken", "--store", store)

    old, hub.port = hub.url, free_port()
    hub.end(signal.SIGTERM)
    hub.start()
    until(hub, ("mdns", hub.url), "taken", "--store", store)
    without = environment({"MEDXZ_MDNS": "0"})
    assert verdicts(hub, "--store", store, env=without) == {
        ("last", hub.url): "taken",
        ("last", old): "no_answer",
    }
    assert told("discover", "--store", store, env=without)[0] == 0

    hub.end(signal.SIGTERM)
    status, answer = told("discover", "--store", store)
    assert (status, [one for one in answer["found"] if one["taken"]]) == (1, [])


def test_other_hubs_here(hub: FoundHub, tmp_path: Path) -> None:
    """The hub of another clinic is told from ours by what it announces; typed, by what it shows."""
    store, invited = tmp_path / "tablet", hub.pair()
    assert told("enroll", "--store", store, "--code", invited["url"])[0] == 0
    other = FoundHub(tmp_path / "theirs", IDS.uuid7())
    try:
        until(other, ("mdns", other.url), "other_clinic", "--store", store)
        _, answer = told("discover", "--store", store, "--server", other.url)
        typed = [one for one in answer["found"] if one["source"] == "typed"]
        assert [(one["url"], one["code"], one["server_id"]) for one in typed] == [
            (other.url, "untrusted", None)
        ]
    finally:
        other.end()
