"""What a hub is to run, and the bundle of it, which it may ask for from any byte on: links break, and bundles are long.

Refused: more downloads at once than there may be, a range that is none of the file.
"""

from __future__ import annotations

import re
from contextlib import aclosing
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import web

from medxz import limits
from medxz.errors import Invalid, Overloaded
from medxz.web.handlers.room import Room, places_of, text_of
from medxz.web.lasting import ServerStops

if TYPE_CHECKING:
    from medxz.service import Services
    from medxz.service.releases import Bundle
    from medxz.web.answers import Answers
    from medxz.web.body import Bodies
    from medxz.web.call import Call
    from medxz.web.handlers.room import Handler
    from medxz.web.lasting import Lasting

BYTES: Final = "application/octet-stream"
_RANGE: Final = re.compile(r"bytes=([0-9]{1,15})-([0-9]{0,15})")


class ReleasesRoom(Room):
    """/v1/hubs/update and /v1/hubs/releases."""

    def __init__(self, services: Services, bodies: Bodies, answers: Answers, lasting: Lasting) -> None:
        super().__init__(services, bodies, answers)
        self._lasting = lasting
        self._downloads = 0

    def table(self) -> dict[str, Handler]:
        return {"hub_update": self._wanted, "hub_release": self._bundle}

    async def _wanted(self, call: Call) -> web.StreamResponse:
        compatible, version = str(call.query["compatible"]), text_of(call, "version")
        found = await self._services.releases.wanted(call.authorised(), compatible, version)
        return call.answer_nothing() if found is None else await self._model(call, found)

    async def _bundle(self, call: Call) -> web.StreamResponse:
        (sha256,) = places_of(call)
        bundle = await self._services.releases.bundle(call.authorised(), sha256)
        part = _part_of(call.request.headers.get("Range"), bundle.size)
        if self._downloads >= limits.RELEASE_DOWNLOADS_MAX:
            raise Overloaded("enough hubs are downloading", retry_after_s=limits.RELEASE_RETRY_S)
        call.waits = True
        self._downloads += 1
        try:
            with self._lasting.held(call.request):
                return await _sent(call, bundle, part)
        except ServerStops:
            if call.started:
                raise ConnectionAbortedError("a download was cut off") from None
            raise Overloaded("this server is stopping", retry_after_s=limits.RELEASE_RETRY_S) from None
        finally:
            self._downloads -= 1


async def _sent(call: Call, bundle: Bundle, part: tuple[int, int] | None) -> web.StreamResponse:
    """The whole or the part, to its last byte."""
    start, end = part or (0, bundle.size)
    call.extra |= {"Content-Length": str(end - start), "Accept-Ranges": "bytes"}
    if part is not None:
        call.extra["Content-Range"] = f"bytes {start}-{end - 1}/{bundle.size}"
    response = web.StreamResponse(
        status=HTTPStatus.OK if part is None else HTTPStatus.PARTIAL_CONTENT, headers=call.headers(BYTES)
    )
    call.started = True
    await response.prepare(call.request)
    if call.request.method == "HEAD":
        return response
    async with aclosing(bundle.pieces(start, end)) as pieces:
        async for piece in pieces:
            await response.write(piece)
            start += len(piece)
    if start < end:
        raise ConnectionAbortedError("a bundle has become shorter than it was")
    return response


def _part_of(text: str | None, size: int) -> tuple[int, int] | None:
    """The first byte that is asked for, and the one behind the last; None where it is the whole."""
    if text is None:
        return None
    found = _RANGE.fullmatch(text)
    if found is None or int(found[1]) >= size or (found[2] and int(found[2]) < int(found[1])):
        raise Invalid("must be bytes=N- or bytes=N-M of the file", field="Range")
    return int(found[1]), min(size, int(found[2]) + 1) if found[2] else size
