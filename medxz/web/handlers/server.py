"""What a server tells anyone of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from medxz.errors import NotFound
from medxz.web.handlers.room import Room

if TYPE_CHECKING:
    from aiohttp import web

    from medxz.service import Services
    from medxz.web.answers import Answers
    from medxz.web.body import Bodies
    from medxz.web.call import Call
    from medxz.web.handlers.room import Handler
    from medxz.web.pages import Pages

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class ServerRoom(Room):
    """/v1/info and the dictionaries, health, figures, descriptions."""

    def __init__(self, services: Services, bodies: Bodies, answers: Answers, pages: Pages) -> None:
        super().__init__(services, bodies, answers)
        self._pages = pages

    def table(self) -> dict[str, Handler]:
        return {
            "info": self._info,
            "dictionary": self._dictionary,
            "health_live": self._health_live,
            "health_ready": self._health_ready,
            "health": self._health,
            "metrics": self._metrics,
            "openapi": self._openapi,
            "docs": self._docs,
        }

    async def _info(self, call: Call) -> web.StreamResponse:
        return await self._model(call, self._services.describe.info())

    async def _dictionary(self, call: Call) -> web.StreamResponse:
        (dictionary_id,) = call.path_values
        if not dictionary_id.isascii():
            raise NotFound("there is no such dictionary")
        content = self._services.describe.dictionary(dictionary_id)
        # its name is its hash: it never changes. Browsers take it up for what they ask of /v1 later (RFC 9842)
        call.extra["Cache-Control"] = "public, max-age=31536000, immutable"
        call.extra["Use-As-Dictionary"] = 'match="/v1/*"'
        return call.answer(content, "application/octet-stream")

    async def _health_live(self, call: Call) -> web.StreamResponse:
        return await self._model(call, await self._services.health.live())

    async def _health_ready(self, call: Call) -> web.StreamResponse:
        health = await self._services.health.ready()
        return await self._model(call, health, 200 if health.ok else 503)

    async def _health(self, call: Call) -> web.StreamResponse:
        return await self._model(call, await self._services.health.full())

    async def _metrics(self, call: Call) -> web.StreamResponse:
        return await self._answers.answer(call, self._services.metrics.render(), METRICS_TYPE)

    async def _openapi(self, call: Call) -> web.StreamResponse:
        return await self._answers.answer(call, self._pages.openapi)

    async def _docs(self, call: Call) -> web.StreamResponse:
        return await self._pages.serve(call, "docs.html")
