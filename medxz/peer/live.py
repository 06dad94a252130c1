"""The live line from its client's side: single pushes for a tenth of the bytes, for as long as it lasts.

It decides nothing. Whatever goes wrong on it (it can't be opened, it breaks off, a push is refused) the push is made
again as a request, which is safe and says what is wrong; the line is then left alone for a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import httpcore
import httpx

from medxz import limits
from medxz.errors import PeerRefused, PeerUnreachable
from medxz.peer.request import Request
from medxz.peer.websocket import Handshake, WebSocket
from medxz.wire.live import LIVE_PATH, BrokenLine, Packer, Unpacker

ANSWER_TIMEOUT_S: Final = 10.0
CLOSE_TIMEOUT_S: Final = 1.0
AGAIN_AFTER_S: Final = 60.0
# before the server, or a router on the way, forgets it
IDLE_S: Final = limits.LIVE_IDLE_S * 0.8

_BROKEN: Final = (
    PeerUnreachable, PeerRefused, BrokenLine, httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError,
    OSError,
)  # fmt: skip

Open = Callable[[Request], AbstractAsyncContextManager[httpx.Response]]


@dataclass(slots=True)
class _Line:
    socket: WebSocket
    up: Packer
    down: Unpacker
    used_at: float


class LiveLine:
    """One line at a time, opened when it is first wanted."""

    def __init__(self, open_request: Open) -> None:
        self._open_request = open_request
        self._one_at_a_time = asyncio.Lock()
        self._line: _Line | None = None
        self._stack = AsyncExitStack()
        self._not_before = 0.0

    async def push(self, body: bytes, dictionary_id: str, dictionary: bytes) -> bytes | None:
        """The answer to a push; None where it has to be made as a request."""
        if len(body) > limits.LIVE_TEXT_BYTES_MAX:
            return None
        async with self._one_at_a_time:
            try:
                line = await self._held(dictionary_id, dictionary)
                return None if line is None else await _asked(line, body)
            except _BROKEN:
                self._not_before = _now() + AGAIN_AFTER_S
                await self._drop()
                return None
            except BaseException:
                await self._drop()  # an answer is under way that nobody waits for
                raise

    async def aclose(self) -> None:
        if self._line is not None:
            with suppress(*_BROKEN):  # it may have gone already
                await self._line.socket.close(CLOSE_TIMEOUT_S)
        await self._drop()

    async def _held(self, dictionary_id: str, dictionary: bytes) -> _Line | None:
        now = _now()
        if self._line is not None and now - self._line.used_at > IDLE_S:
            await self._drop()
        if self._line is None and now >= self._not_before:
            self._line = await self._opened(dictionary_id, dictionary)
        return self._line

    async def _opened(self, dictionary_id: str, dictionary: bytes) -> _Line:
        handshake = Handshake()
        request = Request("GET", LIVE_PATH, {"dictionary": dictionary_id}, handshake.headers())
        response = await self._stack.enter_async_context(self._open_request(request))
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            raise PeerUnreachable("there is no live line")
        if not handshake.is_answered_by(response.headers.get("Sec-WebSocket-Accept", "")):
            raise PeerUnreachable("what answered is no WebSocket")
        socket = WebSocket(response.extensions["network_stream"], limits.LIVE_PACKED_BYTES_MAX)
        return _Line(socket, Packer(dictionary, up=True), Unpacker(dictionary, up=False), _now())

    async def _drop(self) -> None:
        self._line = None
        stack, self._stack = self._stack, AsyncExitStack()
        with suppress(*_BROKEN):
            await stack.aclose()


async def _asked(line: _Line, body: bytes) -> bytes:
    await line.socket.send(line.up.pack(body), ANSWER_TIMEOUT_S)
    told = await line.socket.receive(ANSWER_TIMEOUT_S)
    if isinstance(told, str):
        raise PeerUnreachable("the push was refused on the live line")
    line.used_at = _now()
    return line.down.unpack(told)


def _now() -> float:
    return asyncio.get_running_loop().time()
