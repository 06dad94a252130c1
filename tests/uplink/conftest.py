"""A cloud and hubs of one clinic in one process: real files, real sockets, real tokens; ended and begun again at will."""

from __future__ import annotations

import asyncio
import base64
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import cloud.config
import hub.config
from cloud.app import Cloud, open_cloud
from cloud.store import make_store, open_store
from hub.app import Hub, open_hub
from hub.claim import Order, claim_hub
from medxz.accounts.cloud import Administration, assemble
from medxz.accounts.passwords import Passwords
from medxz.clock import SystemClock
from medxz.ids import RandomIds
from medxz.op import Operation
from medxz.store.authority.known import Directories
from medxz.web import make_log
from medxz.wire import CloudPlace
from medxz.work import InlineWorker
from tests.making import as_json, make_op

IDS = RandomIds()
PASSWORD = "a long walk by the river"
DEADLINE_S = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def until(holds: Callable[[], bool | Awaitable[bool]], what: str) -> None:
    """Wait for something that has to come about."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        held = holds()
        if held if isinstance(held, bool) else await held:
            return
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        await asyncio.sleep(0.01)


@dataclass
class Relay:
    """The cloud."""

    folder: Path
    port: int = field(default_factory=free_port)
    said: BytesIO = field(default_factory=BytesIO)
    tls: bool = False
    clinic_id: str = ""
    admin: Administration = field(init=False)
    running: Cloud = field(init=False)
    _stack: AsyncExitStack | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def settings(self) -> cloud.config.Settings:
        return cloud.config.load_settings(
            {
                "data": self.folder,
                "plain_http": not self.tls,
                "host": "127.0.0.1",
                "port": self.port,
                "log_level": "info",
            },
            {},
        )

    async def make(self) -> None:
        # nobody guesses this password, and many tests make a cloud
        self._passwords = Passwords(
            [InlineWorker()], PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        )
        async with make_store(self.settings, {}, SystemClock(), RandomIds()) as store:
            place = CloudPlace(server_id=store.server.server_id, url=self.url)
            directories = Directories(store.transactions, store.authority.clock)
            admin = assemble(store.authority, self._passwords, directories, place).administration
            made = await admin.clinics.add(
                "Riverside", ["North", "South"], "ada@clinic.example", "Ada", PASSWORD
            )
            self.clinic_id = made.clinic_id

    async def start(self) -> Relay:
        stack = AsyncExitStack()
        log = make_log(self.said, SystemClock(), "info")
        self.running = await stack.enter_async_context(open_cloud(self.settings, {}, log=log))
        store = self.running.store
        place = CloudPlace(server_id=store.server.server_id, url=self.url)
        directories = self.running.parts.directories
        self.admin = assemble(store.authority, self._passwords, directories, place).administration
        self._stack = stack
        return self

    async def stop(self) -> None:
        if self._stack is not None:
            stack, self._stack = self._stack, None
            await stack.aclose()

    @asynccontextmanager
    async def office(self) -> AsyncIterator[Administration]:
        """What an operator decides while it is down."""
        async with open_store(self.settings, {}, SystemClock(), RandomIds()) as store:
            place = CloudPlace(server_id=store.server.server_id, url=self.url)
            directories = Directories(store.transactions, store.authority.clock)
            yield assemble(store.authority, self._passwords, directories, place).administration

    async def code(self, what: str, site: str) -> str:
        [made] = await self.admin.codes.make(self.clinic_id, what, site)  # type: ignore[arg-type]
        return made.code

    async def add_user(self, email: str, role: str = "clinician") -> str:
        return await self.admin.users.add(self.clinic_id, email, email, [role], PASSWORD)

    async def stored(self, by: str) -> list[str]:
        """The op_ids that the cloud has, in its order, as somebody reads them."""
        async with httpx.AsyncClient(base_url=self.url, timeout=30) as http:
            return await pulled(http, by)


@dataclass
class Box:
    """A hub of the clinic, or one that began alone."""

    folder: Path
    port: int = field(default_factory=free_port)
    said: BytesIO = field(default_factory=BytesIO)
    running: Hub = field(init=False)
    http: httpx.AsyncClient = field(init=False)
    _stack: AsyncExitStack | None = None

    @property
    def settings(self) -> hub.config.Settings:
        return hub.config.load_settings(
            {"data": self.folder, "plain_http": True, "port": self.port, "mdns": False}, {}
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def claim(self, relay: Relay, site: str, code: str | None = None) -> dict[str, str]:
        ca = relay.running.store.root.certificate_pem.decode() if relay.tls else None
        order = Order(relay.url, code or await relay.code("hub", site), site, ca)
        return await claim_hub(self.settings.places, order, {}, SystemClock(), RandomIds())

    async def start(self) -> Box:
        stack = AsyncExitStack()
        log = make_log(self.said, SystemClock(), "info")
        self.running = await stack.enter_async_context(open_hub(self.settings, {}, log=log))
        self.http = await stack.enter_async_context(httpx.AsyncClient(base_url=self.url, timeout=60))
        self._stack = stack
        return self

    async def stop(self) -> None:
        if self._stack is not None:
            stack, self._stack = self._stack, None
            await stack.aclose()

    @property
    def is_online(self) -> bool:
        return self.running.doors.link().is_online

    @property
    def backlog(self) -> int:
        return self.running.doors.link().backlog or 0


async def pulled(http: httpx.AsyncClient, token: str) -> list[str]:
    ids: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        answer = await http.get(
            "/v1/sync/pull", params={"limit": 1000, **cursor}, headers={"Authorization": f"Bearer {token}"}
        )
        assert answer.status_code == 200, answer.text
        page = answer.json()
        ids += [op["op_id"] for op in page["ops"]]
        cursor = {"cursor": page["next_cursor"]}
        if not page["has_more"]:
            return ids


@dataclass
class Tablet:
    """A device that was enrolled, with somebody logged in, towards one hub (or another, by `box`)."""

    box: Box
    clinic_id: str
    device_id: str
    user_id: str = ""
    token: str = ""
    refresh_token: str = ""
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    number: int = 0

    @classmethod
    async def enrolled(cls, box: Box, relay: Relay, site: str, email: str) -> Tablet:
        """Through the hub."""
        key = Ed25519PrivateKey.generate()
        public = base64.urlsafe_b64encode(key.public_key().public_bytes_raw()).rstrip(b"=").decode()
        code = await relay.code("device", site)
        answer = await box.http.post(
            "/v1/enroll", json={"code": code, "name": "tablet", "public_key": public}
        )
        assert answer.status_code == 200, answer.text
        made = cls(box, relay.clinic_id, answer.json()["device_id"], key=key)
        await made.login(email)
        return made

    async def login(self, email: str) -> None:
        answer = await self.ask(
            "POST", "/v1/auth/login", {"email": email, "password": PASSWORD, "device_id": self.device_id}
        )
        assert answer.status_code == 200, answer.text
        self._take(answer.json())

    @property
    def is_known(self) -> bool:
        """Whether its hub has heard of the device and of who is logged in there: then it takes their ops."""
        device = self.box.running.storage.registry.directory.devices.get(self.device_id)
        return device is not None and self.user_id in device.authors

    def _take(self, session: dict[str, Any]) -> None:
        self.user_id, self.token = session["user"]["user_id"], session["access_token"]
        self.refresh_token = session["refresh_token"] or self.refresh_token

    async def refresh(self) -> httpx.Response:
        answer = await self.ask("POST", "/v1/auth/refresh", {"refresh_token": self.refresh_token})
        if answer.status_code == 200:
            self._take(answer.json())
        return answer

    async def ask(
        self, method: str, path: str, body: object = None, *, token: str | None = None
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return await self.box.http.request(method, path, json=body, headers=headers)

    def op(self, **changes: Any) -> Operation:
        self.number += 1
        return make_op(
            self.number, device_id=self.device_id, clinic_id=self.clinic_id, user_id=self.user_id, **changes
        )

    async def push(self, *ops: Operation) -> dict[str, Any]:
        answer = await self.ask("POST", "/v1/sync/push", {"ops": list(map(as_json, ops))}, token=self.token)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def record(self, count: int = 1) -> list[str]:
        ops = [self.op() for _ in range(count)]
        for first in range(0, count, 500):
            pushed = await self.push(*ops[first : first + 500])
            assert {result["status"] for result in pushed["results"]} == {"accepted"}, pushed
        return [op.op_id for op in ops]

    async def status(self) -> dict[str, Any]:
        answer = await self.ask("GET", "/v1/sync/status", token=self.token)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def cloud_through(self) -> int:
        return int((await self.status())["cloud_through"])

    async def pulled(self) -> list[str]:
        return await pulled(self.box.http, self.token)


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[Relay]:
    made = Relay(tmp_path / "cloud")
    await made.make()
    yield await made.start()
    await made.stop()


@pytest.fixture
async def make_box(tmp_path: Path) -> AsyncIterator[Callable[[str], Box]]:
    boxes: list[Box] = []

    def make(name: str) -> Box:
        boxes.append(Box(tmp_path / name))
        return boxes[-1]

    yield make
    for box in boxes:
        await box.stop()


@pytest.fixture
async def north(relay: Relay, make_box: Callable[[str], Box]) -> Box:
    box = make_box("north")
    await box.claim(relay, "North")
    return await box.start()


@pytest.fixture
async def south(relay: Relay, make_box: Callable[[str], Box]) -> Box:
    box = make_box("south")
    await box.claim(relay, "South")
    return await box.start()


@pytest.fixture
async def nora(relay: Relay, north: Box) -> Tablet:
    await relay.add_user("nora@clinic.example")
    return await Tablet.enrolled(north, relay, "North", "nora@clinic.example")
