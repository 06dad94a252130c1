"""`GET /v1/sync/snapshot`: one long answer, sent as it is made.

A chunk is made, compressed and written before the next is asked for, so that a client which reads slowly costs a few
chunks of memory and nothing else. What can't be finished is cut off, never ended as if it were whole: the first line
says how many follow.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from aiohttp import web

from medxz import limits
from medxz.errors import Overloaded, Refusal
from medxz.web.encoding import Deflating, choose_coding
from medxz.web.lasting import ServerStops

if TYPE_CHECKING:
    from medxz.service import Services
    from medxz.web.call import Call
    from medxz.web.lasting import Lasting
    from medxz.work import Worker

NDJSON: Final = "application/x-ndjson"


class Snapshots:
    """Serves snapshots."""

    def __init__(self, services: Services, lasting: Lasting, worker: Worker) -> None:
        self._services = services
        self._lasting = lasting
        self._worker = worker

    async def serve(self, call: Call) -> web.StreamResponse:
        """A snapshot to its end. A refusal comes before the first byte, and is answered as one."""
        call.waits = True
        coding = choose_coding(call.request.headers.get("Accept-Encoding", ""))
        if coding is not None:
            call.extra["Content-Encoding"] = coding
        try:
            with self._lasting.snapshot_slot(), self._lasting.held(call.request):
                return await self._send(call, Deflating(coding))
        except (ServerStops, Refusal) as reason:
            if call.started:
                raise ConnectionAbortedError("a snapshot was cut off") from None
            call.extra.pop("Content-Encoding", None)
            if isinstance(reason, Refusal):
                raise
            raise Overloaded("this server is stopping", retry_after_s=limits.SNAPSHOT_RETRY_S) from None

    async def _send(self, call: Call, deflating: Deflating) -> web.StreamResponse:
        caller = call.authorised()
        clinic = await self._services.clinic(caller)
        response = web.StreamResponse(headers=call.headers(NDJSON))
        async with aclosing(clinic.snapshot.lines(caller)) as chunks:
            async for chunk in chunks:
                if not call.started:
                    call.started = True
                    await response.prepare(call.request)
                await response.write(await self._worker.run(deflating.add, chunk))
        await response.write(await self._worker.run(deflating.end))
        return response
