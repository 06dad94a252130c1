"""One base URL over HTTP/1.1: requests out, whole answers in, within bounds and with the token of the moment.

A problem document becomes `PeerRefused`. No answer, an answer cut short, one beyond its bounds or one that is not
in this protocol becomes `PeerUnreachable`. Time limits are on standing still, never on the whole. A token that has
ended meanwhile is exchanged once, and the request is sent again.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

import httpx

from medxz import limits
from medxz.errors import ConfigurationError, PeerRefused, PeerUnreachable
from medxz.ids import Ids, RandomIds
from medxz.peer.answers import (
    ANSWER_BYTES_MAX,
    Answered,
    granted,
    inflated,
    problem_of,
)
from medxz.peer.codings import Codings
from medxz.peer.ear import Ear, Listening
from medxz.peer.failures import failure_of
from medxz.peer.live import LiveLine
from medxz.peer.network import ClosingBackend
from medxz.peer.request import Request

CONNECT_TIMEOUT_S: Final = 5.0
IDLE_TIMEOUT_S: Final = 30.0
# what a send may leave in the kernel: on a thin link a larger buffer would look like a server that stands still
SEND_BUFFER_BYTES: Final = 128 * limits.KIB
SEND_CHUNK_BYTES: Final = 16 * limits.KIB
CLIENT_ADDRESS: Final = "Medxz-Client-Address"

# what httpx says of itself in every request, and no server of ours asks
_UNASKED: Final = ("Accept", "Connection", "User-Agent")


class Credentials(Protocol):
    """Where the tokens of requests come from."""

    async def token(self) -> str | None:
        """The one for the next request."""
        ...

    async def ended(self, token: str) -> bool:
        """A server says that this one has ended. True: there is another, ask again."""
        ...


TokenSource = Callable[[], str | None] | Credentials


class Transport:
    """What every group of calls stands on."""

    def __init__(
        self,
        url: str,
        *,
        token: TokenSource = lambda: None,
        ssl_context: ssl.SSLContext | None = None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
        ids: Ids | None = None,
        thrifty: bool = False,
        ear: Ear | None = None,
    ) -> None:
        """`thrifty`: the way there is paid by the byte, so that single pushes go by a live line where there is one.

        `ear`: who wants to know whether the server still speaks.
        """
        self.url = _checked_url(url)
        self._credentials = _Given(token) if callable(token) else token
        self._ids = ids or RandomIds()
        self._idle_s = idle_timeout_s
        self._timeout = httpx.Timeout(idle_timeout_s, connect=connect_timeout_s)
        self._codings = Codings()
        self._listening = Listening(ear)
        self._live = LiveLine(self._opened) if thrifty else None
        self._client = httpx.AsyncClient(
            base_url=self.url,
            # the environment's proxies are for the internet; a hub is in the next room
            trust_env=False,
            transport=_Transport(
                # what the system trusts takes a while to load, and is for TLS alone
                verify=ssl_context if ssl_context is not None else not self.url.startswith("http:"),
                trust_env=False,
                socket_options=[_send_buffer()],
            ),
        )

    async def aclose(self) -> None:
        if self._live is not None:
            await self._live.aclose()
        await self._client.aclose()

    async def _get(
        self, path: str, query: Mapping[str, str] | None = None, *, longer_s: float = 0
    ) -> Answered:
        return granted(await self._ask(Request("GET", path, query, longer_s=longer_s)))

    async def _post(
        self, path: str, body: bytes, *, client_address: str | None = None, with_token: bool = True
    ) -> Answered:
        """In the best coding that the server takes: one that does not take it says so once."""
        while True:
            coding = self._codings.best(body)
            headers = {"Content-Type": "application/json"} | ({"Content-Encoding": coding} if coding else {})
            sent = body if coding is None else self._codings.encode(coding, body)
            answered = await self._ask(
                Request(
                    "POST",
                    path,
                    headers=headers,
                    body=sent,
                    client_address=client_address,
                    with_token=with_token,
                )
            )
            if coding is None or answered.status != httpx.codes.UNSUPPORTED_MEDIA_TYPE:
                return granted(answered)
            self._codings.refused(coding)

    async def _ask(self, request: Request) -> Answered:
        async with self._opened(request) as response:
            return await self._whole(response)

    @asynccontextmanager
    async def _opened(self, request: Request) -> AsyncIterator[httpx.Response]:
        """The answer as it begins to come; with another token, where the first has ended."""
        token = await self._credentials.token() if request.with_token else None
        async with self._sent(request, token) as response:
            if token is None or response.status_code != httpx.codes.UNAUTHORIZED:
                yield response
                return
            answered = await self._whole(response)
        problem = problem_of(answered)
        if not _has_ended(problem) or not await self._credentials.ended(token):
            raise problem
        async with self._sent(request, await self._credentials.token()) as response:
            yield response

    @asynccontextmanager
    async def _sent(self, request: Request, token: str | None) -> AsyncIterator[httpx.Response]:
        try:
            with self._listening.during(request):
                response = await self._client.send(self._built(request, token), stream=True)
                self._listening.heard()
                try:
                    yield response
                finally:
                    await response.aclose()
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise failure_of(self.url, error) from error

    def _built(self, request: Request, token: str | None) -> httpx.Request:
        headers = {
            "Accept-Encoding": "zstd, gzip",
            "X-Request-ID": self._ids.uuid7(),
            **(request.headers or {}),
        }
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if request.client_address is not None:
            headers[CLIENT_ADDRESS] = request.client_address
        if request.body is not None:
            headers["Content-Length"] = str(len(request.body))
        timeout = self._timeout
        if request.longer_s:
            timeout = httpx.Timeout(self._timeout, read=self._idle_s + request.longer_s)
        built = self._client.build_request(
            request.method, request.path, params=request.query, headers=headers, timeout=timeout,
            content=None if request.body is None else self._listening.each(_in_chunks(request.body)),
            extensions=self._listening.extensions(request),
        )  # fmt: skip
        for name in _UNASKED:
            if name not in headers:
                del built.headers[name]
        return built

    async def _whole(self, response: httpx.Response) -> Answered:
        raw = bytearray()
        async for chunk in self._listening.each(response.aiter_raw()):
            raw += chunk
            if len(raw) > ANSWER_BYTES_MAX:
                raise PeerUnreachable(f"{self.url} answered with more than {ANSWER_BYTES_MAX} bytes")
        body = inflated(bytes(raw), response.headers.get("Content-Encoding", "identity"))
        return Answered(response.status_code, response.headers, body)


class _Transport(httpx.AsyncHTTPTransport):
    """The library's, on connections that don't stay open when nobody waits for them any more."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._pool._network_backend = ClosingBackend()  # noqa: SLF001  there is no other way in


class _Given:
    """Credentials of who has a token and no way to another."""

    def __init__(self, source: Callable[[], str | None]) -> None:
        self._source = source

    async def token(self) -> str | None:
        return self._source()

    async def ended(self, token: str) -> bool:
        return self._source() not in {None, token}  # it was exchanged while this one was on its way


def _has_ended(problem: PeerRefused | PeerUnreachable) -> bool:
    return isinstance(problem, PeerRefused) and problem.code == "token_expired"


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
