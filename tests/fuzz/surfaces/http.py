"""Raw bytes at a port: the served HTTP face, by a real connection, over services that hand a push to its real reading.

Whatever comes, each answer is HTTP/1.1, each refusal a problem document by a code of the protocol, nothing breaks inside.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import orjson

from medxz.clock import SystemClock
from medxz.errors import REFUSALS
from medxz.ids import RandomIds
from medxz.peer.codings import Codings
from medxz.service.push_body import check_members, examine, read_push
from medxz.store.dictionaries import shipped_dictionary
from medxz.web import App, make_log
from medxz.web.connection import Connections
from medxz.work import InlineWorker
from tests.fuzz.surface import Surface, Wrong, holds
from tests.fuzz.surfaces.ops import op_seeds
from tests.unit.web.fakes import FakePush, FakeServices

CODES: Final = {refusal.code for refusal in REFUSALS} - {"internal"}
ANSWERED_S: Final = 5.0
TURNS: Final = 40  # of the loop, in which it answers what it can
_HEAD: Final = re.compile(rb"HTTP/(?:0\.9|1\.[01]) (\d{3}) [^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n")


class ReadingPush(FakePush):
    """Reads the body as a server does; what it would store it forgets."""

    async def push(self, caller: Any, body: bytes) -> bytes:
        check_members(body, examine(read_push(body).offered)[1])
        return self.answer


@dataclass
class Face:
    """The served face; `client` is the other end of a connection to it."""

    loop: asyncio.AbstractEventLoop
    log: io.BytesIO
    app: App
    connections: Connections
    unheard: list[str]  # what was raised where nobody looked

    async def exchange(self, data: bytes) -> bytes:
        """All that comes back for these bytes, and then an end of file."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        await self.loop.connect_accepted_socket(self.connections, theirs)
        try:
            async with asyncio.timeout(ANSWERED_S):
                await self._send(ours, data)
                for _ in range(TURNS):  # who sees the end of file answers nothing any more
                    await asyncio.sleep(0)
                with suppress(OSError):
                    ours.shutdown(socket.SHUT_WR)
                parts = []
                with suppress(ConnectionError):
                    while part := await self.loop.sock_recv(ours, 65_536):
                        parts.append(part)
                return b"".join(parts)
        finally:
            ours.close()

    async def _send(self, ours: socket.socket, data: bytes) -> None:
        with suppress(OSError):  # it may have hung up
            await self.loop.sock_sendall(ours, data)


@cache
def face() -> Face:
    loop = asyncio.new_event_loop()
    unheard: list[str] = []
    loop.set_exception_handler(lambda _, context: _note(unheard, context))

    async def make() -> Face:
        log, clock = io.BytesIO(), SystemClock()
        services: Any = FakeServices().but(push=ReadingPush())
        services.snapshot.chunks = [b'{"entities":0}\n']
        app = App(services, make_log(log, clock), ids=RandomIds(), clock=clock, worker=InlineWorker())
        return Face(loop, log, app, Connections(app.answer, app.refuse, app.log), unheard)

    return loop.run_until_complete(make())


def _note(unheard: list[str], context: dict[str, Any]) -> None:
    if context.get("exception") is not None:
        unheard.append(repr(context))


def http_seeds() -> Sequence[bytes]:
    push = b'{"ops":[%b]}' % op_seeds()[0]
    packing = Codings()
    packing.named([hashlib.sha256(shipped_dictionary()).hexdigest()])
    zstd = packing.encode("zstd", push)
    head = b"Host: h\r\nAuthorization: Bearer good\r\n"
    return [
        b"GET /v1/info HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /v1/sync/pull?cursor=c&limit=1 HTTP/1.1\r\n" + head + b"X-Request-ID: r\r\nAccept-Encoding: zstd\r\n\r\n",
        b"POST /v1/sync/push HTTP/1.1\r\n" + head + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(push) + push,
        b"POST /v1/sync/push HTTP/1.1\r\n" + head + b"Content-Encoding: zstd\r\nContent-Length: %d\r\n\r\n" % len(zstd) + zstd,
        b"POST /v1/sync/push HTTP/1.1\r\n" + head + b"Transfer-Encoding: chunked\r\n\r\n3\r\n{\"o\r\n5\r\nps\":}\r\n0\r\n\r\n",
        b"POST /v1/auth/login HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}GET /health/live HTTP/1.0\r\n\r\n",
        b"OPTIONS /v1/info HTTP/1.1\r\nHost: h\r\nOrigin: https://a\r\nAccess-Control-Request-Method: GET\r\n\r\n",
        b"HEAD /openapi.json HTTP/1.1\r\nHost: h\r\nIf-None-Match: *\r\n\r\nGET /docs HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /v1/sync/live?dictionary=" + b"a" * 64 + b" HTTP/1.1\r\n" + head + b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"GET /v1/sync/snapshot HTTP/1.1\r\n" + head + b"Accept-Encoding: gzip\r\n\r\n",
        b"GET /v1/entities/Patient/../%2e%2e/x?q=%ff HTTP/1.1\r\n" + head + b"\r\n",
        b"POST /v1/sync/resume HTTP/1.1\r\n" + head + b"Content-Length: 11\r\n\r\n{\"have\":{}}",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
    ]  # fmt: skip


def take_http(data: bytes) -> str:
    """The answers to these bytes."""
    served = face()
    served.log.seek(0)
    served.log.truncate()
    try:
        raw = served.loop.run_until_complete(served.exchange(data))
    except TimeoutError:
        raise Wrong("every connection comes to its end") from None
    lines = [orjson.loads(line) for line in served.log.getvalue().splitlines()]
    broke = [line for line in lines if line.get("level") == "error"]
    holds("nothing breaks inside", not broke, broke)
    holds("nothing is raised where nobody looks", not served.unheard, served.unheard[-1:])
    statuses = []
    while raw:
        status, raw = _one_answer(raw)
        statuses.append(status)
        if status.startswith(("101", "cut")):
            break
    return " ".join(dict.fromkeys(statuses))


def _one_answer(raw: bytes) -> tuple[str, bytes]:
    """What the first answer says, and what follows it."""
    found = _HEAD.match(raw)
    if found is None:
        holds("an answer is HTTP", raw.startswith(b"HTTP/") and b"\r\n\r\n" not in raw, raw[:200])
        return "cut", b""
    status, rest = int(found[1]), raw[found.end() :]
    headers = {
        name.lower(): value for name, _, value in (line.partition(b": ") for line in found[2].split(b"\r\n"))
    }
    if status == 100:
        return "100", rest
    if b"content-length" not in headers or b"chunked" in headers.get(b"transfer-encoding", b""):
        return f"{status} stream", b""
    length = int(headers[b"content-length"])
    if rest.startswith(b"HTTP/"):  # of a HEAD: there is no body
        return str(status), rest
    body, rest = rest[:length], rest[length:]
    holds("a request id is told", b"x-request-id" in headers)
    if status < 400 or headers.get(b"content-type") != b"application/problem+json":
        holds("a refusal is a problem document", status < 400 or not body, status, body)
        return str(status), rest
    if len(body) < length:
        return f"{status}", b""  # the head of a HEAD's answer
    problem = orjson.loads(body)
    holds("a refusal's code is of the protocol", problem["code"] in CODES, problem)
    holds("its status and id are its own", problem["status"] == status, problem)
    holds("its id is in the header", problem["request_id"].encode() == headers[b"x-request-id"], problem)
    return f"{status} {problem['code']}", rest


SURFACES: Final = (
    Surface("http", "a served App, raw bytes", take_http, http_seeds, is_json=False, short_run=200),
)
