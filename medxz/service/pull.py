"""Pull, resume and stream: the log as a caller of a scope reads it, each op once and in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from medxz import limits
from medxz.clock import Clock
from medxz.errors import CursorEpochChanged, Invalid, Refusal
from medxz.have import Have, Numbers
from medxz.ids import Ids
from medxz.scope import Scope
from medxz.service.cursor import Cursors, OfLaterEpoch
from medxz.service.gate import Caller, Gate, require
from medxz.service.seen import Seen
from medxz.store.base import BEGINNING, LogStore, Page, Position, PositionLost
from medxz.wire import ResumeAnswer, ResumeRequest


@dataclass(frozen=True, slots=True)
class StreamChunk:
    """Ops as a JSON array and the cursor after them; empty bytes say only that the stream is alive.

    With a `revision` it says that one: what a hub mirrors of its clinic is another than the hub was told.
    """

    cursor: str
    ops_json: bytes
    revision: int | None = None


class Pull:
    """The use case. One instance a server."""

    def __init__(
        self,
        log: LogStore,
        gate: Gate,
        seen: Seen,
        begin_epoch: Callable[[str], Awaitable[None]],
        ids: Ids,
        clock: Clock,
    ) -> None:
        """`begin_epoch` is asked for a new epoch where the log has gone back; `log.epoch` is that one when it returns."""
        self._log: Final = log
        self._gate: Final = gate
        self._seen: Final = seen
        self._begin_epoch: Final = begin_epoch
        self._ids: Final = ids
        self._clock: Final = clock
        self._cursors: Final = Cursors(log)
        self._changing_epoch: Final = asyncio.Lock()
        self.streams_open = 0

    async def page(self, caller: Caller, cursor: str | None, limit: int, wait_s: float) -> tuple[bytes, ...]:
        """A page as the JSON of a PullAnswer, in parts. With nothing new it waits, at most `wait_s`."""
        require(caller, "device_or_hub")
        position = await self._position(caller, cursor)
        give_up_at = self._clock.monotonic() + wait_s
        while True:
            seen_seq = self._log.last_seq
            page = await self._page(position, limit, caller.scope)
            left_s = give_up_at - self._clock.monotonic()
            if page.count or left_s <= 0 or not await self._grows(seen_seq, left_s):
                break
            self._gate.hold(caller)
        self._seen.pulled(caller.name)
        cursor, more = self._cursors.make(page.end, caller.scope), "true" if page.more else "false"
        return (
            f'{{"server_id":"{self._log.server_id}","epoch":"{self._log.epoch}","ops":'.encode(),
            page.ops_json,
            f',"next_cursor":"{cursor}","has_more":{more}}}'.encode(),
        )

    async def resume(self, caller: Caller, request: ResumeRequest) -> ResumeAnswer:
        """The latest cursor before which no op visible to the caller is missing from what it has."""
        require(caller, "device_or_hub")
        position = await self._log.locate(_read_have(request), caller.scope)
        return ResumeAnswer(cursor=self._cursors.make(position, caller.scope))

    async def stream(
        self, caller: Caller, cursor: str | None, ping_s: float | None = None
    ) -> AsyncGenerator[StreamChunk, None]:
        """Ops as they come, until the token ends or is revoked. A Refusal comes before the first chunk, or never.

        It is silent for `ping_s` at most, where its reader asks for that.
        """
        require(caller, "device_or_hub")
        position = await self._position(caller, cursor)
        await self._page(position, 1, caller.scope)  # a lost position is told at once
        self.streams_open += 1
        try:
            yield StreamChunk(self._cursors.make(position, caller.scope), b"")
            said_at = self._clock.monotonic()
            told = None
            while True:
                seen_seq = self._log.last_seq
                page = await self._page(position, limits.STREAM_OPS_MAX, caller.scope)
                self._gate.hold(caller)
                position = page.end
                if page.count:
                    self._seen.pulled(caller.name)
                    yield StreamChunk(self._cursors.make(position, caller.scope), page.ops_json)
                    said_at = self._clock.monotonic()
                if caller.hub_id is not None and told != caller.known.directory.revision:
                    told = caller.known.directory.revision
                    yield StreamChunk(self._cursors.make(position, caller.scope), b"", told)
                elif not page.count and not await self._grows(
                    seen_seq, self._silent_s(caller, said_at, ping_s)
                ):
                    self._gate.hold(caller)
                    yield StreamChunk(self._cursors.make(position, caller.scope), b"")
                    said_at = self._clock.monotonic()
        except Refusal:
            return  # the token ended, was revoked, or the log has a new epoch: the next request learns which
        finally:
            self.streams_open -= 1

    def _silent_s(self, caller: Caller, said_at: float, ping_s: float | None) -> float:
        """How long a stream may still be silent: until the next ping, or until its token ends.

        What others write and this caller may not see wakes it too, and is no sign of life to its reader.
        """
        left_s = caller.expires_at_s + limits.TOKEN_LEEWAY_S - self._clock.now_ms() / 1_000
        silent_s = self._clock.monotonic() - said_at
        return max(0.0, min((ping_s or limits.STREAM_PING_S) - silent_s, left_s))

    async def _position(self, caller: Caller, cursor: str | None) -> Position:
        epoch = self._log.epoch
        try:
            return BEGINNING if cursor is None else self._cursors.read(cursor, caller.scope)
        except OfLaterEpoch as seen:
            await self._begin_epoch_after(epoch, later_than=seen.epoch)
            raise

    async def _page(self, position: Position, limit: int, scope: Scope) -> Page:
        epoch = self._log.epoch
        try:
            return await self._log.page(position, limit, scope)
        except PositionLost:
            await self._begin_epoch_after(epoch)
            raise CursorEpochChanged(
                "the log has gone back since this cursor was made; it has a new epoch now"
            ) from None

    async def _begin_epoch_after(self, epoch: str, *, later_than: str = "") -> None:
        """Many readers may notice at once that the log has gone back: one new epoch is enough.

        None where a clock that had run ahead named an epoch which ours is not `later_than` yet: that would never end.
        """
        async with self._changing_epoch:
            begun = self._ids.uuid7()
            if self._log.epoch == epoch and begun > later_than:
                await self._begin_epoch(begun)

    async def _grows(self, seq: int, within_s: float) -> bool:
        """Whether the log grew, or something else woke its readers, before that time was over."""
        growing = self._log.wait_beyond(seq)  # what wakes it from here on counts
        try:
            async with asyncio.timeout(within_s):
                await growing
        except TimeoutError:
            return False
        return True


def _read_have(request: ResumeRequest) -> Have:
    have: Have = {}
    ranges = sum(1 if isinstance(wire, int) else len(wire) for wire in request.have.values())
    if ranges > limits.HAVE_RANGES_MAX:
        raise Invalid(f"a have-vector has at most {limits.HAVE_RANGES_MAX} ranges", field="have")
    for device_id, wire in request.have.items():
        try:
            have[device_id] = Numbers.from_wire(wire)
        except ValueError as error:
            raise Invalid(str(error), field=f"have.{device_id}") from None
    return have
