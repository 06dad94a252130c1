"""Ops up, the log down, and how far each side has come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medxz.web.handlers.room import Room, page_of
from medxz.web.lasting import ServerStops
from medxz.wire import ResumeRequest

if TYPE_CHECKING:
    from aiohttp import web

    from medxz.service import Services
    from medxz.web.answers import Answers
    from medxz.web.body import Bodies
    from medxz.web.call import Call
    from medxz.web.handlers.room import Handler
    from medxz.web.lasting import Lasting
    from medxz.web.pushes import Pushes


class SyncRoom(Room):
    """All of /v1/sync but what is sent as it is made."""

    def __init__(
        self, services: Services, bodies: Bodies, answers: Answers, lasting: Lasting, pushes: Pushes
    ) -> None:
        super().__init__(services, bodies, answers)
        self._lasting = lasting
        self._pushes = pushes

    def table(self) -> dict[str, Handler]:
        return {
            "push": self._push,
            "pull": self._pull,
            "resume": self._resume,
            "status": self._status,
            "watermarks": self._watermarks,
        }

    async def _push(self, call: Call) -> web.StreamResponse:
        with self._pushes.one():
            body = await self._bodies.read(call)
            clinic = await self._clinic(call)
            return await self._answers.answer(call, await clinic.push.push(call.authorised(), body))

    async def _pull(self, call: Call) -> web.StreamResponse:
        caller, wait_s = call.authorised(), float(call.query["wait"])
        cursor, limit = page_of(call)
        pull = (await self._clinic(call)).pull
        if wait_s > 0:
            call.waits = True
            try:
                with self._lasting.held(call.request):
                    page = await pull.page(caller, cursor, limit, wait_s)
                return await self._answers.answer_parts(call, page)
            except ServerStops:
                pass  # it gets what there is now
        return await self._answers.answer_parts(call, await pull.page(caller, cursor, limit, 0.0))

    async def _resume(self, call: Call) -> web.StreamResponse:
        message = await self._bodies.read_model(call, ResumeRequest)
        clinic = await self._clinic(call)
        return await self._model(call, await clinic.pull.resume(call.authorised(), message))

    async def _status(self, call: Call) -> web.StreamResponse:
        clinic = await self._clinic(call)
        return await self._model(call, await clinic.status.status(call.authorised()))

    async def _watermarks(self, call: Call) -> web.StreamResponse:
        clinic = await self._clinic(call)
        return await self._model(call, await clinic.status.watermarks(call.authorised()))
