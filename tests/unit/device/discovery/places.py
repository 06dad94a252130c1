"""Real servers on loopback that say who they are, over TLS or without, and what each of them was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

from aiohttp import web

from medxz.clock import SystemClock
from medxz.device.discovery import Candidate, Known
from medxz.lan.announcement import Announcement
from medxz.trust import certificates
from medxz.trust.certificates import Credential, ca_fingerprint
from medxz.trust.clinic_ca import make_clinic_root
from medxz.wire import InfoAnswer, InfoLimits
from tests.making import CLINIC, fixed_id

NOW_MS = SystemClock().now_ms()
HUB, OTHER_HUB, SITE = fixed_id(0xA1), fixed_id(0xA2), fixed_id(0x51)
CA = make_clinic_root(CLINIC, NOW_MS)
THEIR_CA = make_clinic_root(fixed_id(0xC2), NOW_MS)
CA_PEM = CA.certificate_pem.decode()
FINGERPRINT = ca_fingerprint(CA.certificate)
KNOWN = Known(hub_cas=CA_PEM)


@dataclass
class Place:
    """One server. `asked`: the paths of the requests that could be read there."""

    url: str
    asked: list[str] = field(default_factory=list)
    # set: answers wait for it
    gate: asyncio.Event | None = None

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def expecting(self, server_id: str | None, source: str = "config", **changes: object) -> Candidate:
        return Candidate("hub", self.url, server_id, source, **changes)  # type: ignore[arg-type]

    def announcing(self, server_id: str = HUB, fingerprint: str = FINGERPRINT, *others: str) -> Announcement:
        return Announcement(
            server_id, SITE, fingerprint, self.port, self.url.startswith("https"), "medxz.local",
            (*others, "127.0.0.1"),
        )  # fmt: skip


def credential(server_id: str = HUB, root: Credential = CA) -> Credential:
    return certificates.issue_server(root, server_id, NOW_MS)


@asynccontextmanager
async def place(
    said_id: str = HUB,
    *,
    shown: Credential | None = None,
    kind: str = "hub",
    protocol: Sequence[str] = ("1.0",),
    answer: web.Response | None = None,
    plain: bool = False,
    host: str = "127.0.0.1",
) -> AsyncIterator[Place]:
    """A server that shows a certificate, and says in /v1/info who it is."""

    async def info(request: web.Request) -> web.Response:
        there.asked.append(request.path)
        if there.gate is not None:
            await there.gate.wait()
        if answer is not None:
            return answer
        told = InfoAnswer.model_validate(
            {
                "server_id": said_id, "kind": kind, "epoch": fixed_id(1), "protocol": protocol, "version": "1",
                "time": "2026-11-21T10:00:00.000Z", "limits": InfoLimits(), "dictionaries": [],
            }
        )  # fmt: skip
        return web.json_response(text=told.model_dump_json())

    application = web.Application()
    application.router.add_get("/v1/info", info)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    context = None if plain else certificates.server_context(shown or credential(said_id))
    await web.TCPSite(runner, host, 0, ssl_context=context).start()
    named = f"[{host}]" if ":" in host else host
    there = Place(f"{'http' if plain else 'https'}://{named}:{runner.addresses[0][1]}")
    try:
        yield there
    finally:
        if there.gate is not None:
            there.gate.set()
        await runner.cleanup()


class Ears:
    """What is heard on a LAN, said by the test."""

    problem: str | None = None

    def __init__(self, *announcements: Announcement) -> None:
        self._heard = list(announcements)
        self._changed = asyncio.Event()

    def say(self, *announcements: Announcement) -> None:
        """These are announced now, and no others."""
        self._heard = list(announcements)
        self._changed.set()

    def found(self) -> Mapping[str, Announcement]:
        return {str(number): heard for number, heard in enumerate(self._heard)}

    async def next_change(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    async def settle(self, timeout_s: float) -> None:
        """There is nothing to wait for."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...
