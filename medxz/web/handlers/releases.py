"""What a hub is to run, and the bundle of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medxz.web.handlers.room import Room, places_of, text_of

if TYPE_CHECKING:
    from aiohttp import web

    from medxz.service import Services
    from medxz.web.answers import Answers
    from medxz.web.body import Bodies
    from medxz.web.call import Call
    from medxz.web.downloads import Downloads
    from medxz.web.handlers.room import Handler


class ReleasesRoom(Room):
    """/v1/hubs/update and /v1/hubs/releases."""

    def __init__(self, services: Services, bodies: Bodies, answers: Answers, downloads: Downloads) -> None:
        super().__init__(services, bodies, answers)
        self._downloads = downloads

    def table(self) -> dict[str, Handler]:
        return {"hub_update": self._wanted, "hub_release": self._bundle}

    async def _wanted(self, call: Call) -> web.StreamResponse:
        compatible, version = str(call.query["compatible"]), text_of(call, "version")
        found = await self._services.releases.wanted(call.authorised(), compatible, version)
        return call.answer_nothing() if found is None else await self._model(call, found)

    async def _bundle(self, call: Call) -> web.StreamResponse:
        (sha256,) = places_of(call)
        return await self._downloads.send(
            call, await self._services.releases.bundle(call.authorised(), sha256)
        )
