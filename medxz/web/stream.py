"""`GET /v1/sync/stream`: the log as it grows, as Server-Sent Events.

Each event tells the cursor after it as its id. What a client does not read fast enough stays with the service: one
chunk waits here at most, and none is buffered beyond the socket.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from aiohttp import web

from medxz import limits
from medxz.errors import BadCursor, Refusal
from medxz.web.lasting import ServerStops
from medxz.web.problem import problem_body

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from medxz.service import Services, StreamChunk
    from medxz.web.call import Call
    from medxz.web.lasting import Lasting

EVENT_STREAM: Final = "text/event-stream"

# what a quiet log's stream waits for a refusal before it says that it is open
_OPENING_S: Final = 1.0
_LINE_BREAK = re.compile(rb"\r\n|\r|\n")


class Streams:
    """Serves streams."""

    def __init__(self, services: Services, lasting: Lasting) -> None:
        self._pull = services.pull
        self._lasting = lasting

    async def serve(self, call: Call) -> web.StreamResponse:
        """A stream from the cursor that `Last-Event-ID` names, or the query, to its end."""
        call.waits = True
        caller = call.authorised()
        with self._lasting.stream_slot(caller.name):
            async with aclosing(self._pull.stream(caller, _cursor(call))) as chunks:
                response: web.StreamResponse = web.StreamResponse(headers=_headers(call))
                try:
                    with self._lasting.held(call.request):
                        await _pump(chunks, response, call)
                except ServerStops:
                    if not response.prepared:
                        await response.prepare(call.request)
                except Refusal as refusal:
                    if not response.prepared:
                        raise
                    # the status has been sent: what ends the stream is its last event
                    await response.write(
                        b"event: error\ndata: %b\n\n" % problem_body(refusal, call.request_id)
                    )
                return response


async def _pump(chunks: AsyncIterator[StreamChunk], response: web.StreamResponse, call: Call) -> None:
    first = asyncio.ensure_future(_next(chunks))
    try:
        await asyncio.wait({first}, timeout=_OPENING_S)
        if first.done():
            first.result()  # a refusal is answered as one, before anything is sent
        await response.prepare(call.request)
        chunk = await first
    finally:
        if not first.done():
            first.cancel()
            await asyncio.wait({first})  # chunks can't be closed while it runs
    while chunk is not None:
        await response.write(event(chunk.cursor, chunk.ops_json))
        chunk = await _next(chunks)


async def _next(chunks: AsyncIterator[StreamChunk]) -> StreamChunk | None:
    return await anext(chunks, None)


def event(cursor: str, ops_json: bytes) -> bytes:
    """One event; without ops it is a ping, whose cursor is not told: nothing came after the last one."""
    if not ops_json:
        return b"event: ping\ndata: {}\n\n"
    if b"\n" in ops_json or b"\r" in ops_json:
        ops_json = _LINE_BREAK.sub(b"\ndata: ", ops_json)
    return b"event: ops\nid: %b\ndata: %b\n\n" % (cursor.encode(), ops_json)


def _headers(call: Call) -> dict[str, str]:
    return {**call.headers(EVENT_STREAM), "X-Accel-Buffering": "no"}


def _cursor(call: Call) -> str | None:
    last = call.request.headers.get("Last-Event-ID")
    if last is None:
        cursor = call.query.get("cursor")
        return None if cursor is None else str(cursor)
    if len(last) > limits.CURSOR_CHARS_MAX or not last.isascii():
        raise BadCursor("Last-Event-ID is not a cursor")
    return last or None
