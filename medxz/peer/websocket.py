"""The client's end of a WebSocket (RFC 6455) over a connection that an HTTP request has opened: whole messages only.

It is what the live line needs of it: no extensions, no fragments from us, none taken from a server of ours.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from typing import Final, Protocol

from medxz.errors import PeerUnreachable

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_FINAL: Final = 0x80
_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10
_SHORT, _TWO_BYTES = 125, 126
_READ_BYTES: Final = 65_536


class Line(Protocol):
    """The connection under it."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes: ...  # noqa: ASYNC109  httpcore's
    async def write(self, buffer: bytes, timeout: float | None = None) -> None: ...  # noqa: ASYNC109


class Handshake:
    """What the client sends, and the one answer to it."""

    def __init__(self) -> None:
        self._key = base64.b64encode(secrets.token_bytes(16))

    def headers(self) -> dict[str, str]:
        return {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": self._key.decode(),
        }

    def is_answered_by(self, accept: str) -> bool:
        wanted = base64.b64encode(hashlib.sha1(self._key + _GUID, usedforsecurity=False).digest())
        return accept.encode() == wanted


class WebSocket:
    """Messages, one after the other."""

    def __init__(self, line: Line, message_bytes_max: int) -> None:
        self._line = line
        self._max = message_bytes_max
        self._rest = b""

    async def send(self, message: bytes, timeout_s: float) -> None:
        await self._line.write(_frame(_BINARY, message), timeout_s)

    async def receive(self, timeout_s: float) -> bytes | str:
        """The next message: bytes, or text. PeerUnreachable where the server has closed, or speaks otherwise."""
        while True:
            kind, payload = await self._read_frame(timeout_s)
            match kind:
                case 2:
                    return payload
                case 1:
                    return payload.decode("utf-8", "replace")
                case 9:
                    await self._line.write(_frame(_PONG, payload), timeout_s)
                case 10:
                    pass
                case _:
                    raise PeerUnreachable("the server has closed the live line")

    async def close(self, timeout_s: float) -> None:
        """Say that it ends."""
        await self._line.write(_frame(_CLOSE, (1_000).to_bytes(2, "big")), timeout_s)

    async def _read_frame(self, timeout_s: float) -> tuple[int, bytes]:
        first, second = await self._read(2, timeout_s)
        if not first & _FINAL or first & 0x70 or second & 0x80:
            raise PeerUnreachable("the live line is not a WebSocket as it was agreed on")
        length = second
        if length > _SHORT:
            size = 2 if length == _TWO_BYTES else 8
            length = int.from_bytes(await self._read(size, timeout_s), "big")
        if length > self._max:
            raise PeerUnreachable(f"a message of the live line has more than {self._max} bytes")
        return first & 0x0F, await self._read(length, timeout_s)

    async def _read(self, count: int, timeout_s: float) -> bytes:
        while len(self._rest) < count:
            more = await self._line.read(_READ_BYTES, timeout_s)
            if not more:
                raise PeerUnreachable("the live line broke off")
            self._rest += more
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken


def _frame(kind: int, payload: bytes) -> bytes:
    """One frame, masked as every client's."""
    length = len(payload)
    if length <= _SHORT:
        head = bytes((_FINAL | kind, 0x80 | length))
    elif length < 1 << 16:
        head = bytes((_FINAL | kind, 0x80 | _TWO_BYTES)) + length.to_bytes(2, "big")
    else:
        head = bytes((_FINAL | kind, 0xFF)) + length.to_bytes(8, "big")
    mask = secrets.token_bytes(4)
    spread = int.from_bytes((mask * (length // 4 + 1))[:length], "big")
    return head + mask + (int.from_bytes(payload, "big") ^ spread).to_bytes(length, "big")
