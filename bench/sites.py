"""Two sites of a clinic: a cloud, a hub at each site, and devices that write there, all as an operator would make them.

The way between a hub and the cloud is a relay that counts, and stays where it is while the cloud is gone.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.counting import CountingRelay
from bench.measured_ops import MeasuredFamily
from bench.ops import Fleet
from bench.programs import CLOUD, HUB, HubProcess, ServerProcess, command_answer
from hub.ask import ask
from medxz import wire
from medxz.op import Operation
from medxz.peer import Peer

SITES: Final = ("North", "South")
DEVICES: Final = 4
EMAIL: Final = "nora@clinic.example"
PASSWORD: Final = "only for a measurement of an hour"
BATCH_OPS: Final = 500


@dataclass(slots=True)
class Site:
    """A hub, its devices, and what goes over its line to the cloud."""

    hub: HubProcess
    line: CountingRelay
    fleet: Fleet
    peers: list[Peer]

    def standing(self) -> dict[str, Any]:
        """As the hub tells it to who operates it."""
        return ask(self.hub.data.with_name(self.hub.data.name + ".sock"), "status", {})

    async def write(self, count: int) -> None:
        """So many new ops by the site's devices in turn, in batches."""
        for number in range(count // BATCH_OPS):
            await self.push(number % DEVICES, self.fleet.take(number % DEVICES, BATCH_OPS))

    async def push(self, device: int, ops: Sequence[Operation]) -> None:
        answer = await self.peers[device].push([op.json() for op in ops])
        assert {result.status for result in answer.results} <= {"accepted", "conflict"}, answer.results[:3]


@dataclass(slots=True)
class Sites:
    """A cloud that may be gone for a while, and the sites."""

    cloud: ServerProcess
    sites: list[Site]

    async def lose_cloud(self) -> None:
        await asyncio.to_thread(self.cloud.stop)

    async def bring_back(self) -> None:
        await asyncio.to_thread(self.cloud.start)
        for site in self.sites:
            site.line.port_there = self.cloud.port


@asynccontextmanager
async def two_sites(folder: Path) -> AsyncIterator[Sites]:
    """Made anew, and ended."""
    data, password = folder / "cloud", _password_file(folder)
    named = [word for site in SITES for word in ("--site", site)]
    made = await _told(
        CLOUD, "init", "--data", data, "--clinic", "Bench", *named, "--admin-email", "admin@bench.example",
        "--admin-password-file", password,
    )  # fmt: skip
    clinic = ("--data", data, "--clinic", made["clinic_id"])
    await _told(
        CLOUD, "user", "add", *clinic, "--email", EMAIL, "--name", "Nora", "--role", "clinician",
        "--password-file", password,
    )  # fmt: skip
    async with AsyncExitStack() as stack:
        cloud = stack.enter_context(ServerProcess(data, CLOUD))
        sites = []
        for number, name in enumerate(SITES):
            line = await stack.enter_async_context(CountingRelay(cloud.port))
            code = await _told(CLOUD, "code", *clinic, "--for", "hub", "--site", name)
            place = folder / name.lower()
            await _told(
                HUB, "claim", "--data", place, "--cloud", f"http://127.0.0.1:{line.port}", "--code", code["code"],
                "--name", name,
            )  # fmt: skip
            hub = stack.enter_context(HubProcess(place))
            site = Site(hub, line, _fleet(number, str(made["clinic_id"])), [])
            for device in range(DEVICES):
                told = await _told(CLOUD, "code", *clinic, "--for", "device", "--site", name)
                await _join(site, device, str(told["code"]))
                stack.push_async_callback(site.peers[device].aclose)
            sites.append(site)
        yield Sites(cloud, sites)


def _password_file(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "password"
    file.write_text(PASSWORD)
    return file


def _fleet(number: int, clinic_id: str) -> Fleet:
    return Fleet(MeasuredFamily, seed=100 + number, devices=DEVICES, clinic_id=clinic_id)


async def _join(site: Site, device: int, code: str) -> None:
    """Enrol a device at its hub and log in, so that it writes under the ids that it was given."""
    url = f"http://127.0.0.1:{site.hub.port}"
    key = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    anonymous = Peer(url)
    try:
        public_key = base64.urlsafe_b64encode(key).rstrip(b"=").decode()
        enrolled = await anonymous.enrol(wire.EnrolRequest(code=code, name="bench", public_key=public_key))
        session = await anonymous.login(
            wire.LoginRequest(email=EMAIL, password=PASSWORD, device_id=enrolled.device_id)
        )
    finally:
        await anonymous.aclose()
    site.fleet.device_ids = [
        *site.fleet.device_ids[:device],
        enrolled.device_id,
        *site.fleet.device_ids[device + 1 :],
    ]
    site.fleet.user_ids = [session.user.user_id] * DEVICES
    site.peers.append(Peer(url, token=lambda: session.access_token))


async def _told(program: Path, *words: object) -> dict[str, Any]:
    return await asyncio.to_thread(command_answer, program, *map(str, words))
