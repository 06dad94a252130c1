"""The chain through real processes: a hub that hangs, one that is killed, and the way back."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.hub_process import DEADLINE_S, environment
from tests.system.world import DEVICE, CloudProcess, EnrolledTablet, SiteHub

NURSE = "nora@clinic.example"
# two seconds are promised on a machine that has nothing else to do; this one runs tests
LEFT_WITHIN_S = 8.0


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[CloudProcess, SiteHub, EnrolledTablet]]:
    cloud = CloudProcess(tmp_path, "North").start()
    cloud.add_user(NURSE)
    hub = SiteHub(tmp_path, cloud, "North")
    hub.claim()
    hub.start()
    yield cloud, hub, EnrolledTablet(tmp_path / "tablet", hub, cloud, "North", NURSE)
    hub.end()
    cloud.end()


class Screen:
    """`medxz status --watch --json` on a tablet, and what it shows."""

    def __init__(self, store: Path) -> None:
        self._process = subprocess.Popen(
            [*DEVICE, "status", "--watch", "--json", "--store", str(store)],
            env=environment(), stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """What it shows first of which this holds."""
        begun = time.monotonic()
        assert self._process.stdout is not None
        for line in self._process.stdout:
            shown: dict[str, Any] = json.loads(line)
            assert shown["event"] == "status"
            if holds(shown):
                return shown
            assert time.monotonic() - begun < DEADLINE_S, shown
        raise AssertionError("it ended")

    def end(self) -> int:
        with self._process:
            self._process.send_signal(signal.SIGINT)
            return self._process.wait(DEADLINE_S)


def at(kind: str) -> Callable[[dict[str, Any]], bool]:
    def holds(shown: dict[str, Any]) -> bool:
        return any(one["state"] == "current" and one["kind"] == kind for one in shown["targets"])

    return holds


def test_there_and_back(site: tuple[CloudProcess, SiteHub, EnrolledTablet]) -> None:
    """A hub that hangs is left for the cloud at once, and taken again; a killed one too; the screen shows each step."""
    cloud, hub, tablet = site
    tablet.record("First")
    screen = Screen(tablet.store)
    shown = screen.until(lambda shown: at("hub")(shown) and shown["here"] == 0)
    assert (shown["target"], shown["hub"] + shown["cloud"]) == (hub.url, 1)
    assert hub._process is not None
    for number in (signal.SIGSTOP, signal.SIGKILL):
        begun = time.monotonic()
        hub._process.send_signal(number)
        shown = screen.until(at("cloud"))
        assert time.monotonic() - begun < LEFT_WITHIN_S
        assert shown["target"] == cloud.url
        left = next(one for one in shown["targets"] if one["url"] == hub.url)
        assert (left["state"], bool(left["why"])) == ("down", True)
        if number == signal.SIGSTOP:
            hub._process.send_signal(signal.SIGCONT)
        else:
            hub.end()
            hub.start()
        screen.until(at("hub"))
    assert screen.end() == 0


def test_beside_the_process_that_has_the_store(
    site: tuple[CloudProcess, SiteHub, EnrolledTablet],
) -> None:
    """Where a watch holds the store, the screen shows what that one does."""
    _, hub, tablet = site
    watching = subprocess.Popen(
        [*DEVICE, "watch", "--json", "--store", str(tablet.store)],
        env=environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with watching:
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline()) == {"event": "live", "kind": "hub", "url": hub.url}
        screen = Screen(tablet.store)
        screen.until(at("hub"))
        hub.end()
        screen.until(at("cloud"))
        screen.end()
        watching.kill()


def test_a_sync_goes_where_it_can(site: tuple[CloudProcess, SiteHub, EnrolledTablet]) -> None:
    """One sync with a hub that hangs ends with the cloud; with nobody there it fails, and keeps what was recorded."""
    cloud, hub, tablet = site
    tablet.sync()
    assert hub._process is not None
    hub._process.send_signal(signal.SIGSTOP)
    tablet.record("While-it-hangs")
    told = tablet.sync()
    assert (told["target"], told["here"], told["cloud"]) == (cloud.url, 0, 1)
    cloud.end()
    tablet.record("Alone")
    ended = subprocess.run(
        [*DEVICE, "sync", "--json", "--store", str(tablet.store)],
        env=environment(), capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    assert (ended.returncode, json.loads(ended.stderr)["code"]) == (1, "unreachable")
    status = tablet.status()
    assert (status["target"], status["here"]) == (None, 1)
