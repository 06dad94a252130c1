"""`GET /v1/sync/stream`: the log as it grows, as Server-Sent Events.

Each event tells the cursor after it as its id. What a client does not read fast enough stays with the service: one
chunk waits here at most, and none is buffered beyond the socket. For who asks for dcz each event is a frame by itself,
so that an idle stream holds nothing of a compressor.
"""

from __future__ import annotations

import re
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from medxz import limits
from medxz.errors import BadCursor, NotFound
from medxz.web.encoding import DCZ_HEADER_BYTES, Deflater, available_dictionary_id, choose_coding
from medxz.web.lasting import ServerStops
from medxz.web.sent import InPieces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web

    from medxz.service import Services, StreamChunk
    from medxz.web.body import Bodies
    from medxz.web.call import Call
    from medxz.web.encoding import Dictionary
    from medxz.web.lasting import Lasting
    from medxz.work import Worker

EVENT_STREAM: Final = "text/event-stream"

_LINE_BREAK = re.compile(rb"\r\n|\r|\n")


class Streams:
    """Serves streams."""

    def __init__(self, services: Services, lasting: Lasting, bodies: Bodies, worker: Worker) -> None:
        self._services = services
        self._lasting = lasting
        self._bodies = bodies
        self._worker = worker
        self._last_event: tuple[str, bytes, Sequence[bytes]] = ("", b"", ())
        self._last_frame: tuple[str, Sequence[bytes], bytes] = ("", (), b"")

    async def serve(self, call: Call) -> web.StreamResponse:
        """A stream from the cursor that `Last-Event-ID` names, or the query, to its end.

        A refusal comes in place of the first chunk, before anything is sent, so that it is answered as one.
        """
        call.waits = True
        caller = call.authorised()
        clinic = await self._services.clinic(caller)
        dictionary = self._wanted(call)
        response = InPieces({**call.headers(EVENT_STREAM), "X-Accel-Buffering": "no"})
        with self._lasting.stream_slot(caller.owner):
            async with aclosing(clinic.pull.stream(caller, _cursor(call), _ping_s(call))) as chunks:
                try:
                    with self._lasting.held(call.request):
                        async for chunk in chunks:
                            if not call.started:
                                call.started = True
                                await response.prepare(call.request)
                                if dictionary is not None:
                                    await response.send((dictionary.dcz_header(),))
                            parts = self._event(chunk)
                            if dictionary is not None:
                                parts = (await self._frame(dictionary, parts),)
                            await response.send(parts)
                except ServerStops:
                    pass  # an end of the stream like any other: its reader comes back to whoever serves then
        return response

    def _wanted(self, call: Call) -> Dictionary | None:
        """The dictionary of a client that asks for dcz and has one of ours."""
        accepted = call.request.headers.get("Accept-Encoding", "")
        given = available_dictionary_id(call.request.headers.get("Available-Dictionary", ""))
        if given is None or choose_coding(accepted, has_dictionary=True) != "dcz":
            return None
        try:
            dictionary = self._bodies.dictionary(given)
        except NotFound:
            return None
        call.extra["Content-Encoding"] = "dcz"
        call.vary.append("Available-Dictionary")
        return dictionary

    async def _frame(self, dictionary: Dictionary, parts: Sequence[bytes]) -> bytes:
        """An event as a frame; the streams that share an event share it too."""
        last_id, last_parts, last = self._last_frame
        if last_id == dictionary.id and last_parts is parts:
            return last
        text = b"".join(parts)
        if len(text) > limits.INLINE_CODING_BYTES_MAX:
            frame = await self._worker.run(_deflated, text, dictionary)
        else:
            frame = _deflated(text, dictionary)
        self._last_frame = dictionary.id, parts, frame
        return frame

    def _event(self, chunk: StreamChunk) -> Sequence[bytes]:
        """Streams that stand at the same place share the bytes of an event."""
        if chunk.revision is not None:
            return (b'event: directory\ndata: {"revision":%d}\n\n' % chunk.revision,)
        cursor, ops_json = chunk.cursor, chunk.ops_json
        last_cursor, last_ops, last = self._last_event
        if cursor == last_cursor and ops_json is last_ops:
            return last
        self._last_event = cursor, ops_json, event(cursor, ops_json)
        return self._last_event[2]


def _deflated(text: bytes, dictionary: Dictionary) -> bytes:
    return Deflater().deflate("dcz", text, dictionary)[DCZ_HEADER_BYTES:]


def event(cursor: str, ops_json: bytes) -> Sequence[bytes]:
    """One event, in parts; without ops it is a ping."""
    if not ops_json:
        return (b"event: ping\ndata: {}\n\n",)
    if b"\n" in ops_json or b"\r" in ops_json:
        ops_json = _LINE_BREAK.sub(b"\ndata: ", ops_json)
    return b"event: ops\nid: %b\ndata: " % cursor.encode(), ops_json, b"\n\n"


def _ping_s(call: Call) -> float | None:
    ping = call.query.get("ping")
    return None if ping is None else float(ping)


def _cursor(call: Call) -> str | None:
    last = call.request.headers.get("Last-Event-ID")
    if last is None:
        cursor = call.query.get("cursor")
        return None if cursor is None else str(cursor)
    if len(last) > limits.CURSOR_CHARS_MAX or not last.isascii():
        raise BadCursor("Last-Event-ID is not a cursor")
    return last or None
