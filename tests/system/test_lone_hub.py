"""A hub without a cloud, as processes over TLS: it lets people and devices in; and once claimed nobody notices."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from medxz.clock import SystemClock
from medxz.device.device import Device, Machine
from medxz.device.keyfile import key_file_of
from medxz.program.keys import read_key
from tests.system.hub_process import CLINIC, DEADLINE_S, environment, wait_until
from tests.system.world import ADMIN, CLOUD, DEVICE, HUB, IDS, NURSE, PASSWORD, CloudProcess, Process, done

pytestmark = pytest.mark.slow

DOCTOR = "dan@clinic.example"


class LoneHub(Process):
    """One that was made by itself, over TLS with a root of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, HUB, "hub")
        self.url = f"https://127.0.0.1:{self.port}"
        self.password_file = folder / "password"
        self.password_file.write_text(PASSWORD + "\n")
        self.made = done(HUB, "init", "--data", self.data, "--clinic", CLINIC)
        self.ca = folder / "ca.pem"
        self.ca.write_text(self.ask("ca")["ca_certificate"])

    def start(self) -> LoneHub:
        self.run("--no-mdns", plain=False)
        return self

    def stop(self) -> None:
        self.end(signal.SIGTERM)

    def ask(self, *arguments: object) -> dict[str, Any]:
        return done(HUB, *arguments, "--data", self.data)

    def refused(self, *arguments: object) -> tuple[int, str]:
        """The status and the code of a command that fails."""
        status, told = self.failing(*arguments)
        return status, str(told["code"])

    def failing(self, *arguments: object) -> tuple[int, dict[str, Any]]:
        """The status of a command that fails, and what it tells."""
        command = [*HUB, *map(str, arguments), "--data", str(self.data), "--json"]
        ended = subprocess.run(
            command, env=environment(), capture_output=True, text=True, timeout=DEADLINE_S, check=False
        )
        told: dict[str, Any] = json.loads(ended.stderr)
        return ended.returncode, told

    def add_user(self, email: str, role: str) -> str:
        name = email.partition("@")[0]
        added = self.ask(
            "user", "add", "--email", email, "--name", name, "--role", role,
            "--password-file", self.password_file,
        )  # fmt: skip
        return str(added["user_id"])

    def http(self) -> httpx.Client:
        trusting = ssl.create_default_context(cafile=str(self.ca))
        return httpx.Client(base_url=self.url, verify=trusting, timeout=30)


class PairedTablet:
    """A device that was let in by `medxz-hub pair`, with somebody logged in."""

    def __init__(self, hub: LoneHub, store: Path, email: str) -> None:
        self.hub, self.store, self.email = hub, store, email
        paired = hub.ask("pair", "--name", f"Tablet of {email}")
        assert paired["url"] == f"{hub.url}/#c={paired['code']}&fp={paired['fp']}"
        self.enrolled = self.ask("enroll", "--code", paired["url"])
        self.device_id = str(self.enrolled["device_id"])
        self.login()

    def login(self) -> None:
        self.ask("login", "--email", self.email, "--password-file", self.hub.password_file)

    def ask(self, command: str, *arguments: object) -> dict[str, Any]:
        return done(DEVICE, command, "--store", self.store, *arguments)

    def record(self, family: str) -> None:
        payload = json.dumps({"resourceType": "Patient", "name": [{"family": family}]})
        self.ask("record", "--type", "Patient", "--op", "create", "--payload", payload)

    def families(self) -> set[str]:
        self.ask("sync")
        return {entity["state"]["name"][0]["family"] for entity in self.ask("list", "Patient")["entities"]}

    def sync_later(self) -> None:
        """Sync when the access token is about to end: the session is renewed for it."""

        async def sync() -> None:
            key = read_key(key_file_of(self.store, None), {})
            async with Device.open(self.store, key=key, machine=Machine(clock=Later())) as device:
                await device.sync()

        asyncio.run(sync())


class Later(SystemClock):
    """A quarter of an hour ahead."""

    def now_ms(self) -> int:
        return super().now_ms() + 15 * 60_000


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LoneHub]:
    made = LoneHub(tmp_path)
    yield made
    made.end()


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[CloudProcess]:
    made = CloudProcess(tmp_path, "North", "South")
    made.url = made.url.replace("http:", "https:")
    made.run("--public-url", made.url, plain=False)
    yield made
    made.end()


