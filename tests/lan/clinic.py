"""A clinic in miniature: a cloud on the internet, hubs on the clinic's LAN, tablets, each on a host of its own, all over TLS.

They are the processes of tests/system/world.py. Whoever makes a clinic a second time in the same order finds every
address the same: so a folder that was filled once can be copied, and tests begin where people have logged in already.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import trustme
from cryptography.hazmat.primitives.serialization import Encoding

from medxz.device.invitation import look_at
from tests.lan.application import Application
from tests.lan.hosts import Host, Network
from tests.system.hub_process import DEADLINE_S, environment, wait_until
from tests.system.world import CLOUD, DEVICE, HUB, IDS, CloudProcess, EnrolledTablet, Process, SiteHub

PORT: Final = 8_443
NURSE: Final = "nora@clinic.example"
DOCTOR: Final = "dan@clinic.example"
SITE: Final = "North"
HUB_NAME: Final = "hub.riverside.example"
"""By which the clinic's DNS knows its hub, where a test says so."""


def lan_environment() -> dict[str, str]:
    """Ours, in which devices look around on the LAN."""
    return {name: value for name, value in environment().items() if name != "MEDXZ_MDNS"}


def answered(command: list[str], *, fails: bool = False) -> dict[str, Any]:
    """What it answers with --json, once it has succeeded; or has failed, where it answers all the same."""
    ended = subprocess.run(
        [*command, "--json"],
        env=lan_environment(), capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    assert ended.returncode == 0 or (fails and ended.stdout), f"{command[4:]}: {ended.stderr or ended.stdout}"
    told: dict[str, Any] = json.loads(ended.stdout)
    return told


class Housed(Process):
    """A program that serves on a host, on every address that it has."""

    def house(self, host: Host) -> None:
        self.host = host
        self.port = PORT
        self.url = f"https://{host.address}:{PORT}"

    def run(self, *flags: object, plain: bool = True) -> None:
        """Start it, and wait until it says that it serves. Never plain: this is no loopback."""
        arguments = ["run", "--data", self.data, "--port", PORT, "--json", *flags]
        with self._out.open("wb") as out, self._said.open("ab") as said:
            self._process = process = self.host.start(*self._program, *arguments, stdout=out, stderr=said)
        wait_until(lambda: process.poll() is not None or b"\n" in self._out.read_bytes(), "the ready line")
        assert process.poll() is None, self.said()

    def ask_itself(self, path: str) -> dict[str, Any]:
        """What it answers to its own machine."""
        with self.host.namespace.entered():
            return dict(httpx.get(f"https://localhost:{PORT}{path}", verify=False, timeout=10).json())


class LanCloud(Housed, CloudProcess):
    """A cloud with a certificate for its address, by a CA that no machine knows until it is told."""

    def __init__(self, folder: Path, host: Host, *sites: str) -> None:
        self.ca_file = folder / "cloud-ca.pem"
        self._chain, self._key = folder / "cloud-chain.pem", folder / "cloud-tls.key"
        if self.ca_file.exists():  # a copy of one that was made before
            Process.__init__(self, folder, CLOUD, "cloud")
            self.password_file = folder / "password"
            self.made = json.loads((folder / "made.json").read_text())
            self.clinic_id = str(self.made["clinic_id"])
        else:
            CloudProcess.__init__(self, folder, *sites)
            (folder / "made.json").write_text(json.dumps(self.made))
            authority = trustme.CA()
            issued = authority.issue_cert(host.address, "cloud.example")
            authority.cert_pem.write_to_path(str(self.ca_file))
            issued.private_key_pem.write_to_path(str(self._key))
            self._chain.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
        self.house(host)

    def start(self) -> LanCloud:
        self.run("--host", "::", "--public-url", self.url, "--tls-cert", self._chain, "--tls-key", self._key)
        return self


class LanHub(Housed, SiteHub):
    """A hub on the clinic's LAN, which makes itself known there."""

    def __init__(self, folder: Path, cloud: LanCloud, host: Host, name: str) -> None:
        folder.mkdir(exist_ok=True)
        SiteHub.__init__(self, folder, cloud, SITE, name)
        self.ca_file = cloud.ca_file
        self.house(host)

    def claim(self, *flags: object) -> dict[str, Any]:
        code = self.cloud.code("hub", self.site)
        command = ["claim", "--data", self.data, "--cloud", self.cloud.url, "--cloud-ca", self.ca_file]
        return answered(self.host.command(*HUB, *command, "--code", code, "--name", self.data.name, *flags))

    def start(self, *flags: object) -> LanHub:
        self.run(*flags)
        return self

    def begin_alone(self) -> None:
        """Without any cloud, for a clinic of its own."""
        self.told("init", "--clinic", IDS.uuid7())
        self.start()

    def told(self, command: str, *arguments: object) -> dict[str, Any]:
        """A command of its operator's."""
        return answered(self.host.command(*HUB, command, *arguments, "--data", self.data))

    @property
    def server_id(self) -> str:
        return str(self.ask_itself("/v1/info")["server_id"])

    def health(self) -> dict[str, Any]:
        return self.ask_itself("/health")

    def upstream(self) -> str:
        """`online` or `offline`."""
        return str(self.told("status")["upstream"])

    def is_at(self, url: str | None) -> bool:
        """Whether this is one of its addresses: a tablet may find it by IPv6 as well."""
        place = urlsplit(url or "")
        mine = {self.host.address, self.host.address6, *self.host.link_local()}
        return place.port == PORT and (place.hostname or "").partition("%")[0] in mine

    @property
    def is_settled(self) -> bool:
        """Whether it knows everything that it has to be in the cloud."""
        told = self.told("status")
        return bool(told["upstream"] == "online" and told["backlog"] == 0)

    def has(self, count: int) -> bool:
        """Whether its log is that long."""
        return int(self.told("status")["ops"]) >= count


class LanTablet(EnrolledTablet):
    """A tablet on a host of its own: what it does, it does from there."""

    def __init__(self, store: Path, host: Host, cloud: LanCloud, email: str) -> None:
        self.store = store
        self.host = host
        self.email = email
        self.cloud = cloud
        self._watching = []

    def enrol(self, *how: object) -> dict[str, Any]:
        return self.ask("enroll", "--name", self.store.name, *how)

    def code(self) -> dict[str, Any]:
        """A pairing code of the cloud's: code, url, fp."""
        return self.cloud.command("code", "--for", "device", "--site", SITE)

    def enrol_at(self, hub: LanHub) -> None:
        made = self.code()
        self.enrol("--code", made["code"], "--server", hub.url, "--fp", made["fp"])
        self.login()

    def command(self, command: str, *arguments: object) -> list[str]:
        return self.host.command(*DEVICE, command, "--store", self.store, *arguments)

    def ask(self, command: str, *arguments: object) -> dict[str, Any]:
        return answered(self.command(command, *arguments))

    def tried(self, command: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """One that may fail."""
        return subprocess.run(
            [*self.command(command, *arguments), "--json"],
            env=lan_environment(), capture_output=True, text=True, timeout=DEADLINE_S, check=False,
        )  # fmt: skip

    def discovered(self, *arguments: object) -> dict[str, Any]:
        """What `medxz discover` says, whether one was taken or none."""
        ended = self.tried("discover", *arguments)
        assert ended.returncode in {0, 1}, ended.stderr
        return dict(json.loads(ended.stdout))

    def until_heard(self, count: int) -> list[dict[str, Any]]:
        """Those that announce themselves on its LAN, once there are so many; its store is not asked."""
        told: list[dict[str, Any]] = []

        def are_there() -> bool:
            told[:] = answered(self.host.command(*DEVICE, "discover", "--wait", "2"), fails=True)["found"]
            return len({one["server_id"] for one in told}) == count

        wait_until(are_there, f"{count} hubs to be heard")
        return told

    def application(self) -> Application:
        """One that uses the library, and stays in step."""
        started = Application(self.host, self.store, lan_environment())
        started.until(lambda event: event["event"] == "ready", "the application")
        return started


class Clinic:
    """The hosts of a clinic with one site, and what is on them. Nothing runs until a test starts it.

    `slow`: those whose cables are links that can be slow and lossy.
    """

    def __init__(self, folder: Path, network: Network, *, slow: Sequence[str] = ()) -> None:
        self.folder = folder
        self.network = network
        self.lan, self.wan = network.lan("lan"), network.lan("wan")
        seeds = {name: number for number, name in enumerate(slow, 1)}
        self.cloud = LanCloud(folder, self.wan.host("cloud", seed=seeds.get("cloud")), SITE)
        self.hub, self.second = (
            LanHub(folder, self.cloud, self.lan.host(name, seed=seeds.get(name)), name)
            for name in ("hub", "second")
        )
        self.nora, self.dan = (
            LanTablet(folder / name, self.lan.host(name, seed=seeds.get(name)), self.cloud, email)
            for name, email in (("nora", NURSE), ("dan", DOCTOR))
        )

    def fill(self) -> None:
        """Users, claimed hubs, tablets that were enrolled at the first hub with people logged in; then all stops."""
        self.cloud.add_user(NURSE)
        self.cloud.add_user(DOCTOR)
        self.cloud.command("clinic", "config", "set", f'hub_names=["{HUB_NAME}"]')
        self.cloud.start()
        for hub in (self.hub, self.second):
            hub.claim()
        self.hub.start()
        for tablet in (self.nora, self.dan):
            tablet.enrol_at(self.hub)
            tablet.sync()
        self.stop()

    def stop(self) -> None:
        for process in (self.hub, self.second, self.cloud):
            process.end(signal.SIGTERM)

    @property
    def fingerprint(self) -> str:
        """Of the clinic's CA, as an admin gets it with a code."""
        return str(self.nora.code()["fp"])

    def ca_certificate(self) -> str:
        """The clinic's CA, which the hub shows; the fingerprint tells which it is."""
        with self.nora.host.namespace.entered():
            root = look_at(self.hub.url).root(self.fingerprint)
        assert root is not None
        return root.public_bytes(Encoding.PEM).decode()

    def start(self) -> Clinic:
        """The cloud and the first hub."""
        self.cloud.start()
        self.hub.start()
        return self


def copied(filled: Path, folder: Path) -> Path:
    """The folder of a clinic that was filled, for another one. What it was told is where it was told."""
    shutil.copytree(filled, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.sock"))
    return folder
