"""Push, then pull: how two logs are brought into step, whichever two they are.

A `Local` side (a device's store; a hub's log) hands out what a server has not acknowledged and takes in what that
server has. What a server holds is remembered by `LogId`, its id and epoch: a log that was restored or replaced has
another, and is met anew. Progress, not deadlines: only a server that stands still is given up.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import aclosing
from typing import Final, NoReturn

from medxz import limits
from medxz.clock import Clock
from medxz.errors import PeerRefused, PeerUnreachable
from medxz.replicate.cycle import STALL_S, Cycle, IdentityTaken, LogChanged
from medxz.replicate.retry import Retry
from medxz.replicate.sides import (
    START,
    Local,
    LogId,
    Meeting,
    OpByOp,
    Outgoing,
    Progress,
    Remote,
    Report,
    SnapshotHead,
    SnapshotPart,
    Standing,
    StreamPage,
    prove_it_went_back,
)
from medxz.waiting import first_of

__all__ = [
    "LIVE_ROUND_S", "LIVE_S_MIN", "START", "STREAM_ENDED", "Local", "LogId", "Meeting", "OpByOp", "Outgoing", "Progress", "Remote", "Replicator", "Report", "SnapshotHead",
    "SnapshotPart", "Standing", "StreamPage", "prove_it_went_back",
]  # fmt: skip

LIVE_ROUND_S: Final = 30.0
LIVE_S_MIN: Final = 5.0
# how soon a hub is asked how far the cloud is with what it has just been given; then after twice as long each time
CLOUD_ROUND_S: Final = 1.0
STREAM_ENDED: Final = "the stream ended"  # as each does when its token ends

assert STALL_S > limits.STREAM_PING_S_MAX


class Replicator:
    """Keeps one local side in step with one server."""

    def __init__(
        self,
        local: Local,
        remote: Remote,
        *,
        clock: Clock,
        random_unit: Callable[[], float] = random.random,
        progress: Callable[[Progress], None] = lambda _: None,
        arrived: Callable[[], None] = lambda: None,
        tell: Callable[[Standing, str], None] = lambda *_: None,
        revised: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`revised` is told which directory a cloud has, as its stream says it."""
        self._local = local
        self._remote = remote
        self._clock = clock
        self._tell = tell
        self._revised = revised
        self._retry = Retry(clock, random_unit, lambda why: tell("offline", why))
        self._cycle = Cycle(local, remote, clock=clock, stall_s=STALL_S, progress=progress, arrived=arrived)

    async def run(self, *, attempts: int, patience_s: float) -> Report:
        """One cycle, tried again while that can help: so many times, and never to wait longer than `patience_s`."""
        async for attempt in self._retry.times(attempts, patience_s):
            with attempt:
                await self._cycle.run()
        return self._cycle.report

    async def follow(self, wake: asyncio.Event) -> None:
        """Stay in step for ever: what arrives is applied as it comes, what is recorded (`wake`) goes out.

        Ends with the error that trying again can't mend.
        """
        while True:
            async for attempt in self._retry.for_ever():
                with attempt:
                    await self._session(wake)

    async def attend(self, wake: asyncio.Event) -> None:
        """One stay: in step until the stream ends. Where and when to go on is for who asked to say."""
        await self._session(wake)

    @property
    def report(self) -> Report:
        """What came of it so far."""
        return self._cycle.report

    async def session(self, wake: asyncio.Event, can_wait: Callable[[PeerRefused], bool]) -> NoReturn:
        """Catch up, then live on the stream until something ends that: the error that did.

        `can_wait`: whether what this server refuses now is offered to it again later, and the session goes on.
        """
        await self._live(wake, await self._catch_up(wake), can_wait)
        raise PeerUnreachable(STREAM_ENDED)

    async def _catch_up(self, wake: asyncio.Event) -> Meeting:
        wake.clear()
        await self._cycle.run()
        return await self._local.meet(self._remote)

    async def _live(
        self, wake: asyncio.Event, meeting: Meeting, can_wait: Callable[[PeerRefused], bool] = lambda _: True
    ) -> None:
        await first_of(self._read_stream(meeting.log), self._push_when_woken(wake, meeting, can_wait))

    async def _session(self, wake: asyncio.Event) -> None:
        """Catch up, then live on the stream until it ends. Returns where that stream had lived for a while."""
        meeting = await self._catch_up(wake)
        begun = self._clock.monotonic()
        try:
            await self._live(wake, meeting)
        except (PeerUnreachable, PeerRefused, LogChanged, IdentityTaken) as error:
            if isinstance(error, PeerRefused) and error.status != 409:
                raise
            if self._clock.monotonic() - begun < LIVE_S_MIN:
                raise PeerUnreachable(str(error) or "the stream does not last") from error
            self._tell("offline", str(error))

    async def _read_stream(self, log: LogId) -> None:
        cursor = await self._cycle.first_cursor(log)
        is_live = False
        async with aclosing(self._remote.stream(cursor or None)) as pages:
            async for page in pages:
                if page.cursor is not None:
                    await self._cycle.take_in(log, page.ops, page.cursor)
                elif page.revision is not None:
                    self._revised(page.revision)
                elif not is_live:  # the others are pings
                    is_live = True
                    self._tell("live", "")
        raise PeerUnreachable(STREAM_ENDED)

    async def _push_when_woken(
        self, wake: asyncio.Event, meeting: Meeting, can_wait: Callable[[PeerRefused], bool]
    ) -> None:
        """Push what is recorded, and now and then look for what waits and how far the cloud has got."""
        met_at, round_s = self._clock.monotonic(), CLOUD_ROUND_S
        while True:
            await first_of(wake.wait(), self._clock.sleep(round_s if meeting.awaits_cloud else LIVE_ROUND_S))
            round_s = CLOUD_ROUND_S if wake.is_set() else min(LIVE_ROUND_S, 2 * round_s)
            wake.clear()
            async for attempt in self._retry.while_refused(can_wait):
                with attempt:
                    if self._clock.monotonic() - met_at >= meeting.good_for_s:
                        before, meeting = meeting, await self._local.meet(self._remote)
                        if meeting.log != before.log:
                            raise LogChanged
                        met_at = self._clock.monotonic()
                    if meeting.identity_taken:
                        raise IdentityTaken
                    await self._cycle.push_all(meeting)
