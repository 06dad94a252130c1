"""Small services that the HTTP face is tried against: what they answer is told by the test."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

from medxz import errors, wire
from medxz.service.accounts import Origin
from medxz.service.backups import NoBackups
from medxz.service.fleet import NoFleet, Operator
from medxz.service.releases import NoReleases
from medxz.trust.operators import PREFIX

SERVER_ID = "0190c2f3-0000-7000-8000-000000000001"
EPOCH = "0190c2f3-0000-7000-8000-000000000002"
CLINIC_ID = "0190c2f3-0000-7000-8000-000000000003"
DEVICE_ID = "0190c2f3-0000-7000-8000-000000000004"
DICTIONARY = b'{"op_id":"","clinic_id":"","payload":{"resourceType":"Observation","status":"final"}}' * 20
DICTIONARY_ID = hashlib.sha256(DICTIONARY).hexdigest()


HUB_ID = "0190c2f3-0000-7000-8000-000000000006"


CONFIG = wire.ConfigAnswer(
    clinic_id=CLINIC_ID, keep_own_days=14, offline_session_hours=72, require_signed_ops=False,
    routing={"clinician": ["hub", "cloud"]}, targets=[], ca_certificates=[],
)  # fmt: skip
SESSION = wire.SessionAnswer(
    access_token="t", refresh_token="r", expires_in=900, roles=["clinician"],
    user=wire.SessionUser(user_id=DEVICE_ID, name="N", email="n@example.org"),
    clinic=wire.SessionClinic(clinic_id=CLINIC_ID, name="C"),
)  # fmt: skip


@dataclass(frozen=True)
class FakeCaller:
    clinic_id: str = CLINIC_ID
    device_id: str | None = DEVICE_ID
    user_id: str = "0190c2f3-0000-7000-8000-000000000005"
    hub_id: str | None = None
    roles: frozenset[str] = frozenset({"clinician"})

    @property
    def name(self) -> str:
        return self.device_id or self.user_id

    @property
    def owner(self) -> tuple[str, str]:
        return self.clinic_id, self.name


class FakeGate:
    async def identify(self, bearer: str | None) -> FakeCaller:
        if not bearer:
            raise errors.TokenMissing("this request needs a token")
        if bearer == "expired":
            raise errors.TokenExpired("the token has ended")
        if bearer == "hub":
            return FakeCaller(device_id=None, user_id=HUB_ID, hub_id=HUB_ID, roles=frozenset({"hub"}))
        if bearer == "admin":
            return FakeCaller(roles=frozenset({"admin"}))
        if not bearer.startswith("good"):
            raise errors.TokenInvalid("the token is not one of ours")
        return FakeCaller(device_id=DEVICE_ID[: -len(bearer)] + bearer if bearer != "good" else DEVICE_ID)


class FakeThrottle:
    def __init__(self) -> None:
        self.refuses = False

    def take_request(self, caller: FakeCaller) -> None:
        if self.refuses:
            raise errors.RateLimited("slower, please", retry_after_s=7)


class FakePush:
    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.answer = b'{"results":[]}'
        self.raises: BaseException | None = None
        self.hold: asyncio.Event | None = None
        self.began = asyncio.Event()

    async def push(self, caller: FakeCaller, body: bytes) -> bytes:
        self.bodies.append(body)
        self.began.set()
        if self.hold is not None:
            await self.hold.wait()
        if self.raises is not None:
            raise self.raises
        return self.answer


@dataclass(frozen=True)
class Chunk:
    cursor: str
    ops_json: bytes
    revision: int | None = None


@dataclass
class FakePull:
    answer: bytes = b'{"ops":[],"has_more":false}'
    asked: list[tuple[str | None, int, float]] = field(default_factory=list)
    resumed: list[wire.ResumeRequest] = field(default_factory=list)
    chunks: asyncio.Queue[Chunk | BaseException | None] = field(default_factory=asyncio.Queue)
    streams_open: int = 0
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def page(
        self, caller: FakeCaller, cursor: str | None, limit: int, wait_s: float
    ) -> tuple[bytes, ...]:
        self.asked.append((cursor, limit, wait_s))
        if cursor == "nowhere":
            raise errors.BadCursor("this cursor is not one of this server's")
        if wait_s > 0:
            self.waiting.set()
            try:
                await asyncio.sleep(wait_s)
            finally:
                self.ended.set()
        half = len(self.answer) // 2
        return self.answer[:half], self.answer[half:]

    async def resume(self, caller: FakeCaller, message: wire.ResumeRequest) -> wire.ResumeAnswer:
        self.resumed.append(message)
        return wire.ResumeAnswer(cursor="c-1")

    async def stream(
        self, caller: FakeCaller, cursor: str | None, ping_s: float | None = None
    ) -> AsyncIterator[Chunk]:
        self.asked.append((cursor, 0, 0.0))
        self.streams_open += 1
        try:
            if self.chunks.empty():
                yield Chunk("c-0", b"")
            while (chunk := await self.chunks.get()) is not None:
                if isinstance(chunk, BaseException):
                    raise chunk
                yield chunk
        finally:
            self.streams_open -= 1
            self.ended.set()


class FakeSnapshot:
    """Chunks that a test makes; `asked` counts those that were asked for, so that it sees who is ahead of whom."""

    def __init__(self) -> None:
        self.chunks: list[bytes | BaseException] = [b'{"entities":0}\n']
        self.asked = 0
        self.being_read = 0
        self.hold: asyncio.Event | None = None

    async def lines(self, caller: FakeCaller) -> AsyncIterator[bytes]:
        self.being_read += 1
        try:
            for chunk in self.chunks:
                self.asked += 1
                if isinstance(chunk, BaseException):
                    raise chunk
                yield chunk
                if self.hold is not None:
                    await self.hold.wait()
        finally:
            self.being_read -= 1


class FakeStatus:
    async def status(self, caller: FakeCaller) -> wire.StatusAnswer:
        return wire.StatusAnswer(
            server_id=SERVER_ID, epoch=EPOCH, last_push_at=None, last_pull_at=None, received_through=0,
            cloud_through=0, cloud_epoch=None, open_conflicts=0, refused_upstream=[],
        )  # fmt: skip

    async def watermarks(self, caller: FakeCaller) -> wire.WatermarksAnswer:
        raise errors.Forbidden("this needs the role hub or admin")


class FakeReviews:
    async def list(self, caller: FakeCaller, cursor: str | None, limit: int) -> wire.ReviewsAnswer:
        return wire.ReviewsAnswer(reviews=[], next_cursor=None)


class FakeAudit:
    def __init__(self) -> None:
        self.asked: list[tuple[dict[str, str], str | None, int]] = []

    async def page(
        self, caller: FakeCaller, query: dict[str, str], cursor: str | None, limit: int
    ) -> wire.AuditAnswer:
        self.asked.append((query, cursor, limit))
        return wire.AuditAnswer(entries=[], next_cursor=None)

    async def verify(self, caller: FakeCaller) -> wire.AuditVerifyAnswer:
        return wire.AuditVerifyAnswer(ok=True, chains=[])


class FakeAccounts:
    """`asked`: what was asked of it, with what."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.revision = 7

    async def login(self, message: wire.LoginRequest, origin: Origin) -> wire.SessionAnswer:
        self.asked.append(("login", message, origin))
        if message.password == "wrong":
            raise errors.CredentialsInvalid("no such address and password")
        return SESSION

    async def refresh(self, message: wire.RefreshRequest, origin: Origin) -> wire.SessionAnswer:
        self.asked.append(("refresh", message, origin))
        return SESSION

    async def logout(self, caller: FakeCaller | None, message: wire.LogoutRequest) -> None:
        self.asked.append(("logout", caller, message))

    async def enrol(self, message: wire.EnrolRequest, origin: Origin) -> wire.EnrolAnswer:
        self.asked.append(("enrol", message, origin))
        return wire.EnrolAnswer(
            device_id=DEVICE_ID, clinic_id=CLINIC_ID, site_id=CLINIC_ID, scope="full", ca_certificates=[],
            targets=[],
        )  # fmt: skip

    async def make_code(self, caller: FakeCaller, message: wire.CodeRequest) -> wire.CodeAnswer:
        self.asked.append(("code", caller, message))
        return wire.CodeAnswer(code="ABCD2345", expires_at="2026-01-01T00:00:00.000Z", url="u", fp="f")

    async def hub_token(self, message: wire.AssertionRequest, origin: Origin) -> wire.HubTokenAnswer:
        self.asked.append(("hub_token", message, origin))
        return wire.HubTokenAnswer(access_token="t", expires_in=900)

    def keys(self) -> wire.JwksAnswer:
        return wire.JwksAnswer(keys=[])

    async def directory(self, caller: FakeCaller, after: int | None) -> wire.DirectoryAnswer | None:
        self.asked.append(("directory", caller, after))
        if after == self.revision:
            return None
        return wire.DirectoryAnswer(
            revision=self.revision, users=[], devices=[], revoked_sessions=[], sites=[], hubs=[],
            keys=wire.JwksAnswer(keys=[]), config=CONFIG,
        )  # fmt: skip

    async def reenrol(self, caller: FakeCaller, message: wire.ReenrolRequest) -> wire.ReenrolAnswer:
        self.asked.append(("reenrol", caller, message))
        return wire.ReenrolAnswer(
            device_id=DEVICE_ID,
            clinic_id=CLINIC_ID,
            site_id=CLINIC_ID,
            scope="full",
            access_token="t",
            ca_certificates=[],
            targets=[],
        )


