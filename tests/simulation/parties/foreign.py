"""Clients that are none of ours: they speak HTTP, and tell of every page and every answer at the moment it came.

They know the protocol's words and nothing of our client. Refused, as an `Unanswered`: no answer, or one that is not asked for.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any, Final, Self

import httpx
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from medxz import wire
from medxz.clock import format_time
from medxz.errors import MedxzError
from medxz.op import Operation, sign
from medxz.scope import Scope
from tests.simulation.parties.standing import Machine

TIMEOUT_S: Final = 20.0
_EPOCH_CHANGED: Final = 409


class Unanswered(MedxzError):
    """A server that did not answer, or not as it was asked. `status` is 0 where there was no answer."""

    def __init__(self, what: str, status: int = 0, code: str = "") -> None:
        super().__init__(what)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Seen:
    """A page of a pull, or one event of a stream. `after` is the cursor that was asked with, None for the beginning."""

    server_id: str
    epoch: str
    scope: Scope
    after: str | None
    cursor: str
    ops: tuple[tuple[str, int], ...]
    at_end: bool


@dataclass(frozen=True, slots=True)
class Resumed:
    """A cursor that a server gave for what the reader had."""

    server_id: str
    epoch: str
    cursor: str
    have: frozenset[str]


@dataclass(frozen=True, slots=True)
class Answered:
    """What a server said of one op that was pushed. `status`: accepted, duplicate, conflict, retry, rejected."""

    op_id: str
    status: str
    code: str | None
    server_id: str
    epoch: str
    server_seq: int | None

    @classmethod
    def of(cls, answer: wire.PushAnswer, result: wire.PushResult) -> Self:
        return cls(
            result.op_id or "", result.status, result.code, answer.server_id, answer.epoch, result.server_seq
        )

    @property
    def is_stored(self) -> bool:
        return self.status in {"accepted", "duplicate", "conflict"}


class _Client:
    """Requests to one server, from one machine. Every one has a connection of its own."""

    def __init__(self, machine: Machine, server_url: str) -> None:
        self.machine: Final = machine
        self.server_url = server_url
        self.token = ""

    async def ask(self, method: str, path: str, body: object = None, **query: str | int) -> Any:
        """What is answered, as JSON; Unanswered where that is no success."""
        return _json(await self.machine.call(self._ask(method, path, body, **query)))

    async def _ask(self, method: str, path: str, body: object = None, **query: str | int) -> bytes:
        try:
            async with _http() as http:
                answer = await http.request(
                    method, self.server_url + path, params=query, headers=self._headers(),
                    content=None if body is None else msgspec.json.encode(body),
                )  # fmt: skip
        except httpx.HTTPError as error:
            raise Unanswered(f"{self.server_url}: {type(error).__name__}") from None
        if answer.status_code != httpx.codes.OK:
            told = _json(answer.content)
            code = str(told.get("code", "")) if isinstance(told, dict) else ""
            raise Unanswered(f"{path}: {answer.status_code} {code}", answer.status_code, code)
        return answer.content

    def _headers(self) -> dict[str, str]:
        bearer = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return {"Content-Type": "application/json", **bearer}


class Pusher(_Client):
    """A device that somebody else wrote: it makes ops and pushes them itself, signed or not."""

    def __init__(self, machine: Machine, server_url: str, *, signs: bool = False) -> None:
        super().__init__(machine, server_url)
        self.signs = signs
        self.clinic_id = ""
        self.device_id = ""
        self.user_id = ""
        self.scope: Scope = "full"
        self.unsent: list[Operation] = []
        self.on_answer: Callable[[Answered], None] = lambda _: None
        self.on_op: Callable[[Operation], None] = lambda _: None
        self._key: Final = Ed25519PrivateKey.generate()
        self._number = 0
        self._who = ("", "")

    @property
    def name(self) -> str:
        return self.machine.name

    async def enrol(self, code: str, email: str, password: str) -> None:
        """Become a device of the clinic, with somebody logged in."""
        public = base64.urlsafe_b64encode(self._key.public_key().public_bytes_raw()).rstrip(b"=").decode()
        asked = {"code": code, "name": self.name, "public_key": public}
        told = await self.ask("POST", "/v1/enroll", asked)
        self.clinic_id, self.device_id, self.scope = told["clinic_id"], told["device_id"], told["scope"]
        self._who = email, password
        await self.login()

    async def login(self) -> None:
        """Again, when the token has ended."""
        email, password = self._who
        self.token = ""
        asked = {"email": email, "password": password, "device_id": self.device_id}
        told = await self.ask("POST", "/v1/auth/login", asked)
        self.user_id, self.token = told["user"]["user_id"], told["access_token"]

    def make(self, entity_type: str, payload: dict[str, Any], **envelope: Any) -> Operation:
        """The next op of this device: it waits to be pushed. `envelope` is what is to be otherwise in it."""
        self._number += 1
        machine = self.machine
        fields: dict[str, Any] = {
            "op_id": machine.ids.uuid7(),
            "clinic_id": self.clinic_id,
            "device_id": self.device_id,
            "user_id": self.user_id,
            "entity_type": entity_type,
            "entity_id": machine.ids.uuid7(),
            "op_type": "create",
            "parents": (),
            "device_time": format_time(machine.clock.now_ms()),
            "device_seq": self._number,
            "schema_version": 1,
            "payload": msgspec.Raw(msgspec.json.encode(payload)),
        }
        op = Operation(**fields | envelope)
        if self.signs:
            op = msgspec.structs.replace(op, signature=sign(op.digest(), self._key))
        self.unsent.append(op)
        self.on_op(op)
        return op

    async def push(self, ops: Sequence[Operation] | None = None) -> list[Answered]:
        """Push these, or all that no server has taken yet. Each answer is told of at once."""
        sent = list(self.unsent) if ops is None else list(ops)
        return await self.machine.call(self._push(sent)) if sent else []

    async def _push(self, sent: Sequence[Operation]) -> list[Answered]:
        answer = _read(await self._ask("POST", "/v1/sync/push", {"ops": sent}), wire.PushAnswer)
        answers = [Answered.of(answer, result) for result in answer.results]
        for answered in answers:  # before anything else can happen
            self.on_answer(answered)
        done = {answered.op_id for answered in answers if answered.status != "retry"}
        self.unsent = [op for op in self.unsent if op.op_id not in done]
        return answers


class Reader(_Client):
    """Follows the log of one server, by the token of somebody who is enrolled. It keeps its cursor, whatever happens."""

    def __init__(self, machine: Machine, server_url: str, lender: Pusher) -> None:
        super().__init__(machine, server_url)
        self.on_page: Callable[[Seen], None] = lambda _: None
        self.on_resume: Callable[[Resumed], None] = lambda _: None
        self.cursor: str | None = None
        self.have: Final[dict[str, tuple[str, int]]] = {}
        self._lender: Final = lender
        self._log = ("", "")

    @property
    def name(self) -> str:
        return f"{self.machine.name} reads {self.server_url}"

    async def pull(self, limit: int = 100, wait_s: int = 0) -> bool:
        """One page; whether there is more. After a cursor of another epoch it goes on by what it has."""
        self.token = self._lender.token
        return await self.machine.call(self._pull(limit, wait_s))

    async def stream(self, seconds: float) -> None:
        """Follow the stream for so long, or until it ends. It needs a cursor: pull first."""
        self.token = self._lender.token
        await self.machine.call(self._stream(seconds))

    async def resume(self) -> None:
        """Ask where to go on, by what it has."""
        self.token = self._lender.token
        await self.machine.call(self._resume())

    async def _pull(self, limit: int, wait_s: int) -> bool:
        query: dict[str, str | int] = {"limit": limit, "wait": wait_s}
        if self.cursor is not None:
            query["cursor"] = self.cursor
        try:
            page = _read(await self._ask("GET", "/v1/sync/pull", **query), wire.PullAnswer)
        except Unanswered as refused:
            if refused.status != _EPOCH_CHANGED:
                raise
            await self._resume()
            return True
        self._log = page.server_id, page.epoch
        self._take(page.ops, page.next_cursor, at_end=not page.has_more)
        return page.has_more

    async def _resume(self) -> None:
        have: dict[str, list[list[int]]] = {}
        for device_id, number in sorted(self.have.values()):
            have.setdefault(device_id, []).append([number, number])
        before = _json(await self._ask("GET", "/v1/info"))
        told = _json(await self._ask("POST", "/v1/sync/resume", {"have": have}))
        after = _json(await self._ask("GET", "/v1/info"))
        if before["epoch"] != after["epoch"]:
            raise Unanswered("the epoch changed meanwhile")
        self._log, self.cursor = (after["server_id"], after["epoch"]), told["cursor"]
        self.on_resume(Resumed(*self._log, told["cursor"], frozenset(self.have)))

    async def _stream(self, seconds: float) -> None:
        url, query = f"{self.server_url}/v1/sync/stream", {"cursor": self.cursor or ""}
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), AsyncExitStack() as stack:
                try:
                    http = await stack.enter_async_context(_http())
                    asking = http.stream("GET", url, params=query, headers=self._headers())
                    answer = await stack.enter_async_context(asking)
                    if answer.status_code != httpx.codes.OK:
                        raise Unanswered(f"stream: {answer.status_code}", answer.status_code)
                    await self._follow(answer)
                except httpx.HTTPError as error:
                    raise Unanswered(f"{self.server_url}: {type(error).__name__}") from None

    async def _follow(self, answer: httpx.Response) -> None:
        event: dict[str, str] = {}
        async for line in answer.aiter_lines():
            name, _, value = line.partition(": ")
            if line:
                event[name] = value
                continue
            if event.get("event") == "ops":
                self._take(_read(event["data"].encode(), list[Operation]), event["id"], at_end=False)
            event = {}

    def _take(self, ops: Sequence[Operation], cursor: str, *, at_end: bool) -> None:
        numbers = tuple((op.op_id, op.server_seq or 0) for op in ops)
        after, self.cursor = self.cursor, cursor
        self.have.update({op.op_id: (op.device_id, op.device_seq) for op in ops})
        self.on_page(Seen(*self._log, self._lender.scope, after, cursor, numbers, at_end))


def _http() -> httpx.AsyncClient:
    """Without TLS there are no roots to load, which would take a while."""
    return httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False, verify=False)


def _json(text: bytes) -> Any:
    return _read(text, Any) if text else None


def _read(text: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.MsgspecError as error:
        raise Unanswered(f"an answer of another form: {error}") from None
