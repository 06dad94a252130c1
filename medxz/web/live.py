"""`GET /v1/sync/live`: a WebSocket on which a hub pushes single ops (medxz/wire/live.py).

Refused to whoever is no hub: a person's tablet pays for a request. Each message is judged as a push by itself is: the token, what was revoked meanwhile, the buckets. A refusal is a
problem document, after which the line ends: its client pushes again as a request, and is told there. What is being
stored when the client goes is stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from medxz import limits
from medxz.endpoints import Parameter
from medxz.errors import BadRequest, NotFound, Refusal, UnsupportedMedia
from medxz.service.gate import require
from medxz.web.lasting import ServerStops
from medxz.web.problem import problem_body
from medxz.wire.live import BrokenLine, Packer, Unpacker

if TYPE_CHECKING:
    from medxz.clock import Clock
    from medxz.service import Services
    from medxz.web.call import Call
    from medxz.web.lasting import Lasting

CLOSE_S: Final = 1.0
PARAMETERS: Final = (
    Parameter("dictionary", {"type": "string", "pattern": "^[0-9a-f]{64}$"}, "one that /v1/info names"),
)


class Live:
    """Serves live lines."""

    def __init__(self, services: Services, lasting: Lasting, clock: Clock) -> None:
        self._services = services
        self._lasting = lasting
        self._monotonic = clock.monotonic

    async def serve(self, call: Call) -> web.StreamResponse:
        """A line until it is closed, is silent for long, or a push on it is refused."""
        caller = call.authorised()
        require(caller, "hub")
        dictionary = self._dictionary(call)
        if call.request.headers.get("Upgrade", "").lower() != "websocket":
            raise BadRequest("this path is a WebSocket; /v1/sync/push takes requests")
        with self._lasting.line_slot(caller.owner):
            return await self._line(call, dictionary)

    async def _line(self, call: Call, dictionary: bytes) -> web.StreamResponse:
        up, down = Unpacker(dictionary, up=True), Packer(dictionary, up=False)
        socket = web.WebSocketResponse(
            compress=False, max_msg_size=limits.LIVE_PACKED_BYTES_MAX, timeout=CLOSE_S
        )
        call.waits = True
        await _begin(call, socket)
        while (packed := await self._next(call, socket)) is not None:
            try:
                answer = await self._pushed(call, up.unpack(packed))
            except BrokenLine as broken:
                await _refuse(call, socket, BadRequest(str(broken)))
                break
            except Refusal as refusal:
                await _refuse(call, socket, refusal)
                break
            await socket.send_bytes(down.pack(answer))
        await socket.close()
        return socket

    def _dictionary(self, call: Call) -> bytes:
        try:
            return self._services.describe.dictionary(str(call.query.get("dictionary", "")))
        except NotFound:
            raise UnsupportedMedia("the dictionary is not one that /v1/info names") from None

    async def _next(self, call: Call, socket: web.WebSocketResponse) -> bytes | None:
        """The next message; None where the line ends. A server that stops ends it between two messages."""
        try:
            with self._lasting.held(call.request):
                message = await socket.receive(limits.LIVE_IDLE_S)
        except (TimeoutError, ServerStops):
            return None
        return message.data if message.type is web.WSMsgType.BINARY else None

    async def _pushed(self, call: Call, body: bytes) -> bytes:
        """The answer to a push of a caller who may still push."""
        begun, status = self._monotonic(), 200
        caller = call.authorised()
        try:
            self._services.gate.hold(caller)
            self._services.throttle.take_request(caller)
            return await (await self._services.clinic(caller)).push.push(caller, body)
        except Refusal as refusal:
            status = refusal.status
            raise
        finally:
            self._services.metrics.observe("push", status, self._monotonic() - begun)


async def _begin(call: Call, socket: web.WebSocketResponse) -> None:
    """101; BadRequest where the handshake is none."""
    try:
        await socket.prepare(call.request)
    except web.HTTPException:
        raise BadRequest("the handshake of the WebSocket is not one") from None
    call.started = True


async def _refuse(call: Call, socket: web.WebSocketResponse, refusal: Refusal) -> None:
    await socket.send_str(problem_body(refusal, call.request_id).decode())
