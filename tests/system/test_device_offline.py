"""A tablet at a hub over TLS: known by the QR's fingerprint, and working on while the cloud can't be reached."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medxz.clock import SystemClock
from medxz.device.device import raw_key
from medxz.device.keyfile import read_key
from medxz.device.store import DeviceStore
from medxz.device.store.identity import change_identity
from tests.system.hub_process import DEADLINE_S, environment
from tests.system.world import DEVICE, NURSE, CloudProcess, SiteHub

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("device-offline")]

PATIENT = ("--type", "Patient", "--op", "create", "--payload", '{"resourceType":"Patient"}')


class TlsHub(SiteHub):
    """A hub as it runs at a clinic."""

    def start(self) -> TlsHub:
        self.url = f"https://127.0.0.1:{self.port}"
        self.run("--no-mdns", plain=False)
        return self


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("offline")


@pytest.fixture(scope="module")
def cloud(folder: Path) -> Iterator[CloudProcess]:
    made = CloudProcess(folder, "North")
    made.add_user(NURSE)
    yield made.start()
    made.end()


@pytest.fixture(scope="module")
def hub(folder: Path, cloud: CloudProcess) -> Iterator[TlsHub]:
    made = TlsHub(folder, cloud, "North")
    made.claim()
    yield made.start()
    made.end()


def run(store: Path, command: str, *arguments: object) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [*DEVICE, command, "--store", str(store), *map(str, arguments), "--json"],
        env=environment(), capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout or done.stderr)


def changed(store: Path, **columns: object) -> None:
    held = DeviceStore(store, raw_key(read_key(store, None)), SystemClock())
    with held._file.transaction() as connection:
        change_identity(connection, **columns)
    held.close()


def away(store: Path) -> None:
    """Where it knows of no hub."""
    held = DeviceStore(store, raw_key(read_key(store, None)), SystemClock())
    with held._file.transaction() as connection:
        connection.execute("DELETE FROM target WHERE kind = 'hub'")
    held.close()


def test_a_tablet_and_a_hub_without_a_cloud(folder: Path, cloud: CloudProcess, hub: TlsHub) -> None:
    """A hub is told the code because it shows the QR's CA. Without its cloud it renews sessions, and lets nobody in."""
    told = cloud.command("code", "--for", "device", "--site", "North")
    qr = f"{hub.url}/#c={told['code']}&fp={told['fp']}"
    stranger = f"{hub.url}/#c={told['code']}&fp={'0' * 64}"
    assert run(folder / "x", "enroll", "--code", stranger)[1]["code"] == "unreachable"
    store = folder / "tablet"
    status, enrolled = run(store, "enroll", "--code", qr)
    assert (status, enrolled["target"]) == (0, hub.url), enrolled
    login = ("login", "--email", NURSE, "--password-file", cloud.password_file)
    assert run(store, *login)[0] == 0
    assert run(store, "record", *PATIENT)[0] == 0
    assert run(store, "sync")[1]["accepted"] == 1

    roaming = folder / "roaming"
    code = cloud.code("device", "North")
    assert run(roaming, "enroll", "--code", code, "--server", cloud.url)[0] == 0
    away(roaming)
    assert run(roaming, *login)[0] == 0
    assert run(roaming, "sync")[1]["target"] == cloud.url
    assert (
        run(roaming, "sync")[1]["target"] == hub.url
    )  # it comes back to the site: the clinic's configuration names it

    cloud.end()
    for tablet in (store, roaming):  # one whose session the hub passed on, one that proves its key
        changed(tablet, token_ends_ms=1)
        assert run(tablet, "record", *PATIENT)[0] == 0
        status, synced = run(tablet, "sync")
        assert (status, synced.get("accepted")) == (0, 1), synced
    status, refused = run(store, *login)
    assert (status, refused["code"]) == (3, "cloud_required")
    assert run(store, "status")[1]["hub"] >= 1

    cloud.start()
    for tablet in (store, roaming):
        changed(tablet, token_ends_ms=1)
        status, synced = run(tablet, "sync")
        assert status == 0, synced
