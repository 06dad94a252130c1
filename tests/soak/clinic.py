"""The clinic of a soak: a cloud, two hubs of one site over TLS, links before them, and processes full of tablets.

Both hubs are of the same site. That has every kind of traffic that two sites have (each hub streams the cloud and hands
up to it), and more: the hubs read each other, an op comes to each of them on two ways, and the tablets of a hub that is
killed all go to the other one, and some to the cloud, and back. Two sites would have less of each.

Links stand between tablets and servers, and between hubs and the cloud. The hubs read each other directly.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from hub.ask import ask
from hub.config import HubPlaces
from medxz.program.errors import CommandFailed
from tests.soak.house import HouseProcess
from tests.soak.links import Link
from tests.soak.pace import ACTION_EVERY_S, Pace
from tests.soak.tablets import Setting
from tests.system.cloud_process import command_here
from tests.system.world import PASSWORD, CloudProcess, Process, SiteHub

SITE: Final = "North"
PEOPLE: Final = 8
TABLETS_A_HOUSE: Final = 13
HUBS: Final = ("hub-a", "hub-b")


class Cloud(CloudProcess):
    """A cloud whose devices come by a link. Its commands run here: starting Python for each would take minutes."""

    link: Link | None = None

    def start(self) -> Cloud:
        assert self.link is not None
        self.run("--public-url", f"http://127.0.0.1:{self.link.port}")
        return self

    def command(self, *arguments: object) -> dict[str, Any]:
        told = command_here(*arguments, "--data", self.data, "--clinic", self.clinic_id, "--json")
        assert told.returncode == 0, told.stderr or told.stdout
        answer: dict[str, Any] = json.loads(told.stdout)
        return answer


class Hub(SiteHub):
    """A hub with TLS, which reaches the cloud by a link of its own."""

    def __init__(self, folder: Path, cloud: Cloud, name: str, link: Link) -> None:
        super().__init__(folder, cloud, SITE, name)
        self.url = f"https://127.0.0.1:{self.port}"
        self._way_up = link

    def claim(self, *flags: object) -> dict[str, Any]:
        direct, self.cloud.url = self.cloud.url, f"http://127.0.0.1:{self._way_up.port}"
        try:
            return super().claim(*flags)
        finally:
            self.cloud.url = direct

    def start(self) -> Hub:
        self.run("--no-mdns", plain=False)
        return self

    def status(self) -> dict[str, Any]:
        """As the hub tells its operator; CommandFailed where it does not answer."""
        return ask(HubPlaces(self.data).socket, "status")


class Server:
    """One of the three: its process, the files that it keeps, and when it was started."""

    def __init__(self, name: str, process: Process) -> None:
        self.name = name
        self.process = process
        self.is_stopped = False

    @property
    def pid(self) -> int | None:
        running = self.process._process
        return running.pid if running is not None and running.poll() is None else None

    @property
    def ended_by_itself(self) -> int | None:
        """Its exit status, where nobody has ended it."""
        running = self.process._process
        return running.poll() if running is not None else None

    def start(self) -> None:
        """Run it again on what it kept."""
        assert isinstance(self.process, Cloud | Hub)
        self.process.start()

    @property
    def databases(self) -> list[Path]:
        return sorted(self.process.data.rglob("*.db"))

    def ops(self) -> int | None:
        """How many ops it holds, where it can be asked."""
        if not isinstance(self.process, Hub) or self.pid is None or self.is_stopped:
            return None
        try:
            return int(self.process.status()["ops"])
        except CommandFailed:
            return None


class Clinic:
    """All of it. Made by `opened`."""

    def __init__(self, folder: Path, pace: Pace, seed: int, devices: int) -> None:
        self.folder = folder
        self.pace = pace
        self.seed = seed
        self.devices = devices
        self.servers: dict[str, Server] = {}
        self.links: dict[str, Link] = {}
        self.houses: list[HouseProcess] = []
        self.emails = [f"person-{number}@clinic.example" for number in range(PEOPLE)]
        self.enrolled = 0

    @property
    def cloud(self) -> Cloud:
        process = self.servers["cloud"].process
        assert isinstance(process, Cloud)
        return process

    @property
    def hubs(self) -> list[Hub]:
        return [one.process for one in self.servers.values() if isinstance(one.process, Hub)]

    def connections(self, server: str) -> int:
        """How many the links hold to a server; the hubs' own to each other are few, and always there."""
        return sum(link.connections for name, link in self.links.items() if name.endswith(f"-{server}"))

    async def newcomer(self) -> dict[str, str]:
        """A code for one more tablet, and who will use it."""
        self.enrolled += 1
        code = await asyncio.to_thread(self.cloud.code, "device", SITE)
        return {
            "name": f"tablet-{self.enrolled}", "server": f"http://127.0.0.1:{self.links['tablets-cloud'].port}",
            "code": code, "email": self.emails[self.enrolled % PEOPLE],
        }  # fmt: skip

    async def open(self, stack: AsyncExitStack) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        cloud = await asyncio.to_thread(Cloud, self.folder, SITE)
        stack.push_async_callback(asyncio.to_thread, cloud.end)
        self.servers["cloud"] = Server("cloud", cloud)
        cloud.link = await self._link(stack, "tablets-cloud", cloud.port)
        await asyncio.to_thread(cloud.start)
        for email in self.emails:
            await asyncio.to_thread(cloud.add_user, email)
        for name in HUBS:
            way_up = await self._link(stack, f"{name}-cloud", cloud.port)
            hub = await asyncio.to_thread(Hub, self.folder, cloud, name, way_up)
            stack.push_async_callback(asyncio.to_thread, hub.end)
            self.servers[name] = Server(name, hub)
            await self._link(stack, f"tablets-{name}", hub.port)
            await asyncio.to_thread(hub.claim)
            await asyncio.to_thread(hub.start)
        await self._open_houses(stack)

    async def _link(self, stack: AsyncExitStack, name: str, port_there: int) -> Link:
        link = self.links[name] = await stack.enter_async_context(Link(name, port_there))
        return link

    async def _open_houses(self, stack: AsyncExitStack) -> None:
        links = {
            hub.url: f"https://127.0.0.1:{self.links[f'tablets-{name}'].port}"
            for name, hub in zip(HUBS, self.hubs, strict=True)
        }
        for number in range(-(-self.devices // TABLETS_A_HOUSE)):
            place = self.folder / f"tablets-{number + 1}"
            place.mkdir()
            setting = Setting(
                str(place), place.name, self.seed * 100 + number, PASSWORD, links,
                ACTION_EVERY_S, self.pace.sample_s,
            )  # fmt: skip
            house = HouseProcess(setting)
            await house.start()
            stack.push_async_callback(house.end)
            self.houses.append(house)
        for number in range(self.devices):
            await self.houses[number % len(self.houses)].do("enrol", **await self.newcomer())


@asynccontextmanager
async def opened(folder: Path, pace: Pace, seed: int, devices: int) -> AsyncGenerator[Clinic, None]:
    """The clinic, once everybody is in; ended, whatever comes."""
    async with AsyncExitStack() as stack:
        clinic = Clinic(folder, pace, seed, devices)
        await clinic.open(stack)
        yield clinic
