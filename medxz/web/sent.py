"""Answers that are sent as they are: the head, and the parts of the body, without a copy of any.

aiohttp's own responses copy a body to put the head, or the length of a chunk, before it: for a page more than making
the page, and for what a hundred streams are told a hundred pages of memory.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import web
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import HttpVersion, HttpVersion11

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping, Sequence

    from aiohttp.abc import AbstractStreamWriter

_REASONS: Final = {status.value: status.phrase for status in HTTPStatus}
# Less is put together first: one short buffer is sent sooner than two.
_JOINED_BYTES: Final = 16_384


class Whole(web.StreamResponse):
    """An answer whose every byte is known."""

    def __init__(self, status: int, fields: Mapping[str, str], parts: Sequence[bytes]) -> None:
        super().__init__(status=status)
        self._fields: Final = fields
        self._parts: Final = parts

    @property
    def size(self) -> int:
        """How long the body is."""
        return sum(map(len, self._parts))

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send it all."""
        transport = transport_of(request)
        if self._keep_alive is None:
            self._keep_alive = request.keep_alive
        size = self.size
        length = "" if self._status == HTTPStatus.NO_CONTENT else f"Content-Length: {size}\r\n"
        head = head_of(request.version, self._status, self._fields, length, keeps=bool(self._keep_alive))
        parts = () if request.method == "HEAD" else self._parts
        if size < _JOINED_BYTES:
            transport.write(b"".join((head, *parts)))
        else:
            transport.writelines((head, *parts))
        await request.writer.drain()
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to send."""
        assert not data, "the answer was whole"


class InPieces(web.StreamResponse):
    """An answer whose end nobody knows yet: what is sent may be the same bytes for many clients, and is not copied."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__()
        self._fields: Final = fields
        self._request: web.BaseRequest | None = None
        self._is_chunked = False

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the head, once."""
        if self._request is not None:
            return None
        transport = transport_of(request)
        self._request = request
        self._is_chunked = request.version >= HttpVersion11
        self._keep_alive = request.keep_alive and self._is_chunked
        length = "Transfer-Encoding: chunked\r\n" if self._is_chunked else ""
        transport.write(head_of(request.version, 200, self._fields, length, keeps=bool(self._keep_alive)))
        return None

    async def send(self, parts: Sequence[bytes]) -> None:
        """Send a piece, and wait where the client takes them slowly."""
        request = self._request
        assert request is not None, "the head was sent"
        if self._is_chunked:
            first, *rest = parts
            parts = (b"%x\r\n%b" % (sum(map(len, parts)), first), *rest, b"\r\n")
        transport_of(request).writelines(parts)
        await request.writer.drain()

    async def write_eof(self, data: bytes = b"") -> None:
        """Say that it ends here."""
        assert not data, "pieces are sent"
        if self._request is not None and self._is_chunked:
            transport_of(self._request).write(b"0\r\n\r\n")


def transport_of(request: web.BaseRequest) -> asyncio.Transport:
    """The connection of a request; ConnectionResetError where the client has gone."""
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client has gone")
    return transport


def head_of(
    version: HttpVersion, status: int, fields: Mapping[str, str], length: str, *, keeps: bool
) -> bytes:
    """The status line and the headers; `length` are those that say where the body ends."""
    connection = ""
    if not keeps:
        connection = "Connection: close\r\n"
    elif version < HttpVersion11:
        connection = "Connection: keep-alive\r\n"
    lines = "".join([f"{name}: {value}\r\n" for name, value in fields.items()])
    return (
        f"HTTP/{version.major}.{version.minor} {status} {_REASONS.get(status, '')}\r\n{lines}{length}"
        f"Date: {rfc822_formatted_time()}\r\n{connection}\r\n"
    ).encode("latin-1")
