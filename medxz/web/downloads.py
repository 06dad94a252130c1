"""Files that are handed out whole, or from a byte on: so many at once, each for as long as its link takes.

Refused: one more than there may be, a range that is none of the file.
"""

from __future__ import annotations

import re
from contextlib import aclosing
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import web

from medxz import limits
from medxz.errors import Invalid, Overloaded
from medxz.web.lasting import ServerStops

if TYPE_CHECKING:
    from medxz.service.download import Download
    from medxz.web.call import Call
    from medxz.web.lasting import Lasting

BYTES: Final = "application/octet-stream"
_RANGE: Final = re.compile(r"bytes=([0-9]{1,15})-([0-9]{0,15})")


class Downloads:
    """All that one server sends at a time."""

    def __init__(self, lasting: Lasting) -> None:
        self._lasting = lasting
        self._count = 0

    async def send(self, call: Call, file: Download) -> web.StreamResponse:
        """The whole, or the part that the request's `Range` asks for."""
        part = _part_of(call.request.headers.get("Range"), file.size)
        if self._count >= limits.RELEASE_DOWNLOADS_MAX:
            raise Overloaded("enough hubs are downloading", retry_after_s=limits.RELEASE_RETRY_S)
        call.waits = True
        self._count += 1
        try:
            with self._lasting.held(call.request):
                return await _sent(call, file, part)
        except ServerStops:
            if call.started:
                raise ConnectionAbortedError("a download was cut off") from None
            raise Overloaded("this server is stopping", retry_after_s=limits.RELEASE_RETRY_S) from None
        finally:
            self._count -= 1


async def _sent(call: Call, file: Download, part: tuple[int, int] | None) -> web.StreamResponse:
    """The whole or the part, to its last byte."""
    start, end = part or (0, file.size)
    call.extra |= {"Content-Length": str(end - start), "Accept-Ranges": "bytes"}
    if part is not None:
        call.extra["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
    response = web.StreamResponse(
        status=HTTPStatus.OK if part is None else HTTPStatus.PARTIAL_CONTENT, headers=call.headers(BYTES)
    )
    call.started = True
    await response.prepare(call.request)
    if call.request.method == "HEAD":
        return response
    async with aclosing(file.pieces(start, end)) as pieces:
        async for piece in pieces:
            await response.write(piece)
            start += len(piece)
    if start < end:
        raise ConnectionAbortedError("a file has become shorter than it was")
    return response


def _part_of(text: str | None, size: int) -> tuple[int, int] | None:
    """The first byte that is asked for, and the one behind the last; None where it is the whole."""
    if text is None:
        return None
    found = _RANGE.fullmatch(text)
    if found is None or int(found[1]) >= size or (found[2] and int(found[2]) < int(found[1])):
        raise Invalid("must be bytes=N- or bytes=N-M of the file", field="Range")
    return int(found[1]), min(size, int(found[2]) + 1) if found[2] else size
