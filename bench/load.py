"""The load client: hand-made HTTP/1.1 on asyncio protocols, so that what is measured is the server.

A script says what a connection sends first and what after each answer; all connections are open before any of them
begins. Nothing is awaited between an answer and the next request. An answer that is not 200 ends the run with its
text. Refused: answers without a Content-Length, but for streams.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, cast

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
_END: Final = b"\r\n\r\n"
_CURSOR: Final = b'"next_cursor":"'
_NO_MORE: Final = b'"has_more":false'
_WHERE_CURSORS_ARE: Final = 1_024  # from either end of a page
_STREAM_TAIL: Final = 4_096
RUN_S_MAX: Final = 600


class Unexpected(Exception):
    """A server answered something that ends a measurement."""


class Script(Protocol):
    """What one connection sends."""

    def first(self) -> bytes: ...

    def then(self, body: bytes) -> bytes | None:
        """The request after this answer; None at the end."""
        ...


@dataclass(slots=True)
class Sends:
    """A list of requests, one after the other; keeps the answers."""

    requests: Sequence[bytes]
    answers: list[bytes] = field(default_factory=list)

    def first(self) -> bytes:
        return self.requests[0]

    def then(self, body: bytes) -> bytes | None:
        answers = self.answers
        answers.append(body)
        return self.requests[len(answers)] if len(answers) < len(self.requests) else None


@dataclass(slots=True)
class Pulls:
    """Pages, by following the cursor; at the end of the log, or after `lap` pages, it begins again.

    It ends after `pages`, or with the first page after `until` says so.
    """

    token: str
    limit: int
    pages: int | None = None
    lap: int | None = None
    start: bytes | None = None
    until: Callable[[], bool] = lambda: False
    keep: bool = False
    answers: list[bytes] = field(default_factory=list)
    cursors: list[bytes | None] = field(default_factory=list)
    received: int = 0

    def first(self) -> bytes:
        return self._ask(self.start)

    def then(self, body: bytes) -> bytes | None:
        self.received += 1
        if self.keep:
            self.answers.append(body)
        if self.received == self.pages or self.until():
            return None
        if is_last(body) or (self.lap and self.received % self.lap == 0):
            return self._ask(self.start)
        return self._ask(next_cursor(body))

    def _ask(self, cursor: bytes | None) -> bytes:
        if self.keep:
            self.cursors.append(cursor)
        query = f"limit={self.limit}" + (f"&cursor={cursor.decode()}" if cursor else "")
        return get(f"/v1/sync/pull?{query}", self.token)


def next_cursor(page: bytes) -> bytes:
    """The cursor that a page leads to, whichever end of it that stands at."""
    at = page.find(_CURSOR, 0, _WHERE_CURSORS_ARE)
    if at < 0:
        at = page.rfind(_CURSOR, len(page) - _WHERE_CURSORS_ARE)
    if at < 0:
        raise Unexpected("a page without next_cursor")
    at += len(_CURSOR)
    return page[at : page.index(b'"', at)]


def is_last(page: bytes) -> bool:
    """Whether nothing comes after this page, whichever end of it says so."""
    return _NO_MORE in page[:_WHERE_CURSORS_ARE] or _NO_MORE in page[-_WHERE_CURSORS_ARE:]


def get(path: str, token: str) -> bytes:
    """A GET, ready to be sent."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


def post(path: str, token: str, body: bytes, method: str = "POST") -> bytes:
    """A POST of JSON, ready to be sent."""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@dataclass(frozen=True, slots=True)