class FakeDescribe:
    def info(self) -> wire.InfoAnswer:
        return wire.InfoAnswer(
            server_id=SERVER_ID, kind="hub", epoch=EPOCH, protocol=["1.0"], version="0.1.0",
            time="2026-01-01T00:00:00.000Z", limits=wire.InfoLimits(),
            dictionaries=[
                wire.DictionaryInfo(
                    id=DICTIONARY_ID, url=f"/v1/dictionaries/{DICTIONARY_ID}", bytes=len(DICTIONARY)
                )
            ],
        )  # fmt: skip

    def dictionary(self, dictionary_id: str) -> bytes:
        if dictionary_id != DICTIONARY_ID:
            raise errors.NotFound("there is no such dictionary")
        return DICTIONARY


class FakeConfig:
    def told(self, caller: FakeCaller) -> wire.ConfigAnswer:
        return CONFIG


class FakeHealth:
    def __init__(self) -> None:
        self.ok = True

    async def live(self) -> wire.HealthAnswer:
        return wire.HealthAnswer(ok=True, checks=[])

    async def ready(self) -> wire.HealthAnswer:
        return wire.HealthAnswer(ok=self.ok, checks=[wire.Check(name="store", ok=self.ok, detail="")])

    async def full(self) -> wire.HealthAnswer:
        return await self.ready()


