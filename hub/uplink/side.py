"""The hub's log as one side of a replication, towards the cloud's (`medxz.replicate.Local`).

Up goes what the cloud is not known to have, and what was rejected here; down comes everything, kept leniently: the
cloud has acknowledged it. Whether an author may write is not judged again here, for the cloud is the authority and
marks what a person should look at. What of this is durable lags a moment behind, so that a busy hub does not write
twice for each op: what is done again after a power cut is a duplicate.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from hub.reading import Reading, WholeLog
from hub.uplink.letters import Letters
from hub.uplink.queue import Queue
from hub.uplink.settled import Settled
from medxz import wire
from medxz.clock import Clock
from medxz.errors import PeerRefused
from medxz.op import Operation
from medxz.replicate import LogId, Meeting, Outgoing, Remote, prove_it_went_back
from medxz.store.base import LetterRow
from medxz.store.exchange import Exchange, Refusal
from medxz.store.registry import SqliteRegistry
from medxz.store.sqlite import SqliteLog

MEET_EVERY_S: Final = 60.0
# within which each relay of a cloud knows what the others have taken
LAG_S: Final = 3.0
# ops that went up from here come back on the stream: so many are known again without a look into the log
OURS_MAX: Final = 10_000

_NO_PLACE: Final = Exchange("", "")


class CloudSide(WholeLog):
    """One hub's log towards one cloud. `keep` what it knows now and then; `changed` is set where there is something."""

    def __init__(
        self,
        log: SqliteLog,
        registry: SqliteRegistry,
        clock: Clock,
        met: Callable[[LogId], Awaitable[None]],
    ) -> None:
        """`met` is awaited whenever the cloud was met, with the log that it has."""
        super().__init__(Reading(log, clock, "the cloud"))
        self._log: Final = log
        self._registry: Final = registry
        self._clock: Final = clock
        self._met: Final = met
        self._remote: Remote | None = None
        self._with = LogId("", "")
        self._place = _NO_PLACE
        self._settled = Settled({})
        self._queue = Queue(log, self._settled, clock, 0)
        self._letters: Final = Letters(log, self._take_letters)
        self._refusals: list[Refusal] = []
        self._ours: dict[str, None] = {}
        self._counted = (0, 0)  # what the cloud lacked, and how long this log was then
        self._since = 0  # how many of these, and of those that came since, it has by now
        self._keeping: Final = asyncio.Lock()

    async def load(self) -> None:
        """What is known before the cloud is met."""
        self._settled = Settled(self._registry.directory.cloud_marks)
        self._settled.take_moved()
        await self._count()

    async def begin_anew(self) -> None:
        """Somebody else has moved what was kept: go on from there."""
        self._with = LogId("", "")  # nothing is written down over it before the next meeting
        await self.load()

    @property
    def backlog(self) -> int:
        """How many settled numbers the cloud is not known to have."""
        lacking, at = self._counted
        return max(0, lacking + self._log.last_seq - at - self._since)

    # ------------------------------------------------------------------------------------- meeting

    async def meet(self, remote: Remote) -> Meeting:
        """Learn which log it has, and how far that is."""
        self._remote = remote
        info, marks = await remote.info(), await remote.watermarks()
        log = LogId(info.server_id, marks.cloud_epoch or info.epoch)
        self._reading.begin()
        if log != self._with and await self._went_back(remote, log):
            return await self.meet(remote)
        if log != self._with:
            await self._begin(log, marks.cloud)
        if self._settled.exceeds(marks.cloud) and not await self._falls_back(remote, log):
            return await self.meet(remote)
        if self._settled.take_through(marks.cloud):
            self.changed.set()
        if self._place.shared_numbers != len(self._log.shared):
            self._stand_at(await self._locate(log, self._settled), self._settled)
        await self._met(log)
        return Meeting(log, good_for_s=MEET_EVERY_S)

    async def _went_back(self, remote: Remote, log: LogId) -> bool:
        """Whether that is an epoch before the one that we know, and it has begun another since it was shown so."""
        kept = await self._registry.exchange()
        if kept is None or kept.server_id != log.server_id or kept.epoch <= log.epoch or not kept.cursor:
            return False
        await prove_it_went_back(remote, kept.cursor)
        return (await remote.watermarks()).cloud_epoch != log.epoch

    async def _begin(self, log: LogId, marks: dict[str, int]) -> None:
        """Go on where it was left; with a log that is not known, offer again what its watermarks lack."""
        kept = await self._registry.exchange()
        if (
            kept is None
            or LogId(kept.server_id, kept.epoch) != log
            or kept.pushed_through > self._log.last_seq
        ):
            settled = Settled(marks)
            self._stand_at(await self._locate(log, settled), settled)
            self._letters.through, self._cursor = 0, None
        else:
            self._with, self._place = log, kept
            self._settled = Settled(self._registry.directory.cloud_marks)
            self._settled.take_moved()
            self._letters.through, self._cursor = kept.letters_through, kept.cursor
            through, later = kept.pushed_through, kept.later
            self._queue = Queue(self._log, self._settled, self._clock, through, later, unsure=True)
        await self.keep()

    async def _falls_back(self, remote: Remote, log: LogId) -> bool:
        """It says that it has less than it acknowledged. False: it has noticed by now, and has another epoch.

        Nobody's cursor may be ahead of it but ours, which it is shown before anything is filled up again. Where ours
        is not, another relay of it may only be behind: asked again, it gets again what it lacks then.
        """
        try:
            await remote.pull(self._cursor or None, limit=1)
        except PeerRefused as refusal:
            if refusal.code != "cursor_epoch_changed" or (await remote.watermarks()).cloud_epoch == log.epoch:
                raise
            return False
        await self._clock.sleep(LAG_S)
        marks = await remote.watermarks()
        if marks.cloud_epoch == log.epoch and self._settled.exceeds(marks.cloud):
            place = await self._locate(log, Settled(marks.cloud))
            self._stand_at(place, self._settled.fallen_to(marks.cloud))
            self._letters.through = 0
            await self.keep()
        return True

    async def _locate(self, log: LogId, settled: Settled) -> Exchange:
        """The first op that it may lack; a number that two ops share says nothing of either."""
        shared = len(self._log.shared)
        at = await self._log.locate(settled.copy(), "full")
        return Exchange(log.server_id, log.epoch, at.seq, shared_numbers=shared)

    def _stand_at(self, place: Exchange, settled: Settled) -> None:
        """In one step, after the place was found: whatever is written down meanwhile fits together."""
        self._with, self._place = LogId(place.server_id, place.epoch), place
        self._settled = settled
        self._queue = Queue(self._log, settled, self._clock, place.pushed_through)
        self.changed.set()

    # ------------------------------------------------------------------------------------- up

    async def report(self, remote: Remote, _log: LogId) -> None:
        """Tell what was rejected here, so that those numbers settle there too."""
        if await self._letters.report(remote, lambda row: self._settled.has(row.device_id, row.device_seq)):
            self.changed.set()

    def _take_letters(self, answer: wire.PushAnswer, rows: Sequence[LetterRow]) -> None:
        if LogId(answer.server_id, answer.epoch) == self._with:
            for row in rows:
                self._count_in(self._settled.take(row.device_id, row.device_seq))
            self._take_through(answer)

    async def outbox(self, _log: LogId, after: int, ops_max: int, bytes_max: int) -> Sequence[Outgoing]:
        batch = await self._queue.next(after, ops_max, bytes_max)
        self.changed.set()
        return batch

    async def waiting(self, _log: LogId) -> int:
        return self.backlog

    async def settle(self, batch: Sequence[Outgoing], answer: wire.PushAnswer) -> bool:
        """What it stored, or refused for good, is done. What counts for another log is left to the next meeting."""
        if LogId(answer.server_id, answer.epoch) != self._with:
            return True
        for op, result in zip(batch, answer.results, strict=True):
            if result.status != "retry":
                self._settle(op, result.code if result.status == "rejected" else None)
        self._take_through(answer)
        return True

    def _settle(self, op: Outgoing, refused: str | None) -> None:
        offered = self._queue.answered(op.position)
        if offered is None:
            raise AssertionError("only what was handed out is answered")
        if refused is not None:
            self._refusals.append((offered.op_id, offered.device_id, refused))
        if refused != "wrong_clinic":  # which settles nothing there
            self._count_in(self._settled.take(offered.device_id, offered.device_seq))
        self._ours[offered.op_id] = None
        if len(self._ours) > OURS_MAX:
            del self._ours[next(iter(self._ours))]

    def _take_through(self, answer: wire.PushAnswer) -> None:
        if isinstance(answer.cloud_through, dict):
            self._settled.take_through(answer.cloud_through)
        self.changed.set()

    async def park(self, _log: LogId, op: Outgoing, code: str, _message: str) -> None:
        """It will not even read this one: its number settles there by our word, and its device is told."""
        offered = self._queue.offered(op.position)
        if offered is None or self._remote is None:
            raise AssertionError("only what was handed out to a server is refused by it")
        told = "too_large" if code == "too_large" else "invalid"
        row = LetterRow(0, offered.device_id, offered.device_seq, offered.op_id, told)
        await self._letters.tell(self._remote, [row])
        self._queue.answered(op.position)
        self._refusals.append((offered.op_id, offered.device_id, told))
        self.changed.set()

    # ------------------------------------------------------------------------------------- down

    async def apply(self, log: LogId, ops: Sequence[Operation], cursor: str) -> Sequence[Operation]:
        if log != self._with:
            return []
        self._reading.check(ops)
        stored = await self._reading.store([op for op in ops if op.op_id not in self._ours])
        came = {op.op_id for op in stored}
        for op in ops:
            is_new = self._settled.take(op.device_id, op.device_seq)
            self._count_in(is_new or op.op_id in came)
        self._cursor = cursor
        self.changed.set()
        return stored

    # ------------------------------------------------------------------------------------- keeping

    async def keep(self) -> None:
        """Write down how far it is, and what the cloud has and has refused: one transaction."""
        async with self._keeping:  # one after the other: of a new epoch the first forgets the marks before
            await self._keep()

    async def _keep(self) -> None:
        self.changed.clear()
        if self._with == LogId("", ""):
            return
        place = Exchange(
            self._with.server_id,
            self._with.epoch,
            self._queue.through,
            self._letters.through,
            self._place.shared_numbers,
            tuple(sorted(self._queue.later)),
            self._cursor,
        )
        moved, refusals, settled = self._settled.take_moved(), self._refusals, self._settled
        self._refusals = []
        try:
            await self._registry.keep_exchange(place, moved, refusals)
        except BaseException:
            settled.give_back(moved)
            self._refusals = refusals + self._refusals
            self.changed.set()
            raise
        await self._count()

    async def _count(self) -> None:
        settled, since = self._settled, self._since
        lacking, at = await self._log.lacking(settled.copy())
        self._counted, self._since = (lacking, at), self._since - since

    def _count_in(self, is_one: bool) -> None:
        self._since += is_one
