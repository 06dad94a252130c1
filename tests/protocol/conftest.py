"""A server of each kind, on a real file and a real socket, and whoever calls it.

Every protocol test runs against a hub's services and against the cloud's own program: the contract is one.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hub.alone.accounts import LoneAccounts
from hub.alone.by_token import ByToken
from hub.alone.office import Office
from medxz.clock import Clock, SystemClock
from medxz.ids import Ids, RandomIds
from medxz.op import Operation
from medxz.scope import Scope
from medxz.service import (
    ClinicConfig,
    ClinicParts,
    ClinicServices,
    Gate,
    Rates,
    ServerParts,
    Services,
    Throttle,
    Upstream,
    assemble,
    assemble_clinic,
    only,
    only_clinic,
)
from medxz.service.health import health_of
from medxz.service.metrics import gauges_of, no_results
from medxz.service.upstream import ServerKind
from medxz.store.dictionaries import shipped_dictionary
from medxz.store.files import Identity, LogFile
from medxz.store.registry import SqliteRegistry
from medxz.store.sqlite import SqliteLog, Workers, open_log
from medxz.store.views.file import ViewsFile
from medxz.store.views.follower import Follower
from medxz.trust.jwks import jwks_of
from medxz.trust.tokens import TokenSigner, TokenVerifier, key_id
from medxz.web import App, Serving, make_log, serve
from medxz.work import ThreadWorker
from tests.making import CLINIC, DEVICE, USER, as_json, fixed_id
from tests.protocol.real_cloud import running_cloud

SITE = fixed_id(0x51)


class NoOffice:
    """That of a hub on which nobody has an account."""

    async def if_founded(self) -> None:
        return None


def _by_token_alone(registry: SqliteRegistry, by_token: ByToken) -> LoneAccounts:
    return LoneAccounts(cast(Office, NoOffice()), registry, by_token, lambda: "")


@dataclass(slots=True)
class Answer:
    """What a server answered."""

    status: int
    headers: httpx.Headers
    body: Any

    @property
    def code(self) -> str:
        return str(self.body["code"])

    @property
    def statuses(self) -> list[str]:
        return [result.get("code", result["status"]) for result in self.body["results"]]


@dataclass(slots=True)
class Server:
    """A running server that a test may look into, and end."""

    kind: ServerKind
    path: Path
    config: ClinicConfig = field(default_factory=ClinicConfig)
    rates: Rates = field(default_factory=Rates)
    server_id: str = fixed_id(0xA1)
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    said: BytesIO = field(default_factory=BytesIO)
    log: SqliteLog = field(init=False)
    registry: SqliteRegistry = field(init=False)  # a cloud's has what tests call of it
    follower: Follower = field(init=False)
    clinic: ClinicServices = field(init=False)
    services: Services = field(init=False)
    signer: TokenSigner = field(init=False)
    http: httpx.AsyncClient = field(init=False)
    _serving: Serving = field(init=False)
    _workers: Workers = field(init=False)
    _extra: list[ThreadWorker] = field(default_factory=list)
    _cloud: AsyncExitStack | None = None

    async def start(self) -> Server:
        await (self._start_cloud() if self.kind == "cloud" else self._start_hub())
        self.http = httpx.AsyncClient(
            base_url=self._serving.url, timeout=30, limits=httpx.Limits(max_connections=None)
        )
        return self

    async def _start_cloud(self) -> None:
        # a test may look into the file of its clinic's log
        folder = self.path.parents[2] if self.path.name == "log.db" else self.path.with_suffix("")
        self._cloud = AsyncExitStack()
        running = await self._cloud.enter_async_context(running_cloud(folder, self.config, self.said))
        parts = running.cloud.parts
        clinic = await parts.clinics.get(CLINIC)
        self.path = folder / "clinics" / CLINIC / "log.db"
        self.server_id, self.key = running.cloud.store.server.server_id, running.key
        self.signer = TokenSigner(self.key, key_id(self.key.public_key()), self.server_id, SystemClock())
        self.log, self.registry = cast(SqliteLog, clinic.log), cast(SqliteRegistry, running.registry)
        self.follower, self.clinic, self.services = clinic.follower, clinic.services, parts.services
        self._serving = running.cloud.serving

    async def _start_hub(self) -> None:
        if not self.path.exists():
            LogFile.create(
                self.path, b"k" * 32, Identity(CLINIC, self.server_id, RandomIds().uuid7(), b"c" * 32)
            )
        clock, ids = SystemClock(), RandomIds()
        self._workers = Workers.threads()
        self.log, file = await open_log(self.path, b"k" * 32, clock, self._workers)
        self.registry = SqliteRegistry(file, self.log, self.log.wake)
        public = self.key.public_key()
        self.signer = TokenSigner(self.key, key_id(public), self.server_id, clock)
        self._extra = [ThreadWorker(name) for name in ("hashing", "codec", "entities", "views")]
        views = ViewsFile(self.path.with_name("views.db"), b"k" * 32, self._extra[3])
        self.follower = Follower(self.log, views, clock)
        self.follower.start()
        self.registry.config = self.config
        self._assemble(clock, ids)
        log = make_log(self.said, clock, "debug")
        app = App(self.services, log, ids=ids, clock=clock, worker=self._extra[1])
        self._serving = await serve(app, host="127.0.0.1")

    def _assemble(self, clock: Clock, ids: Ids) -> None:
        log, registry, public = self.log, self.registry, self.key.public_key()
        gate = Gate(TokenVerifier({key_id(public): public}, clock), only_clinic(registry), clock)
        throttle, results = Throttle(self.rates, clock), no_results()
        upstream = Upstream(self.kind, log, registry)
        self.clinic = assemble_clinic(
            ClinicParts(
                log=log, known=registry, upstream=upstream, follower=self.follower, gate=gate, throttle=throttle,
                begin_epoch=log.begin_epoch, clock=clock, ids=ids, worker=self._extra[0],
                reading=self._extra[2], counts=results,
            )
        )  # fmt: skip
        self.services = assemble(
            ServerParts(
                kind=self.kind, version="test", server_id=log.server_id, epoch=lambda: log.epoch, gate=gate,
                throttle=throttle, accounts=_by_token_alone(registry, ByToken(registry, self.signer, jwks_of([public]), ids, clock)),
                clinic=only(self.clinic),
                health=health_of(log, self.follower, upstream, self.path.parent),
                gauges=gauges_of(log, self.follower, self.clinic.pull, self.clinic.snapshot, results),
                dictionaries=[shipped_dictionary()], clock=clock,
            )
        )  # fmt: skip

    async def stop(self) -> None:
        await self.http.aclose()
        if self._cloud is not None:
            await self._cloud.aclose()
            return
        await self._serving.stop()
        await self.follower.close()
        await self.log.close()
        self._workers.close()
        for worker in self._extra:
            worker.close()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def caller(
        self,
        role: str = "clinician",
        *,
        device_id: str = DEVICE,
        user_id: str = USER,
        scope: Scope = "full",
        public_key: bytes | None = None,
        ttl_s: int = 900,
    ) -> Caller:
        """A device with a logged-in user, or a hub."""
        session = RandomIds().uuid7()
        is_hub = role == "hub"
        await self.registry.put_user(user_id, [role])
        if not is_hub:
            await self.registry.put_device(device_id, scope, public_key)
        await self.registry.put_session(session, user_id, None if is_hub else device_id)
        token = self.signer.issue(
            sub=user_id, cid=CLINIC, did=None if is_hub else device_id, sid=session, site=SITE,
            roles=frozenset({role}), ttl_s=ttl_s,
        )  # fmt: skip
        return Caller(self, token, session)


@dataclass(slots=True)
class Caller:
    """Somebody with a token. `server` may be exchanged: only the base URL differs."""

    server: Server
    token: str
    session_id: str

    async def ask(self, method: str, path: str, **request: Any) -> Answer:
        headers = {"Authorization": f"Bearer {self.token}"} | request.pop("headers", {})
        response = await self.server.http.request(method, path, headers=headers, **request)
        try:
            body = json.loads(response.content)
        except ValueError:
            body = response.content
        return Answer(response.status_code, response.headers, body)

    async def push(self, *ops: Operation | dict[str, Any], **more: Any) -> Answer:
        items = [op if isinstance(op, dict) else as_json(op) for op in ops]
        return await self.ask("POST", "/v1/sync/push", json={"ops": items} | more)

    async def push_raw(self, body: bytes, **headers: str) -> Answer:
        return await self.ask(
            "POST", "/v1/sync/push", content=body, headers={"Content-Type": "application/json"} | headers
        )

    async def push_exact(self, *ops: Operation) -> Answer:
        """Their payloads byte for byte."""
        return await self.push_raw(b'{"ops":[%b]}' % b",".join(op.json() for op in ops))

    async def pull(self, cursor: str | None = None, **query: Any) -> Answer:
        parameters = query | ({"cursor": cursor} if cursor is not None else {})
        return await self.ask("GET", "/v1/sync/pull", params=parameters)

    async def pull_all(self, limit: int = 500) -> Sequence[dict[str, Any]]:
        ops: list[dict[str, Any]] = []
        cursor = None
        while True:
            page = (await self.pull(cursor, limit=limit)).body
            ops += page["ops"]
            cursor = page["next_cursor"]
            if not page["has_more"]:
                return ops

    async def raw(self, path: str) -> bytes:
        """An answer's body as it came."""
        headers = {"Authorization": f"Bearer {self.token}"}
        response = await self.server.http.get(path, headers=headers)
        assert response.status_code == 200, response.content
        return response.content

    async def status(self) -> dict[str, Any]:
        return dict((await self.ask("GET", "/v1/sync/status")).body)


@pytest.fixture(params=["hub", "cloud"])
def kind(request: pytest.FixtureRequest) -> ServerKind:
    return request.param


@pytest.fixture
async def server(kind: ServerKind, tmp_path: Path) -> AsyncIterator[Server]:
    running = await Server(kind, tmp_path / "server.db").start()
    yield running
    await running.stop()


@pytest.fixture
async def device(server: Server) -> Caller:
    return await server.caller()
