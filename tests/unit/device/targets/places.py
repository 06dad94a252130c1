"""A site in memory: a hub and a cloud of one clinic that a test takes down, and a device that was enrolled there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medxz import wire
from medxz.device.device import Device, Machine
from medxz.errors import PeerUnreachable
from medxz.ids import SeededIds
from medxz.work import InlineWorker
from tests.making import CLINIC, USER, fixed_id
from tests.unit.device.door import Door
from tests.unit.device.scripted import KEY
from tests.unit.device.targets.ticking import TickClock

HUB, CLOUD, OTHER_HUB = (f"http://127.0.0.1:{port}" for port in (1, 2, 3))


@dataclass
class Place(Door):
    """A server that is up, or down, or hangs."""

    url: str = ""
    site: Site | None = None
    is_down: bool = False
    hangs: bool = False
    given: int = 0
    credentials: Any = None
    shown: str = ""

    async def check(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.is_down:
            raise PeerUnreachable(f"{self.url} is down")

    async def alive(self) -> None:
        await self.check()

    async def info(self) -> wire.InfoAnswer:
        await self.check()
        return await super().info()

    async def status(self) -> wire.StatusAnswer:
        self.shown = await self.credentials.token()
        await self.check()
        return await super().status()

    async def push(self, *parts: Any) -> wire.PushAnswer:
        await self.check()
        return await super().push(*parts)

    async def pull(self, cursor: str | None, **more: Any) -> wire.PullAnswer:
        await self.check()
        page = await super().pull(cursor, **more)
        self.given += len(page.ops)
        return page

    async def login(self, request: wire.LoginRequest) -> wire.SessionAnswer:
        await self.check()
        return await super().login(request)

    async def refresh(self, request: wire.RefreshRequest) -> wire.SessionAnswer:
        await self.check()
        return await super().refresh(request)

    async def config(self) -> wire.ConfigAnswer:
        assert self.site is not None
        told = await super().config()
        return told.model_copy(update={"targets": self.site.targets, "routing": self.site.routing})

    async def stream(self, cursor: str | None) -> AsyncGenerator[Any, None]:
        await self.check()
        async for page in super().stream(cursor):
            self.given += len(page.ops)
            yield page

    async def go_down(self) -> None:
        self.is_down = True
        await self.cut_stream()


@dataclass
class Site:
    """Who is there, by address."""

    clock: TickClock = field(default_factory=TickClock)
    routing: dict[str, list[str]] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    ears: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for number, (url, kind) in enumerate(((HUB, "hub"), (CLOUD, "cloud"))):
            self.add(url, kind, number)

    def add(self, url: str, kind: str, number: int) -> Place:
        place = Place(kind=kind, ids=SeededIds(self.clock, 20 + number), clock=self.clock, url=url, site=self)  # type: ignore[arg-type]
        self.places[url] = place
        return place

    @property
    def hub(self) -> Place:
        return self.places[HUB]

    @property
    def cloud(self) -> Place:
        return self.places[CLOUD]

    @property
    def targets(self) -> list[wire.Target]:
        return [
            wire.Target(kind=place.kind, url=url, server_id=place.server_id)  # type: ignore[arg-type]
            for url, place in self.places.items()
        ]

    def connect(self, url: str, *, token: Any, ear: Any = None, **_: Any) -> Place:
        place = self.places[url]
        if not callable(token):
            place.credentials = token
        self.ears[url] = ear
        return place

    @asynccontextmanager
    async def device(self, folder: Path, *roles: str) -> AsyncGenerator[Device, None]:
        """One that was enrolled at the hub, at which somebody has logged in, and that has been in step once."""
        machine = Machine(
            clock=self.clock, ids=SeededIds(self.clock, 5), worker=InlineWorker(), connect=self.connect
        )
        self.hub.roles = roles or ("clinician",)
        async with await Device.enrol(folder, key=KEY, code="CODE", server=HUB, machine=machine) as device:
            await device.login("nora@clinic.example", "right")
            await device.sync()
            yield device


__all__ = ["CLINIC", "CLOUD", "HUB", "OTHER_HUB", "USER", "Place", "Site", "fixed_id"]
