"""A clinic's own affairs: its configuration, what a person should look at, what was done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medxz.web.handlers.room import Room, page_of, text_of

if TYPE_CHECKING:
    from aiohttp import web

    from medxz.web.call import Call
    from medxz.web.handlers.room import Handler


class ClinicRoom(Room):
    """/v1/config, /v1/reviews and /v1/audit."""

    def table(self) -> dict[str, Handler]:
        return {
            "config": self._config,
            "reviews": self._reviews,
            "audit": self._audit,
            "audit_verify": self._audit_verify,
        }

    async def _config(self, call: Call) -> web.StreamResponse:
        clinic = await self._clinic(call)
        return await self._model(call, clinic.config.told(call.authorised()))

    async def _reviews(self, call: Call) -> web.StreamResponse:
        clinic = await self._clinic(call)
        return await self._model(call, await clinic.reviews.list(call.authorised(), *page_of(call)))

    async def _audit(self, call: Call) -> web.StreamResponse:
        names = ("patient", "encounter", "user", "device", "from", "to")
        query = {name: text for name in names if (text := text_of(call, name)) is not None}
        clinic = await self._clinic(call)
        return await self._model(call, await clinic.audit.page(call.authorised(), query, *page_of(call)))

    async def _audit_verify(self, call: Call) -> web.StreamResponse:
        call.waits = True  # as long as the chains are
        clinic = await self._clinic(call)
        return await self._model(call, await clinic.audit.verify(call.authorised()))
