"""Keeping a server's views in step with its log, in the background, and asking them.

It reads the log from where the views end, works out the entities that were touched, and puts them in. While ops arrive
it takes a small part of the time, so that pushes do not wait for it; who asks something makes it hurry, and is
answered once everything is in that was durable then. Where the views and the log do not belong together, it begins anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from medxz.errors import InternalError, Overloaded, StorageFull, StoreError
from medxz.store.entity_index import Whose
from medxz.store.views.file import ViewsFile, ViewsLost
from medxz.store.views.taking import Batch, pass_by, put_alone, where_of

if TYPE_CHECKING:
    from medxz.clock import Clock
    from medxz.store.base import LogStore
    from medxz.store.views.views import Views

T = TypeVar("T")

ASK_WITHIN_S: Final = 5.0
ASK_AGAIN_S: Final = 5
# While ops arrive: how many at a time, how long they may gather, and which part of the time is ours.
BATCH_OPS: Final = 200
GATHER_S: Final = 0.5
SHARE: Final = 0.1
# When none do: those who read want the time too. Somebody who asks gets all of it.
QUIET_SHARE: Final = 0.25
HURRIED_BATCH_OPS: Final = 500  # twice as many take as long, and 2 MB more
# How much may have to be taken in again after a power cut. Each time, all pages that were touched since are written: with
# 8,000 ops that is 380 bytes an op, with these 270, with twice as many 246.
KEEP_OPS: Final = 32_000
KEEP_S: Final = 600.0
_RETRY_S: Final = (0.0, 1.0, 5.0, 30.0, 300.0)


class Follower:
    """One log's. `start` it when the log is open, `close` it before the log is closed."""

    def __init__(
        self, log: LogStore, file: ViewsFile, clock: Clock, tell: Callable[[str], None] = lambda _: None
    ) -> None:
        self._log = log
        self._file = file
        self._clock = clock
        self._tell = tell
        self._through = 0
        self._kept = 0  # what of it is written down, and since when that is so
        self._kept_at = clock.monotonic()
        self._source: str | None = None  # None: nothing is known of the file yet
        self._asking: list[int] = []  # which seqs are waited for
        self._hurry = _Signal()
        self._moved = _Signal()
        self._task: asyncio.Task[None] | None = None
        self._failures = 0
        self._furthest = 0
        self._seen_seq = 0
        self._lost_at: int | None = None  # where the file was lost when a batch was put in
        self._left_out = 0

    @property
    def through(self) -> int:
        """The server_seq up to which the log is taken in."""
        return self._through

    @property
    def left_out(self) -> int:
        """How many entities could not be taken in: lists and searches lack them."""
        return self._left_out

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="views")
        self._task.add_done_callback(_tell_at_once)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._file.close()

    async def ask(
        self, query: Callable[[Views], T], within_s: float = ASK_WITHIN_S, *, seq: int | None = None
    ) -> T:
        """What the query finds once everything is in that is durable now, or up to `seq`, where that is enough.

        Overloaded where that takes longer.
        """
        seq = self._log.last_seq if seq is None else seq
        if self._task is not None and self._task.done():
            raise InternalError("what is derived from the log is no longer kept")
        if await self.caught_up(seq, within_s):
            try:
                answer = await self._file.run(self._name(), lambda views: _answered(views, seq, query))
            except ViewsLost as lost:
                self._begin_anew(str(lost))
                answer = None
            if answer is not None:
                return answer[0]
        raise Overloaded("what was written is still being taken in", retry_after_s=ASK_AGAIN_S)

    async def caught_up(self, seq: int, within_s: float) -> bool:
        """Hurry until the log is taken in up to `seq`; whether it was in time."""
        give_up_at = self._clock.monotonic() + within_s
        self._asking.append(seq)
        self._hurry.give()
        try:
            while self._source is None or self._through < seq:
                left_s = give_up_at - self._clock.monotonic()
                if left_s <= 0:
                    return False
                await asyncio.wait([self._moved.next()], timeout=left_s)
            return True
        finally:
            self._asking.remove(seq)

    # The task.

    async def _run(self) -> None:
        while True:
            try:
                await self._follow()
            except (ViewsLost, StorageFull, StoreError) as error:
                await self._fail(str(error))
            except Exception as error:  # noqa: BLE001  nothing must end this: what fails is tried again, later and later
                await self._fail(where_of(error))

    async def _fail(self, why: str) -> None:
        self._begin_anew(why)
        await self._clock.sleep(_RETRY_S[min(self._failures, len(_RETRY_S) - 1)])
        self._failures += 1

    async def _follow(self) -> None:
        """Until the log has another epoch, or the file is lost."""
        source = self._name()
        await self._begin(source)
        while self._source == self._name():
            if self._through < self._log.last_seq:
                await self._step(source)
                if self._through > self._furthest:  # not where it failed before
                    self._furthest, self._failures = self._through, 0
                continue
            await self._rest()
        if self._source is not None:
            self._begin_anew("the log has a new epoch")

    async def _rest(self) -> None:
        """All is in: until there is more, or somebody asks."""
        hurried = self._hurry.next()
        grown = asyncio.ensure_future(self._log.wait_beyond(self._through))
        left_s = None
        if self._kept < self._through:
            left_s = max(0.0, self._kept_at + KEEP_S - self._clock.monotonic())
        try:
            await asyncio.wait([grown, hurried], timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            grown.cancel()
        await self._keep_some()
        if not self._is_asked:
            await self._pause(GATHER_S)

    async def _keep_some(self) -> None:
        """Write down what was taken in, when it is much or was long ago."""
        now = self._clock.monotonic()
        if self._kept == self._through:
            self._kept_at = now
        elif self._through - self._kept >= KEEP_OPS or now - self._kept_at >= KEEP_S:
            await self._file.keep()
            self._kept, self._kept_at = self._through, now

    async def _begin(self, source: str) -> None:
        """Go on where the file ends, if it is this log's and no further than it; else from the start."""
        through, last_op = await self._file.run(source, lambda views: (views.through, views.last_op))
        if through > self._log.last_seq or not await self._is_at(through, last_op):
            self._tell("views.db is not of this log: it is made anew")
            await self._file.throw_away()
            through = await self._file.run(source, lambda views: views.through)
        self._left_out = await self._file.run(source, lambda views: views.count_left_out())
        self._source = source
        self._kept, self._kept_at = through, self._clock.monotonic()
        self._move(through)

    async def _is_at(self, seq: int, op_id: str | None) -> bool:
        """Whether the log has that op there. A damaged row can't say, and then nobody knows better."""
        if seq == 0 or op_id is None:
            return True
        ops = await self._log.ops_after(seq - 1, 1)
        return not ops or (found := Batch(ops)).last_seq != seq or found.last_op == op_id

    async def _step(self, source: str) -> None:
        """Take in the next ops, and rest if others want the time."""
        last_seq, begun = self._log.last_seq, self._clock.monotonic()
        is_quiet = self._is_asked or last_seq == self._seen_seq
        self._seen_seq = last_seq
        ops = await self._log.ops_after(self._through, HURRIED_BATCH_OPS if is_quiet else BATCH_OPS)
        if ops:
            self._move(await self._take_in(source, ops))
        else:  # what is left is damaged: the log tells of it
            after = self._through
            await self._file.run(source, lambda views: pass_by(views, after, last_seq))
            self._move(last_seq)
        await self._keep_some()
        share = SHARE if self._log.last_seq > last_seq else QUIET_SHARE
        await self._pause((self._clock.monotonic() - begun) * (1 / share - 1))

    async def _take_in(self, source: str, ops: Sequence[bytes]) -> int:
        """Put these ops in: together, or, where that is not possible, entity by entity."""
        after = self._through
        if self._lost_at is None or abs(after - self._lost_at) >= HURRIED_BATCH_OPS:
            try:
                last_seq = await self._take_in_together(source, ops)
            except ViewsLost:  # a second time would be for the same reason
                self._lost_at = after
                raise
            except StorageFull:
                raise
            except Exception as error:  # noqa: BLE001  one entity that can't be taken in must not keep the others out
                self._tell(f"entities are taken in one by one after server_seq {after}: {where_of(error)}")
                last_seq = await self._take_in_alone(source, ops)
        else:
            last_seq = await self._take_in_alone(source, ops)
        if self._left_out:
            self._left_out = await self._file.run(source, lambda views: views.count_left_out())
        return last_seq

    async def _take_in_alone(self, source: str, ops: Sequence[bytes]) -> int:
        """Put the entities that these ops touch in one by one, and leave out which can't be."""
        after = self._through
        batch = Batch(ops)
        for entity in batch.entities:
            own = await self._log.entity_ops(entity.entity_type, entity.entity_id, through=batch.last_seq)
            wrong = await self._file.run(source, partial(put_alone, after=after, entity=entity, ops=own))
            if wrong is not None:
                self._left_out += 1
                self._tell(
                    f"an entity of type {entity.entity_type} is left out after server_seq {after}: {wrong}"
                )
        await self._file.run(source, lambda views: batch.end(views, after))
        return batch.last_seq

    async def _take_in_together(self, source: str, ops: Sequence[bytes]) -> int:
        """Put the entities that these ops touch in; those that had ops before are read whole, a few at a time."""
        after = self._through
        batch = await self._file.run(source, lambda views: Batch(ops).look_up(views))
        left = batch.to_load
        while left:
            wanted = [Whose(entity.entity_type, entity.entity_id) for entity in left]
            loaded = await self._log.entity_ops_of(wanted, through=batch.last_seq)
            for entity, own in zip(left, loaded, strict=False):
                batch.loaded(entity, own)
            left = left[len(loaded) :]
            if left:
                await self._file.run(source, lambda views: batch.put_loaded(views, after))
        await self._file.run(source, lambda views: batch.put_all(views, after))
        return batch.last_seq

    @property
    def _is_asked(self) -> bool:
        return any(seq > self._through for seq in self._asking)

    def _name(self) -> str:
        return f"{self._log.clinic_id} {self._log.server_id} {self._log.epoch}"

    def _move(self, through: int) -> None:
        self._through = through
        self._moved.give()

    def _begin_anew(self, why: str) -> None:
        self._tell(why)
        self._source = None
        self._through = 0
        self._hurry.give()

    async def _pause(self, seconds: float) -> None:
        """Rest, unless somebody asks."""
        if not self._is_asked:
            await asyncio.wait([self._hurry.next()], timeout=seconds)


def _tell_at_once(task: asyncio.Task[None]) -> None:
    """What breaks the task is told when it does, not when somebody closes it."""
    if not task.cancelled() and (error := task.exception()) is not None:
        task.get_loop().call_exception_handler(
            {"message": "the views are no longer kept", "exception": error}
        )


class _Signal:
    """Something to be waited for again and again, with a limit or beside something else: no task is made for it."""

    def __init__(self) -> None:
        self._next: asyncio.Future[None] | None = None

    def give(self) -> None:
        if self._next is not None and not self._next.done():
            self._next.set_result(None)

    def next(self) -> asyncio.Future[None]:
        """Done once it is given after this."""
        if self._next is None or self._next.done():
            self._next = asyncio.get_running_loop().create_future()
        return self._next


def _answered(views: Views, seq: int, query: Callable[[Views], T]) -> tuple[T] | None:
    """None where the file has been made anew meanwhile."""
    return (query(views),) if views.through >= seq else None
