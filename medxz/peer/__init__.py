"""A server as its client sees it: one `Peer` is one base URL, spoken to over HTTP/1.1 with JSON.

A problem document becomes `PeerRefused`. No answer, an answer cut short, one beyond its bounds or one that is not
in this protocol becomes `PeerUnreachable`: nothing is known of what that server did, and asking again is safe,
because every request is idempotent. Time limits are on standing still, never on the whole: a slow link is fine.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Final

import httpx
import msgspec
import zstandard

from medxz import limits, wire
from medxz.errors import ConfigurationError, PeerUnreachable, PeerUntrusted
from medxz.have import Have
from medxz.ids import Ids, RandomIds
from medxz.peer.answers import (
    ANSWER_BYTES_MAX,
    PROBLEM_CHARS_MAX,
    Answered,
    check_ops,
    granted,
    inflated,
    problem_of,
    read_model,
    read_struct,
)
from medxz.peer.events import EventParser, stream_page
from medxz.peer.lines import read_snapshot
from medxz.replicate import SnapshotPart, StreamPage

CONNECT_TIMEOUT_S: Final = 5.0
IDLE_TIMEOUT_S: Final = 30.0
COMPRESS_BYTES_MIN: Final = 512
COMPRESS_LEVEL: Final = 3
# what a send may leave in the kernel: on a thin link a larger buffer would look like a server that stands still
SEND_BUFFER_BYTES: Final = 128 * limits.KIB
SEND_CHUNK_BYTES: Final = 16 * limits.KIB


class Peer:
    """The requests of the protocol that a client makes. `token` is asked anew for each of them."""

    def __init__(
        self,
        url: str,
        *,
        token: Callable[[], str | None] = lambda: None,
        ssl_context: ssl.SSLContext | None = None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
        ids: Ids | None = None,
    ) -> None:
        self.url = _checked_url(url)
        self._token = token
        self._ids = ids or RandomIds()
        self._idle_s = idle_timeout_s
        self._timeout = httpx.Timeout(idle_timeout_s, connect=connect_timeout_s)
        self._takes_zstd = True
        self._client = httpx.AsyncClient(
            base_url=self.url,
            # the environment's proxies are for the internet; a hub is in the next room
            trust_env=False,
            transport=httpx.AsyncHTTPTransport(
                verify=ssl_context if ssl_context is not None else True,
                trust_env=False,
                socket_options=[_send_buffer()],
            ),
        )

    async def aclose(self) -> None:
        await self._client.aclose()

    async def info(self) -> wire.InfoAnswer:
        return read_model(await self._get("/v1/info"), wire.InfoAnswer)

    async def status(self) -> wire.StatusAnswer:
        return read_model(await self._get("/v1/sync/status"), wire.StatusAnswer)

    async def config(self) -> wire.ConfigAnswer:
        return read_model(await self._get("/v1/config"), wire.ConfigAnswer)

    async def push(self, ops: Sequence[bytes]) -> wire.PushAnswer:
        """Hand over ops, each the JSON text that its author wrote. The answer has one result for each, in order."""
        answered = await self._post("/v1/sync/push", b'{"ops":[' + b",".join(ops) + b"]}")
        answer = read_struct(answered, wire.PushAnswer)
        if len(answer.results) != len(ops):
            raise PeerUnreachable(f"{self.url} gave {len(answer.results)} results for {len(ops)} ops")
        return answer

    async def pull(self, cursor: str | None, *, limit: int, wait_s: int = 0) -> wire.PullAnswer:
        """A page of the log after the cursor, every op held against the rules and its own hash."""
        query = {"limit": str(limit)} | ({"wait": str(wait_s)} if wait_s else {})
        query |= {"cursor": cursor} if cursor else {}
        answered = await self._get("/v1/sync/pull", query, longer_s=wait_s)
        page = read_struct(answered, wire.PullAnswer)
        check_ops(page.ops)
        return page

    async def resume(self, have: Have) -> str:
        """The latest cursor before which this side misses nothing."""
        wanted = {device_id: numbers.to_wire() for device_id, numbers in have.items()}
        body = msgspec.json.encode({"have": wanted})
        return read_model(await self._post("/v1/sync/resume", body), wire.ResumeAnswer).cursor

    async def reenrol(self, request: wire.ReenrolRequest) -> wire.ReenrolAnswer:
        answered = await self._post("/v1/enroll", request.model_dump_json().encode())
        return read_model(answered, wire.ReenrolAnswer)

    async def stream(self, cursor: str | None) -> AsyncGenerator[StreamPage, None]:
        """The log as it grows. The first page, without ops, says that the stream stands; pings are such pages too."""
        query = {"cursor": cursor} if cursor else {}
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        async with self._send("GET", "/v1/sync/stream", query=query, headers=headers) as response:
            if response.status_code != 200:
                raise problem_of(await self._whole(response))
            if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
                raise PeerUnreachable(f"{self.url} answered with something that is no stream")
            yield StreamPage(cursor=None, ops=[])
            events = EventParser()
            async for chunk in response.aiter_raw():
                for event in events.feed(chunk):
                    yield stream_page(event)

    async def snapshot(self) -> AsyncGenerator[SnapshotPart, None]:
        """Every entity that this caller may hold, in place of the whole log. The first part says where to go on from."""
        async with self._send("GET", "/v1/sync/snapshot") as response:
            if response.status_code != 200:
                raise problem_of(await self._whole(response))
            coding = response.headers.get("Content-Encoding", "identity")
            async with aclosing(read_snapshot(coding, response.aiter_raw())) as parts:
                async for part in parts:
                    yield part

    # ------------------------------------------------------------------------------------------- transport

    async def _get(self, path: str, query: Mapping[str, str] | None = None, longer_s: float = 0) -> Answered:
        async with self._send("GET", path, query=query, longer_s=longer_s) as response:
            return granted(await self._whole(response))

    async def _post(self, path: str, body: bytes) -> Answered:
        answered = await self._posted(path, body, compress=self._takes_zstd)
        if answered.status == httpx.codes.UNSUPPORTED_MEDIA_TYPE and self._takes_zstd:
            self._takes_zstd = False  # an old server: it says so once
            answered = await self._posted(path, body, compress=False)
        return granted(answered)

    async def _posted(self, path: str, body: bytes, *, compress: bool) -> Answered:
        headers = {"Content-Type": "application/json"}
        if compress and len(body) >= COMPRESS_BYTES_MIN:
            body = zstandard.ZstdCompressor(level=COMPRESS_LEVEL).compress(body)
            headers["Content-Encoding"] = "zstd"
        async with self._send("POST", path, headers=headers, body=body) as response:
            return await self._whole(response)

    @asynccontextmanager
    async def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        longer_s: float = 0,
    ) -> AsyncIterator[httpx.Response]:
        sent = {"Accept-Encoding": "zstd, gzip", "X-Request-ID": self._ids.uuid7(), **(headers or {})}
        if token := self._token():
            sent["Authorization"] = f"Bearer {token}"
        if body is not None:
            sent["Content-Length"] = str(len(body))
        timeout = httpx.Timeout(self._timeout, read=self._idle_s + longer_s) if longer_s else self._timeout
        request = self._client.build_request(
            method, path, params=query, headers=sent, timeout=timeout,
            content=None if body is None else _in_chunks(body),
        )  # fmt: skip
        try:
            response = await self._client.send(request, stream=True)
            try:
                yield response
            finally:
                await response.aclose()
        except (httpx.HTTPError, httpx.StreamError) as error:
            kind = PeerUntrusted if _is_untrusted(error) else PeerUnreachable
            raise kind(f"{self.url} {_what_happened(error)}") from error

    async def _whole(self, response: httpx.Response) -> Answered:
        raw = bytearray()
        async for chunk in response.aiter_raw():
            raw += chunk
            if len(raw) > ANSWER_BYTES_MAX:
                raise PeerUnreachable(f"{self.url} answered with more than {ANSWER_BYTES_MAX} bytes")
        body = inflated(bytes(raw), response.headers.get("Content-Encoding", "identity"))
        return Answered(response.status_code, response.headers, body)


def _checked_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError):
        parsed = httpx.URL("")
    if parsed.scheme not in {"http", "https"} or not parsed.host or parsed.query or parsed.userinfo:
        raise ConfigurationError([f"{url!r} is no address of a server; write https://host:port"])
    return url.rstrip("/")


def _send_buffer() -> tuple[int, int, int]:
    return socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES


async def _in_chunks(body: bytes) -> AsyncIterator[bytes]:
    """In pieces, so that the time limit is on each of them."""
    for start in range(0, len(body), SEND_CHUNK_BYTES):
        yield body[start : start + SEND_CHUNK_BYTES]


def _what_happened(error: Exception) -> str:
    match error:
        case httpx.ConnectTimeout() | httpx.PoolTimeout():
            return "can't be reached: it does not answer"
        case httpx.ConnectError():
            return f"can't be reached: {_innermost(error)}"
        case httpx.TimeoutException():
            return "stands still: nothing came or went for too long"
        case _:
            return f"broke off: {_innermost(error)}"


def _is_untrusted(error: BaseException | None) -> bool:
    """Whether it was the server's certificate; each layer below names the error that it met as its cause."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error is not None


def _innermost(error: BaseException) -> str:
    text = str(error)
    return text[:PROBLEM_CHARS_MAX] if text else type(error).__name__