def test_nobody_notices_that_their_hub_was_claimed(hub: LoneHub, cloud: CloudProcess, tmp_path: Path) -> None:
    """Two tablets enrolled and logged in at a hub alone go on after the claim, sessions renewed, and the cloud gets all."""
    hub.add_user(NURSE, "clinician")  # before it runs, and while it does
    hub.start()
    doctor = hub.add_user(DOCTOR, "clinician")
    nora, dan = PairedTablet(hub, tmp_path / "nora", NURSE), PairedTablet(hub, tmp_path / "dan", DOCTOR)
    assert nora.enrolled["clinic_id"] == CLINIC
    nora.record("Alone")
    nora.ask("sync")
    assert dan.families() == {"Alone"}
    assert {device["name"] for device in hub.ask("device", "list")["devices"]} == {
        f"Tablet of {NURSE}",
        f"Tablet of {DOCTOR}",
    }
    nora.sync_later()  # its refresh token is not the first
    hub.stop()

    ca = tmp_path / "cloud-ca.pem"
    ca.write_text(done(CLOUD, "ca", "show", "--data", cloud.data)["ca_certificate"])
    code = cloud.code("hub", "North")
    claim = ("claim", "--cloud", cloud.url, "--code", code, "--name", "Hub")
    status, told_of = hub.failing(*claim)  # by a CA that this machine does not know
    assert (status, told_of["code"]) == (3, "cloud_required")
    assert "--cloud-ca" in told_of["hint"]
    told = hub.ask(*claim, "--cloud-ca", ca)
    assert told["clinic_id"] == CLINIC
    cloud.clinic_id = CLINIC  # the empty clinic has the hub's id now
    hub.start()
    for tablet in (nora, dan):
        tablet.sync_later()
    dan.record("Claimed")

    def is_in_the_cloud() -> bool:
        dan.ask("sync")
        status = dan.ask("status")
        return bool(status["cloud"] == 1 and status["hub"] == 0)

    wait_until(is_in_the_cloud, "everything in the cloud")
    assert nora.families() == dan.families() == {"Alone", "Claimed"}
    dan.login()  # by the password of then
    known = {user["user_id"]: user["email"] for user in cloud.command("user", "list")["users"]}
    assert known[doctor] == DOCTOR
    sessions = cloud.command("session", "list")["sessions"]
    assert {session["user_id"] for session in sessions} >= {doctor}
    # and the next tablet comes in where somebody stands with it, by a code of the cloud
    PairedTablet(hub, tmp_path / "boss", ADMIN)
    made = [entry for entry in cloud.command("audit", "list")["entries"] if entry["event"] == "code_made"]
    assert made[0]["hub_id"] == hub.made["server_id"]
    assert hub.refused("user", "list") == (1, "claimed")
    cloud.end()
    assert hub.refused("pair", "--name", "Tablet") == (3, "cloud_required")


def test_who_is_sent_away_is_out_at_once(hub: LoneHub, tmp_path: Path) -> None:
    """A disabled user, a revoked device and a new password count while the hub runs, and after it was killed."""
    hub.start()
    hub.add_user(NURSE, "clinician")
    hub.add_user(DOCTOR, "clinician")
    nora, dan = PairedTablet(hub, tmp_path / "nora", NURSE), PairedTablet(hub, tmp_path / "dan", DOCTOR)
    hub.ask("user", "disable", "--email", NURSE)
    hub.ask("device", "revoke", "--device", dan.device_id)
    for tablet in (nora, dan):
        assert refusal(tablet) == "session_revoked"
    hub.end()
    hub.start()
    assert refusal(nora) == "session_revoked"
    hub.ask("user", "disable", "--email", NURSE, "--undo")
    nora.login()
    assert nora.families() == set()
    hub.ask("user", "passwd", "--email", NURSE, "--password-file", hub.password_file)
    assert refusal(nora) == "session_revoked"


def test_tokens_go_on_beside_accounts(hub: LoneHub, tmp_path: Path) -> None:
    """`medxz-hub token` serves a hub before it has accounts and after; whom it made known can be sent away too."""
    hub.start()
    token = by_token(hub)
    with hub.http() as http:
        assert http.get("/v1/sync/status", headers=token).status_code == 200
        hub.add_user(NURSE, "clinician")
        assert http.get("/v1/sync/status", headers=token).status_code == 200
        [device] = hub.ask("device", "list")["devices"]
        other = by_token(hub)
        assert http.get("/v1/sync/status", headers=other).status_code == 200
        hub.ask("device", "revoke", "--device", device["device_id"])
        assert http.get("/v1/sync/status", headers=token).status_code == 401
        assert http.get("/v1/sync/status", headers=other).status_code == 200
    PairedTablet(hub, tmp_path / "nora", NURSE)


def by_token(hub: LoneHub) -> dict[str, str]:
    wanted = ("--device", IDS.uuid7(), "--user", IDS.uuid7(), "--role", "clinician")
    return {"Authorization": f"Bearer {hub.ask('token', *wanted)['access_token']}"}


def refusal(tablet: PairedTablet) -> str:
    """The code with which a sync fails."""
    command = [*DEVICE, "sync", "--store", str(tablet.store), "--json"]
    ended = subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert ended.returncode, ended.stdout
    told = json.loads(ended.stderr)
    return "session_revoked" if "session_revoked" in ended.stderr else str(told["code"])
