"""One cycle: meet the server, push what it lacks, pull what it has.

No op wedges the queue: a final rejection is parked, a `retry` waits for the next cycle, and a batch that is refused
as a whole is halved until the one op that it is about stands alone. Refused here: to go on with a server that goes
in circles, and to read a failure as a success.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from medxz import limits
from medxz.clock import Clock
from medxz.errors import MedxzError, PeerRefused, PeerUnreachable
from medxz.have import Numbers
from medxz.op import Operation
from medxz.replicate.sides import (
    START,
    Local,
    LogId,
    Meeting,
    Outgoing,
    Progress,
    Remote,
    Report,
    SnapshotHead,
    SnapshotPart,
)

if TYPE_CHECKING:
    from medxz import wire

PUSH_OPS: Final = 500
PUSH_BYTES_MAX: Final = 4 * limits.MIB
PUSH_BYTES_MIN: Final = 16 * limits.KIB
PUSH_BYTES_AT_FIRST: Final = limits.MIB
PUSH_FAST_S: Final = 2.0
STALL_S: Final = 120.0
ROUNDS_MAX: Final = 6
# a shorter log is read in no more time, and whole ops tell more than a snapshot does
SNAPSHOT_OPS_MIN: Final = 1_000
FAILED_IN_A_ROW_MAX: Final = 8

_ABOUT_AN_OP: Final = {400, 413, 422}
_PULL_GOES_ON: Final = {500, 503, 507}

assert PUSH_OPS <= limits.PUSH_OPS_MAX
assert PUSH_BYTES_MIN < PUSH_BYTES_AT_FIRST < PUSH_BYTES_MAX <= limits.BODY_BYTES_MAX


class LogChanged(MedxzError):
    """In the middle of a cycle the server answered out of another log."""


class IdentityTaken(MedxzError):
    """Somebody else writes under our identity."""


class Cycle:
    """Push, then pull, between one local side and one server. It counts what came of it in `report`."""

    def __init__(
        self,
        local: Local,
        remote: Remote,
        *,
        clock: Clock,
        stall_s: float,
        progress: Callable[[Progress], None],
        arrived: Callable[[], None],
    ) -> None:
        self._local = local
        self._remote = remote
        self._clock = clock
        self._stall_s = stall_s
        self._progress = progress
        self._arrived = arrived
        self._batch_bytes = PUSH_BYTES_AT_FIRST
        self._failed_in_a_row = 0
        self.report = Report()

    async def run(self) -> None:
        """Push all, then pull to the end; begun anew where the server turns out to have another log."""
        self.report.retry = 0
        for _ in range(ROUNDS_MAX):
            meeting = await self._local.meet(self._remote)
            try:
                if meeting.identity_taken:
                    await self._become_another(meeting.log)
                    continue
                refusal = await self._push_until_refused(meeting)
                await self._pull_all(meeting.log)
            except (LogChanged, IdentityTaken):
                continue
            if refusal is not None:
                raise refusal
            return
        raise PeerUnreachable("the server keeps changing its log: it does not come to rest")

    # ---------------------------------------------------------------------------------------------- push

    async def _push_until_refused(self, meeting: Meeting) -> PeerRefused | None:
        """A server whose disk is full, or that is too busy to write, can still be read from."""
        try:
            await self.push_all(meeting)
        except PeerRefused as refusal:
            if refusal.status not in _PULL_GOES_ON:
                raise
            return refusal
        return None

    async def push_all(self, meeting: Meeting) -> None:
        """Offer each op that the log lacks once: what has to be offered again later does not hold up the rest."""
        log = meeting.log
        await self._local.report(self._remote, log)
        if meeting.doubtful is not None:
            await self._push_batch(log, [meeting.doubtful])
        after, total, begun = 0, await self._local.waiting(log), self.report.settled
        self._failed_in_a_row = 0
        while batch := await self._local.outbox(log, after, PUSH_OPS, self._batch_bytes):
            if batch[0].position <= after:
                raise AssertionError("an outbox goes forwards")
            await self._push_batch(log, batch)
            after = batch[-1].position
            self._progress(Progress("push", self.report.settled - begun, total))

    async def _push_batch(self, log: LogId, batch: Sequence[Outgoing]) -> None:
        begun = self._clock.monotonic()
        try:
            answer = await self._remote.push([op.body for op in batch])
        except PeerUnreachable:
            self._batch_bytes = max(PUSH_BYTES_MIN, self._batch_bytes // 2)
            raise
        except PeerRefused as refusal:
            if refusal.status not in _ABOUT_AN_OP and refusal.status != 500:
                raise
            await self._push_halves(log, batch, refusal)
            return
        self._failed_in_a_row = 0
        if self._clock.monotonic() - begun < PUSH_FAST_S:
            self._batch_bytes = min(PUSH_BYTES_MAX, self._batch_bytes * 2)
        await self._settle(log, batch, answer)

    async def _push_halves(self, log: LogId, batch: Sequence[Outgoing], refusal: PeerRefused) -> None:
        if len(batch) > 1:
            middle = len(batch) // 2
            await self._push_batch(log, batch[:middle])
            await self._push_batch(log, batch[middle:])
        elif refusal.status in _ABOUT_AN_OP:
            await self._local.park(log, batch[0], refusal.code, refusal.message)
            self.report.rejected += 1
        else:
            # the server failed over this one: offer it again later. Failing over each, it is the server's fault
            self.report.retry += 1
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= FAILED_IN_A_ROW_MAX:
                raise refusal

    async def _settle(self, log: LogId, batch: Sequence[Outgoing], answer: wire.PushAnswer) -> None:
        for op, result in zip(batch, answer.results, strict=True):
            if result.op_id is not None and result.op_id != op.op_id:
                raise PeerUnreachable("the results do not stand in the order of the request")
        identity_is_ours = await self._local.settle(batch, answer)
        for result in answer.results:
            self.report.count(result.status)
        if not identity_is_ours:
            raise IdentityTaken
        if LogId(answer.server_id, answer.epoch) != log:
            raise LogChanged

    # ---------------------------------------------------------------------------------------------- pull

    async def _pull_all(self, log: LogId) -> None:
        cursor = await self.first_cursor(log)
        moved_at = self._clock.monotonic()
        for_restarts = iter(range(ROUNDS_MAX))
        while True:
            try:
                page = await self._remote.pull(cursor or None, limit=limits.PULL_OPS_DEFAULT)
            except PeerRefused as refusal:
                if next(for_restarts, None) is None:
                    raise PeerUnreachable("the server takes none of its own cursors") from refusal
                cursor = await self._after_refused_cursor(log, refusal)
                continue
            now = self._clock.monotonic()
            if page.ops:
                moved_at = now
            elif page.has_more and (page.next_cursor == cursor or now - moved_at > self._stall_s):
                raise PeerUnreachable(
                    "the log does not move on: it says that there is more and gives nothing"
                )
            await self.take_in(LogId(page.server_id, page.epoch), page.ops, page.next_cursor)
            if LogId(page.server_id, page.epoch) != log:
                raise LogChanged
            cursor = page.next_cursor
            if not page.has_more:
                return

    async def first_cursor(self, log: LogId) -> str:
        cursor = await self._local.cursor(log)
        return await self._resumed(log) if cursor is None else cursor

    async def _resumed(self, log: LogId) -> str:
        """A cursor in a log that was never read from, by what is here already; with nothing here, from a snapshot."""
        if await self._local.wants_snapshot():
            cursor = await self._from_snapshot(log, ops_min=SNAPSHOT_OPS_MIN)
            if cursor is not None:
                return cursor
        have = await self._local.have()
        if not have:
            return START
        cursor = await self._remote.resume(have)
        await self._local.begin_at(log, cursor)
        return cursor

    async def _after_refused_cursor(self, log: LogId, refusal: PeerRefused) -> str:
        match refusal.code:
            case "cursor_scope_changed":
                cursor = await self._from_snapshot(log, ops_min=0)
                if cursor is None:
                    cursor = START
                    await self._local.begin_at(log, cursor)
                return cursor
            case "bad_cursor":
                return await self._resumed(log)
            case "cursor_epoch_changed":
                # the log has a new name: first learn it, so that nothing is kept under the old one
                if (await self._local.meet(self._remote)).log != log:
                    raise LogChanged from refusal
                return await self._resumed(log)
            case _:
                raise refusal

    async def _from_snapshot(self, log: LogId, *, ops_min: int) -> str | None:
        """Take in every entity as it stands there; the cursor after that.

        None: read the log, for it has no snapshots, or fewer ops than these.
        """
        done = 0
        async with aclosing(self._remote.snapshot()) as parts:
            try:
                head = (await anext(parts)).head
            except PeerRefused as refusal:
                if refusal.status != 404:
                    raise
                return None
            if LogId(head.server_id, head.epoch) != log:
                raise LogChanged
            if _ops_told(head) < ops_min or not await self._local.begin_snapshot(head):
                return None
            async with aclosing(_one_ahead(parts)) as ahead:
                async for part in ahead:
                    await self._local.take_snapshot(part.lines)
                    done += len(part.lines)
                    self._progress(Progress("snapshot", done, head.entities))
        is_ours = await self._local.end_snapshot(head)
        self.report.entities += done
        if not is_ours:
            raise IdentityTaken
        return head.cursor

    async def take_in(self, log: LogId, ops: Sequence[Operation], cursor: str) -> None:
        new = await self._local.apply(log, ops, cursor)
        self.report.pulled += len(new)
        if new:
            self._progress(Progress("pull", self.report.pulled, None))
            self._arrived()

    async def _become_another(self, log: LogId) -> None:
        """Read the whole log first: only then is it known what no server has."""
        await self._local.begin_at(log, START)
        await self._pull_all(log)
        self.report.recorded_again += await self._local.take_new_identity(self._remote)


def _ops_told(head: SnapshotHead) -> int:
    try:
        have = [Numbers.from_wire(numbers) for numbers in head.have.values()]
    except ValueError:
        raise PeerUnreachable("the snapshot does not say lawfully whose numbers it has") from None
    return sum(last - first + 1 for numbers in have for first, last in numbers)


async def _one_ahead(parts: AsyncIterator[SnapshotPart]) -> AsyncGenerator[SnapshotPart, None]:
    """The same parts: while one is put away, the next is on its way."""
    coming = asyncio.ensure_future(anext(parts, None))
    try:
        while (part := await coming) is not None:
            coming = asyncio.ensure_future(anext(parts, None))
            yield part
    finally:
        coming.cancel()
        await asyncio.wait([coming])
