"""A whole answer, sent at once: its head and the parts of its body go to the socket as they are.

aiohttp's own response copies a body to put the head before it, which for a page is more than making the page. It
refuses nothing: what is no HTTP/1.1, or has no body, is answered here too.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import HttpVersion11, web
from aiohttp.helpers import rfc822_formatted_time

if TYPE_CHECKING:
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
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has gone")
        if self._keep_alive is None:
            self._keep_alive = request.keep_alive
        size = self.size
        parts = () if request.method == "HEAD" else self._parts
        if size < _JOINED_BYTES:
            transport.write(b"".join((self._head(request, size), *parts)))
        else:
            transport.writelines((self._head(request, size), *parts))
        await request.writer.drain()
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to send."""
        assert not data, "the answer was whole"

    def _head(self, request: web.BaseRequest, size: int) -> bytes:
        version = request.version
        connection = ""
        if not self._keep_alive:
            connection = "Connection: close\r\n"
        elif version < HttpVersion11:
            connection = "Connection: keep-alive\r\n"
        fields = "".join([f"{name}: {value}\r\n" for name, value in self._fields.items()])
        return (
            f"HTTP/{version.major}.{version.minor} {self._status} {_REASONS.get(self._status, '')}\r\n{fields}"
            f"Content-Length: {size}\r\nDate: {rfc822_formatted_time()}\r\n{connection}\r\n"
        ).encode("latin-1")
