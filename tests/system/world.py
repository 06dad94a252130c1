"""A clinic in real processes: a cloud, hubs that were claimed, tablets that were enrolled; ended, killed, replaced.

Everybody keeps the port that he began with, so that who comes back, or takes another's place, is found where that
one was.
"""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from medxz.ids import RandomIds
from tests.system.hub_process import DEADLINE_S, environment, wait_until

IDS = RandomIds()
NURSE = "nora@clinic.example"
PASSWORD = "a long walk by the river"
ADMIN = "ada@clinic.example"
CLOUD = (sys.executable, "-m", "cloud")
HUB = (sys.executable, "-m", "hub")
DEVICE = (sys.executable, "-m", "medxz.device")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def done(program: Sequence[str], *arguments: object, text: str | None = None) -> dict[str, Any]:
    """What a command answers with --json, once it has succeeded."""
    ended = subprocess.run(
        [*program, *map(str, arguments), "--json"],
        env=environment(), capture_output=True, text=True, timeout=DEADLINE_S, check=False, input=text,
    )  # fmt: skip
    assert ended.returncode == 0, f"{arguments}: {ended.stderr or ended.stdout}"
    told: dict[str, Any] = json.loads(ended.stdout)
    return told


class Process:
    """A program that serves on a port of its own, for as long as a test wants it to."""

    def __init__(self, folder: Path, program: Sequence[str], name: str) -> None:
        self.folder = folder
        self.data = folder / name
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._program = program
        self._out = folder / f"{name}.out"
        self._said = folder / f"{name}.err"
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, *flags: object, plain: bool = True) -> None:
        """Start it, and wait until it says that it serves."""
        arguments = ["run", "--data", self.data, "--host", "127.0.0.1", "--port", self.port]
        arguments += ["--plain-http"] if plain else []
        with self._out.open("wb") as out, self._said.open("ab") as said:
            self._process = subprocess.Popen(
                [*self._program, *map(str, [*arguments, "--json", *flags])],
                env=environment(), stdout=out, stderr=said,
            )  # fmt: skip
        process = self._process
        wait_until(lambda: process.poll() is not None or b"\n" in self._out.read_bytes(), "the ready line")
        assert process.poll() is None, self.said()

    def said(self) -> str:
        return self._said.read_text()[-4_000:]

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(DEADLINE_S)
            self._process = None


class CloudProcess(Process):
    """A cloud with one clinic."""

    def __init__(self, folder: Path, *sites: str) -> None:
        super().__init__(folder, CLOUD, "cloud")
        password = folder / "password"
        password.write_text(PASSWORD + "\n")
        self.password_file = password
        named = [part for site in sites for part in ("--site", site)]
        self.made = done(
            CLOUD, "init", "--data", self.data, "--clinic", "Riverside", *named,
            "--admin-email", ADMIN, "--admin-password-file", password,
        )  # fmt: skip
        self.clinic_id = str(self.made["clinic_id"])

    def start(self) -> CloudProcess:
        self.run("--public-url", self.url)
        return self

    def command(self, *arguments: object) -> dict[str, Any]:
        """A command of the operator's, beside the running cloud."""
        return done(CLOUD, *arguments, "--data", self.data, "--clinic", self.clinic_id)

    def code(self, what: str, site: str, *more: object) -> str:
        return str(self.command("code", "--for", what, "--site", site, *more)["code"])

    def add_user(self, email: str, role: str = "clinician") -> str:
        added = self.command(
            "user", "add", "--email", email, "--name", email.split("@", maxsplit=1)[0], "--role", role,
            "--password-file", self.password_file,
        )  # fmt: skip
        return str(added["user_id"])

    def copied_to(self, place: Path) -> Path:
        """A backup, as who stops it and copies its files makes one."""
        shutil.copytree(self.data, place)
        return place


class SiteHub(Process):
    """A hub that was claimed for a site."""

    def __init__(self, folder: Path, cloud: CloudProcess, site: str, name: str = "hub") -> None:
        super().__init__(folder, HUB, name)
        self.cloud = cloud
        self.site = site
        self.key_file = folder / f"{name}.key"

    def claim(self, *flags: object) -> dict[str, Any]:
        code = self.cloud.code("hub", self.site)
        return done(
            HUB, "claim", "--data", self.data, "--cloud", self.cloud.url, "--code", code, "--name", self.site,
            *flags,
        )  # fmt: skip

    def start(self) -> SiteHub:
        self.run("--no-mdns")
        return self

    def destroy(self) -> None:
        """As a card that is stepped on: nothing of it is left."""
        self.end()
        shutil.rmtree(self.data)
        self.key_file.unlink(missing_ok=True)

    def health(self) -> dict[str, Any]:
        return dict(httpx.get(f"{self.url}/health", timeout=30).json())


class EnrolledTablet:
    """A device that was enrolled by a code and at which somebody has logged in."""

    def __init__(self, store: Path, server: Process, cloud: CloudProcess, site: str, email: str) -> None:
        self.store = store
        self.email = email
        self.cloud = cloud
        self._watching: list[subprocess.Popen[str]] = []
        code = cloud.code("device", site)
        told = self.ask("enroll", "--code", code, "--server", server.url, "--name", store.name)
        self.device_id = str(told["device_id"])
        self.login()

    def login(self) -> None:
        self.ask("login", "--email", self.email, "--password-file", self.cloud.password_file)

    def ask(self, command: str, *arguments: object) -> dict[str, Any]:
        return done(DEVICE, command, "--store", self.store, *arguments)

    def record(self, family: str) -> str:
        payload = json.dumps({"resourceType": "Patient", "name": [{"family": family}]})
        return str(self.ask("record", "--type", "Patient", "--op", "create", "--payload", payload)["op_id"])

    def sync(self) -> dict[str, Any]:
        return self.ask("sync")

    def status(self) -> dict[str, Any]:
        return self.ask("status")

    def families(self) -> set[str]:
        """The names of the patients that this tablet shows."""
        listed = self.ask("list", "Patient")
        return {entity["state"]["name"][0]["family"] for entity in listed["entities"]}

    def until_in_the_cloud(self) -> None:
        """Sync until every op of its own is known to be in the cloud."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            self.sync()
            status = self.status()
            if status["here"] == status["hub"] == 0:
                return
            assert time.monotonic() < deadline, f"not in the cloud: {status}"
            time.sleep(0.1)


@contextmanager
def hubs_of_two_sites(folder: Path, cloud: CloudProcess) -> Iterator[list[SiteHub]]:
    """One at North and one at South, claimed and serving."""
    made = [SiteHub(folder, cloud, site, site.lower()) for site in ("North", "South")]
    for hub in made:
        hub.claim()
        hub.start()
    yield made
    for hub in made:
        hub.end()
