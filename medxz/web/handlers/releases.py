"""What a hub is to run, and the bundle of it, which it may ask for from any byte on: links break, and bundles are long.

Refused: more downloads at once than there may be, a range that is none of the file.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from aiohttp import web

from medxz import limits
from medxz.errors import Invalid, Overloaded
from medxz.web.handlers.room import Room, places_of, text_of
from medxz.web.lasting import ServerStops

if TYPE_CHECKING:
    from medxz.service import Services
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
        compatible = text_of(call, "compatible")
        if compatible is None:
            raise Invalid("which machine is asking must be said", field="compatible")
        found = await self._services.releases.wanted(call.authorised(), compatible, text_of(call, "version"))
        return call.answer_nothing() if found is None else await self._model(call, found)

    async def _bundle(self, call: Call) -> web.StreamResponse:
        (sha256,) = places_of(call)
        bundle = await self._services.releases.bundle(call.authorised(), sha256)
        _check_range(call.request.headers.get("Range"), bundle.size)
        if self._downloads >= limits.RELEASE_DOWNLOADS_MAX:
            raise Overloaded("enough hubs are downloading", retry_after_s=limits.RELEASE_RETRY_S)
        call.waits = True
        self._downloads += 1
        try:
            with self._lasting.held(call.request):
                return await _sent(call, web.FileResponse(bundle.file, headers=call.headers(BYTES)))
        except ServerStops:
            if call.started:
                raise ConnectionAbortedError("a download was cut off") from None
            raise Overloaded("this server is stopping", retry_after_s=limits.RELEASE_RETRY_S) from None
        finally:
            self._downloads -= 1


async def _sent(call: Call, response: web.FileResponse) -> web.StreamResponse:
    """To its last byte: within the slot, where it is counted, and not after it."""
    call.started = True
    await response.prepare(call.request)
    return response


def _check_range(text: str | None, size: int) -> None:
    if text is None:
        return
    found = _RANGE.fullmatch(text)
    if found is None or int(found[1]) >= size or (found[2] and int(found[2]) < int(found[1])):
        raise Invalid("must be bytes=N- or bytes=N-M of the file", field="Range")
