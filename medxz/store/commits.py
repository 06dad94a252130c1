"""Group commit: the pushes that wait share one transaction and one fsync, and nobody is answered before it.

What else is to be done with the store goes between two transactions. A batch that breaks the writer is told so; the
others of its transaction are tried again, each by itself. How a transaction is written is the backend's.

A database elsewhere may not answer a commit for long: its standby is away. The commit is not cut off then, for nobody
could know what became of it. But whoever waits is told to come again, and so is who comes while it lasts.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from medxz import limits
from medxz.errors import MedxzError, Overloaded, RowCorrupt
from medxz.store.base import Append, Outcome
from medxz.store.tail import Committed

T = TypeVar("T")

# What a commit costs beside the texts: the write-ahead log takes whole pages, four or five for an op by itself.
COMMIT_BYTES: Final = 16 * limits.KIB
_LETTER_BYTES: Final = 256


class Transactions(Protocol):
    """How a backend writes."""

    async def write(self, batches: Sequence[Append], size: int, /) -> tuple[list[list[Outcome]], Committed]:
        """Store these in one transaction: the outcomes of each, and what is durable now; `size` is that of the texts.

        Nothing of it is stored, or nobody knows, where it raises; and the next one begins as if it had not been. A
        MedxzError concerns everybody, a damaged row or anything else the batch that it comes from.
        """
        ...


@dataclass(slots=True)
class _Waiting:
    """A batch in the writer's queue and whoever awaits it."""

    batch: Append
    size: int
    answer: asyncio.Future[list[Outcome]]


class GroupCommit:
    """The queue before the one writer."""

    def __init__(
        self,
        store: Transactions,
        publish: Callable[[Committed, int], None],
        answered_within_s: float | None = None,
    ) -> None:
        """`publish` is told what has become durable, and how many bytes it took, before anybody is answered."""
        self._store: Final = store
        self._publish: Final = publish
        self._answered_within_s: Final = answered_within_s
        self._began_at: float | None = None  # of the transaction that is open, by the event loop's clock
        self._queue: deque[_Waiting] = deque()
        self._alone: deque[_Waiting] = deque()  # to be tried each by itself
        self._queued_bytes = 0
        self._writing: Final = asyncio.Lock()  # held while a transaction is open
        self._committing: asyncio.Task[None] | None = None
        self.waiting_ops = 0
        self.transactions = 0

    @property
    def stands_still(self) -> bool:
        if self._answered_within_s is None or self._began_at is None:
            return False
        return asyncio.get_running_loop().time() - self._began_at >= self._answered_within_s

    async def append(self, batch: Append) -> list[Outcome]:
        if self.stands_still:
            raise _unanswered()
        size = sum(map(len, batch.texts)) + _LETTER_BYTES * len(batch.dead_letters)
        if (
            self.waiting_ops + len(batch.ops) > limits.WRITER_QUEUE_OPS_MAX
            or self._queued_bytes + size > limits.WRITER_QUEUE_BYTES_MAX
        ):
            raise Overloaded(
                f"{self.waiting_ops} operations wait to be written; try again",
                retry_after_s=limits.OVERLOADED_RETRY_S,
            )
        waiting = _Waiting(batch, size, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self.waiting_ops += len(batch.ops)
        self._queued_bytes += size
        if self._committing is None or self._committing.done():
            self._committing = asyncio.create_task(self._commit_queue(), name="commit")
        try:
            async with asyncio.timeout(self._answered_within_s):
                return await waiting.answer
        except TimeoutError:
            raise _unanswered() from None

    async def between(self, use: Callable[[], Awaitable[T]]) -> T:
        """Do something else with the store: between two transactions, never inside one.

        Who stops waiting for it does not let a transaction begin beside it.
        """
        return await asyncio.shield(self._between(use))

    async def _between(self, use: Callable[[], Awaitable[T]]) -> T:
        async with self._writing:
            return await use()

    async def close(self) -> None:
        """Wait for what is in the queue, and for what has begun between two transactions."""
        if self._committing is not None:
            await asyncio.wait([self._committing])
        async with self._writing:
            pass

    async def _commit_queue(self) -> None:
        while self._queue or self._alone:
            async with self._writing:
                taken = self._take()
                size = sum(waiting.size for waiting in taken)
                self._began_at = asyncio.get_running_loop().time()
                try:
                    outcomes, committed = await self._store.write([each.batch for each in taken], size)
                except Exception as error:  # noqa: BLE001  # the root of a task: whoever waits has to hear of it
                    self._give_up(taken, error)
                    continue
                finally:
                    self._began_at = None
            self.transactions += 1
            self._publish(committed, COMMIT_BYTES + size)
            for waiting, outcome in zip(taken, outcomes, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(outcome)

    def _take(self) -> list[_Waiting]:
        """The batches of the next transaction: all that wait, up to its maximum."""
        if self._alone:
            return [self._alone.popleft()]
        taken = [self._queue.popleft()]
        ops = len(taken[0].batch.ops)
        while self._queue and ops + len(self._queue[0].batch.ops) <= limits.TRANSACTION_OPS_MAX:
            taken.append(self._queue.popleft())
            ops += len(taken[-1].batch.ops)
        self.waiting_ops -= ops
        self._queued_bytes -= sum(waiting.size for waiting in taken)
        return taken

    def _give_up(self, taken: list[_Waiting], error: Exception) -> None:
        """A transaction that failed: nothing of it is kept, and everybody in it learns why.

        A damaged row, or a mistake of ours, concerns the batch that met it: the others are tried again, each by
        itself.
        """
        is_everybodys = isinstance(error, MedxzError) and not isinstance(error, RowCorrupt)
        if not is_everybodys and len(taken) > 1:
            self._alone.extend(taken)
            return
        for waiting in taken:
            if not waiting.answer.done():
                waiting.answer.set_exception(error)


class ByGroupCommit:
    """What a log that is written so tells of it (medxz/store/base.py)."""

    _commits: GroupCommit

    @property
    def waiting_ops(self) -> int:
        return self._commits.waiting_ops

    @property
    def stands_still(self) -> bool:
        return self._commits.stands_still

    @property
    def transactions(self) -> int:
        return self._commits.transactions


def _unanswered() -> Overloaded:
    return Overloaded(
        f"the database has not acknowledged a commit within {limits.COMMIT_S_MAX} s: its standby may be away; try again",
        retry_after_s=limits.OVERLOADED_RETRY_S,
    )
