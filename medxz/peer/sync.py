"""The calls that move ops: what a device and a hub ask of the server above them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import httpx
import msgspec

from medxz import limits, wire
from medxz.errors import PeerRefused, PeerUnreachable
from medxz.have import Have
from medxz.peer.answers import Answered, check_ops, problem_of, read_model, read_struct
from medxz.peer.codings import COMPRESS_OP_BYTES_MIN
from medxz.peer.events import EventParser, stream_page
from medxz.peer.frames import Frames, wanted
from medxz.peer.lines import read_snapshot
from medxz.peer.request import Request
from medxz.peer.transport import Transport
from medxz.replicate import SnapshotPart, StreamPage


class SyncCalls(Transport):
    """Push, pull, and what they need to know."""

    async def info(self) -> wire.InfoAnswer:
        told = read_model(await self._get("/v1/info"), wire.InfoAnswer)
        self._codings.named(dictionary.id for dictionary in told.dictionaries)
        return told

    async def status(self) -> wire.StatusAnswer:
        return read_model(await self._get("/v1/sync/status"), wire.StatusAnswer)

    async def watermarks(self) -> wire.WatermarksAnswer:
        """How far each device's numbers are settled there; for hubs and administrators."""
        return read_model(await self._get("/v1/sync/watermarks"), wire.WatermarksAnswer)

    async def config(self) -> wire.ConfigAnswer:
        return read_model(await self._get("/v1/config"), wire.ConfigAnswer)

    async def push(
        self, ops: Sequence[bytes], dead_letters: Sequence[wire.WireDeadLetter] = ()
    ) -> wire.PushAnswer:
        """Hand over ops, each the JSON text that its author wrote. The answer has one result for each, in order."""
        body = b'{"ops":[' + b",".join(ops) + b"]"
        if dead_letters:
            body += b',"dead_letters":' + msgspec.json.encode(dead_letters)
        body += b"}"
        if self._live is not None or len(body) >= COMPRESS_OP_BYTES_MIN:
            await self._dictionary()
        answered = await self._pushed_live(body) or await self._post("/v1/sync/push", body)
        answer = read_struct(answered, wire.PushAnswer)
        if len(answer.results) != len(ops):
            raise PeerUnreachable(f"{self.url} gave {len(answer.results)} results for {len(ops)} ops")
        return answer

    async def _pushed_live(self, body: bytes) -> Answered | None:
        """By the live line, where this peer is thrifty; None: as a request."""
        dictionary = self._codings.dictionary
        if self._live is None or dictionary is None:
            return None
        told = await self._live.push(body, *dictionary)
        return None if told is None else Answered(httpx.codes.OK, {}, told)

    async def _dictionary(self) -> bytes | None:
        """The one that the server names and that is here; it is asked once."""
        if not self._codings.is_told:
            try:
                await self.info()
            except PeerRefused:
                self._codings.named(())
        held = self._codings.dictionary
        return held[1] if held is not None else None

    async def pull(self, cursor: str | None, *, limit: int, wait_s: int = 0) -> wire.PullAnswer:
        """A page of the log after the cursor, every op held against the rules and its own hash."""
        query = {"limit": str(limit)} | ({"wait": str(wait_s)} if wait_s else {})
        query |= {"cursor": cursor} if cursor else {}
        answered = await self._get("/v1/sync/pull", query, longer_s=wait_s)
        page = read_struct(answered, wire.PullAnswer)
        check_ops(page.ops)
        return page

    async def resume(self, have: Have) -> str:
        """The latest cursor before which this side misses nothing."""
        wanted = {device_id: numbers.to_wire() for device_id, numbers in have.items()}
        body = msgspec.json.encode({"have": wanted})
        return read_model(await self._post("/v1/sync/resume", body), wire.ResumeAnswer).cursor

    async def alive(self) -> None:
        """Ask whether its process runs, which costs a server nothing. Whatever it says, it does."""
        answered = await self._ask(Request("GET", "/health/live", with_token=False))
        if not answered.body:
            raise PeerUnreachable(f"{self.url} says nothing of itself")

    async def stream(self, cursor: str | None) -> AsyncGenerator[StreamPage, None]:
        """The log as it grows. The first page, without ops, says that the stream stands; pings are such pages too."""
        try:
            async with aclosing(self._stream(cursor, self._listening.ping_s)) as pages:
                async for page in pages:
                    yield page
        except PeerRefused as refused:
            if refused.status != httpx.codes.UNPROCESSABLE_ENTITY or self._listening.ping_s is None:
                raise
        else:
            return
        # an older server, that can't be asked to ping
        async with aclosing(self._stream(cursor, None)) as pages:
            async for page in pages:
                yield page

    async def _stream(self, cursor: str | None, ping_s: float | None) -> AsyncGenerator[StreamPage, None]:
        query = {"cursor": cursor} if cursor else {}
        query |= {"ping": f"{ping_s:g}"} if ping_s is not None else {}
        dictionary = await self._dictionary() if self._live is not None else None
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        headers |= wanted(dictionary) if dictionary is not None else {}
        silent_s = limits.STREAM_PING_S_MAX if ping_s is None else ping_s
        asked = Request("GET", "/v1/sync/stream", query, headers, silent_s=silent_s)
        async with self._opened(asked) as response:
            if response.status_code != httpx.codes.OK:
                raise problem_of(await self._whole(response))
            if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
                raise PeerUnreachable(f"{self.url} answered with something that is no stream")
            yield StreamPage(cursor=None, ops=[])
            is_coded = response.headers.get("Content-Encoding") == "dcz"
            frames = Frames(dictionary) if is_coded and dictionary is not None else None
            events = EventParser()
            async for chunk in self._listening.each(response.aiter_raw()):
                for event in events.feed(chunk if frames is None else frames.feed(chunk)):
                    yield stream_page(event)

    async def snapshot(self) -> AsyncGenerator[SnapshotPart, None]:
        """Every entity that this caller may hold, in place of the whole log. The first part says where to go on from."""
        async with self._opened(Request("GET", "/v1/sync/snapshot")) as response:
            if response.status_code != httpx.codes.OK:
                raise problem_of(await self._whole(response))
            coding = response.headers.get("Content-Encoding", "identity")
            async with aclosing(read_snapshot(coding, self._listening.each(response.aiter_raw()))) as parts:
                async for part in parts:
                    yield part