class FakeMetrics:
    def __init__(self) -> None:
        self.seen: list[tuple[str, int]] = []

    def render(self) -> bytes:
        return b"# TYPE medxz_up gauge\nmedxz_up 1\n"

    def observe(self, endpoint: str, status: int, seconds: float) -> None:
        self.seen.append((endpoint, status))


class FakeFleet(NoFleet):
    """It lets an operator in, and has nothing."""

    async def identify(self, bearer: str | None) -> Operator:
        if bearer != PREFIX + "good":
            raise errors.TokenInvalid("nobody here has this token")
        return Operator(HUB_ID, "Ada", DEVICE_ID)


@dataclass(frozen=True)
class FakeServices:
    """The server's and its one clinic's."""

    gate: FakeGate = field(default_factory=FakeGate)
    throttle: FakeThrottle = field(default_factory=FakeThrottle)
    push: FakePush = field(default_factory=FakePush)
    pull: FakePull = field(default_factory=FakePull)
    snapshot: FakeSnapshot = field(default_factory=FakeSnapshot)
    status: FakeStatus = field(default_factory=FakeStatus)
    reviews: FakeReviews = field(default_factory=FakeReviews)
    accounts: FakeAccounts = field(default_factory=FakeAccounts)
    audit: FakeAudit = field(default_factory=FakeAudit)
    config: FakeConfig = field(default_factory=FakeConfig)
    describe: FakeDescribe = field(default_factory=FakeDescribe)
    health: FakeHealth = field(default_factory=FakeHealth)
    metrics: FakeMetrics = field(default_factory=FakeMetrics)
    releases: NoReleases = field(default_factory=NoReleases)
    backups: NoBackups = field(default_factory=NoBackups)
    fleet: FakeFleet = field(default_factory=FakeFleet)

    async def clinic(self, caller: FakeCaller) -> FakeServices:
        return self

    def but(self, **others: Any) -> FakeServices:
        return replace(self, **others)
