"""Group commit: the pushes that wait share one transaction and one fsync, and nobody is answered before it.

What else is to be written with that connection goes between two transactions. A batch that breaks the writer is told
so; the others of its transaction are tried again, each by itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple

from sqlcipher3 import dbapi2 as sqlcipher

from medxz import limits
from medxz.errors import Overloaded
from medxz.store.base import Append, Outcome
from medxz.store.cipher import failure
from medxz.store.tail import Committed
from medxz.store.writer import Collision, Writer
from medxz.work import Worker

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# What it costs beside the texts, in bytes of text: the write-ahead log takes whole pages, about two for any commit.
_COMMIT_BYTES: Final = 8 * limits.KIB
_LETTER_BYTES: Final = 256


@dataclass(slots=True)
class _Waiting:
    """A batch in the writer's queue and whoever awaits it."""

    batch: Append
    size: int
    answer: asyncio.Future[list[Outcome]]


class GroupCommit:
    """The queue before the one writer."""

    def __init__(
        self, writer: Writer, worker: Worker, path: Path, publish: Callable[[Committed, int], None]
    ) -> None:
        """`publish` is told what has become durable, and how many bytes it took, before anybody is answered."""
        self._writer: Final = writer
        self._worker: Final = worker
        self._path: Final = path
        self._publish: Final = publish
        self._queue: deque[_Waiting] = deque()
        self._alone: deque[_Waiting] = deque()  # to be tried each by itself
        self._queued_bytes = 0
        self._writing: Final = asyncio.Lock()  # held while a transaction is open
        self._committing: asyncio.Task[None] | None = None
        self.waiting_ops = 0
        self.transactions = 0

    async def append(self, batch: Append) -> list[Outcome]:
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
        return await waiting.answer

    async def run(self, fn: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run something else with the writing connection: between two transactions, never inside one.

        Who stops waiting for it does not let a transaction begin beside it.
        """
        return await asyncio.shield(self._between(fn, *args))

    async def _between(self, fn: Callable[[*Ts], T], *args: *Ts) -> T:
        async with self._writing:
            return await self._worker.run(fn, *args)

    async def close(self) -> None:
        """Wait for what is in the queue."""
        if self._committing is not None:
            await asyncio.wait([self._committing])

    async def _commit_queue(self) -> None:
        while self._queue or self._alone:
            taken: list[_Waiting] = []
            async with self._writing:
                try:
                    outcomes, committed = await self._transaction(taken)
                except Exception as error:  # noqa: BLE001  # the root of a task: whoever waits has to hear of it
                    await self._give_up(taken, error)
                    continue
            self.transactions += 1
            self._publish(committed, _COMMIT_BYTES + sum(waiting.size for waiting in taken))
            for waiting, outcome in zip(taken, outcomes, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(outcome)

    async def _transaction(self, taken: list[_Waiting]) -> tuple[list[list[Outcome]], Committed]:
        """Write what waits, and commit.

        A few rows are written at once: handing them over would cost more, in waiting for the interpreter lock, than
        writing them. Not so where a long entity may have to be read, which takes up to half a second. The commit, which waits for the disk, never runs on the event loop.
        """
        run, writer = self._worker.run, self._writer
        taken += self._take()
        batches = [waiting.batch for waiting in taken]
        try:
            is_small = sum(waiting.size for waiting in taken) <= limits.INLINE_WRITE_BYTES_MAX
            if is_small and writer.is_quick(batches):
                outcomes = writer.write(batches)
            else:
                outcomes = await run(writer.write, batches)
        except Collision:
            await run(writer.abandon)
            outcomes = await run(partial(writer.write, careful=True), batches)
        return outcomes, await run(writer.commit)

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

    async def _give_up(self, taken: list[_Waiting], error: Exception) -> None:
        """A transaction that failed: nothing of it is kept, and everybody in it learns why.

        A damaged row, or a mistake of ours, concerns the batch that met it: the others are tried again, each by
        itself.
        """
        with suppress(Exception):  # then the next transaction begins with it
            await self._worker.run(self._writer.abandon)
        if not isinstance(error, sqlcipher.Error) and len(taken) > 1:
            self._alone.extend(taken)
            return
        for waiting in taken:
            if not waiting.answer.done():
                waiting.answer.set_exception(
                    failure(error, self._path) if isinstance(error, sqlcipher.Error) else error
                )