class Run:
    """How long all of it took, and each answer's wait."""

    seconds: float
    latencies: Sequence[float]

    def percentile(self, share: float) -> float:
        """The wait in seconds that this share of the answers stayed within."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class Connection(asyncio.Protocol):
    """One connection that runs one script."""

    def __init__(self, script: Script, finished: asyncio.Future[None]) -> None:
        self.latencies: list[float] = []
        self.finished = finished
        self._script = script
        self._transport: asyncio.Transport | None = None
        self._chunks: list[bytes] = []
        self._have = 0
        self._want = 0
        self._body_at = 0
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.finished.done():
            self.finished.set_exception(Unexpected(f"the server hung up: {exc}"))

    def begin(self) -> None:
        self._send(self._script.first())

    def ask(self, request: bytes) -> asyncio.Future[None]:
        """Send one request now, outside any script; done when it is answered."""
        self._script = Sends([request])
        self.finished = asyncio.get_running_loop().create_future()
        self.begin()
        return self.finished

    def close(self) -> None:
        self.finished.cancel()
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._chunks.append(data)
        self._have += len(data)
        if not self._want and not self._read_head():
            return
        if self._have < self._want:
            return
        body = b"".join(self._chunks)[self._body_at :] if len(self._chunks) > 1 else data[self._body_at :]
        self.latencies.append(time.perf_counter() - self._sent_at)
        self._chunks, self._have, self._want = [], 0, 0
        following = self._script.then(body)
        if following is not None:
            self._send(following)
        elif not self.finished.done():
            self.finished.set_result(None)

    def _read_head(self) -> bool:
        text = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        end = text.find(_END)
        if end < 0:
            return False
        length = _LENGTH.search(text, 0, end + 2)
        if not text.startswith(b"HTTP/1.1 200") or length is None:
            problem = Unexpected(text[: end + 600].decode(errors="replace"))
            if not self.finished.done():
                self.finished.set_exception(problem)
            return False
        self._body_at = end + len(_END)
        self._want = self._body_at + int(length[1])
        return True

    def _send(self, request: bytes) -> None:
        assert self._transport is not None
        self._sent_at = time.perf_counter()
        self._transport.write(request)


async def connect(port: int, script: Script) -> Connection:
    """A connection that has not begun."""
    connection = Connection(script, asyncio.get_running_loop().create_future())
    await asyncio.get_running_loop().create_connection(lambda: connection, "127.0.0.1", port)
    return connection


async def run(port: int, scripts: Iterable[Script]) -> Run:
    """Let every script run on a connection of its own, all at once."""
    connections = [await connect(port, script) for script in scripts]
    begun = time.perf_counter()
    for connection in connections:
        connection.begin()
    try:
        async with asyncio.timeout(RUN_S_MAX):
            await asyncio.gather(*(connection.finished for connection in connections))
        seconds = time.perf_counter() - begun
    finally:
        for connection in connections:
            connection.close()
    return Run(seconds, [latency for connection in connections for latency in connection.latencies])


class Stream(asyncio.Protocol):
    """A reader of the event stream, which can be asked when a text has come by."""

    def __init__(self, request: bytes) -> None:
        self.received = 0
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request
        self._tail = b""
        self._needle: bytes | None = None
        self._seen: asyncio.Future[float] | None = None
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, port: int, token: str, cursor: bytes | None) -> Stream:
        query = f"?cursor={cursor.decode()}" if cursor else ""
        request = get(f"/v1/sync/stream{query}", token)
        _, stream = await asyncio.get_running_loop().create_connection(
            lambda: cls(request), "127.0.0.1", port
        )
        async with asyncio.timeout(30):
            await stream.opened
        return stream

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        self._transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        for future in (self.opened, self._seen):
            if future is not None and not future.done():
                future.set_exception(Unexpected(f"the stream ended: {exc}"))

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        if not self.opened.done():
            if data.startswith(b"HTTP/1.1 200"):
                self.opened.set_result(None)
            else:
                self.opened.set_exception(Unexpected(data[:600].decode(errors="replace")))
        if self._needle is None:
            return
        text = self._tail + data
        if self._needle in text and self._seen is not None and not self._seen.done():
            self._seen.set_result(time.perf_counter())
            self._needle = None
        self._tail = text[-_STREAM_TAIL:]

    def expect(self, needle: bytes) -> asyncio.Future[float]:
        """The moment (`time.perf_counter`) at which this text will have come."""
        self._tail, self._needle = b"", needle
        self._seen = asyncio.get_running_loop().create_future()
        return self._seen

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
