"""A clinic's own affairs: its configuration, what a person should look at, what was done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medxz.web.handlers.room import Room, page_of

if TYPE_CHECKING:
    from aiohttp import web

    from medxz.web.call import Call
    from medxz.web.handlers.room import Handler


class ClinicRoom(Room):
    """/v1/config and /v1/reviews."""

    def table(self) -> dict[str, Handler]:
        return {"config": self._config, "reviews": self._reviews}

    async def _config(self, call: Call) -> web.StreamResponse:
        clinic = await self._clinic(call)
        return await self._model(call, clinic.config.told(call.authorised()))

    async def _reviews(self, call: Call) -> web.StreamResponse:
        clinic = await self._clinic(call)
        return await self._model(call, await clinic.reviews.list(call.authorised(), *page_of(call)))
