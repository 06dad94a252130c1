"""Who may come in: people, devices and hubs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medxz.web.handlers.room import Room
from medxz.wire import ReenrolRequest

if TYPE_CHECKING:
    from aiohttp import web

    from medxz.web.call import Call
    from medxz.web.handlers.room import Handler


class IdentityRoom(Room):
    """Sessions, enrolment, hubs."""

    def table(self) -> dict[str, Handler]:
        return {"enroll": self._enroll}

    async def _enroll(self, call: Call) -> web.StreamResponse:
        message = await self._bodies.read_model(call, ReenrolRequest)
        return await self._model(call, await self._services.accounts.reenrol(call.authorised(), message))
