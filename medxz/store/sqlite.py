"""The log in a SQLite file, and the file itself: one writer with group commit, readers of their own, checkpoints.

Pushes that wait share one transaction and one fsync, and nobody is answered before it. The write-ahead log is copied
into the file by a connection of its own, off the commit path. All blocking work runs in the workers that were handed
in; with inline ones, two runs of one seed write the same bytes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeVar, TypeVarTuple

from sqlcipher3 import dbapi2 as sqlcipher

from medxz import limits
from medxz.errors import Overloaded
from medxz.have import Have
from medxz.scope import Scope
from medxz.store.base import Append, Outcome, Page, Position, ReviewRow, Verification
from medxz.store.cipher import failure, failure_to_open
from medxz.store.dictionaries import Dictionaries
from medxz.store.files import LogFile
from medxz.store.held import Held
from medxz.store.pages import Pages
from medxz.store.reader import Reader
from medxz.store.tail import Committed, Tail
from medxz.store.writer import Collision, Writer, load_held
from medxz.work import ThreadWorker, Worker

if TYPE_CHECKING:
    from medxz.clock import Clock

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_VERIFY_ROWS: Final = 500
# What it costs beside the texts, in bytes of text: the write-ahead log takes whole pages, about three for any commit.
_COMMIT_BYTES: Final = 32 * limits.KIB
_LETTER_BYTES: Final = 256


@dataclass(frozen=True, slots=True)
class Workers:
    """Where the store's blocking work runs. The writer's worker is the only one that writes."""

    writer: Worker
    checkpointer: Worker
    readers: Sequence[Worker]

    @classmethod
    def threads(cls, readers: int = 2) -> Self:
        return cls(
            ThreadWorker("writer"),
            ThreadWorker("checkpointer"),
            [ThreadWorker(f"reader-{n}") for n in range(readers)],
        )

    def close(self) -> None:
        for worker in (self.writer, self.checkpointer, *self.readers):
            worker.close()


@dataclass(slots=True)
class _Waiting:
    """A batch in the writer's queue and whoever awaits it."""

    batch: Append
    size: int
    answer: asyncio.Future[list[Outcome]]


class SqliteLog:
    """A `LogStore` (medxz/store/base.py has the promises) in a file."""

    def __init__(
        self, file: LogFile, held: Held, dictionaries: Dictionaries, clock: Clock, workers: Workers
    ) -> None:
        self._file = file
        self._workers = workers
        self._held = held
        self._writer = Writer(file.writing, held, dictionaries, clock)
        self._readers = [(worker, Reader(file.open_reading(), dictionaries)) for worker in workers.readers]
        self._next_reader = cycle(self._readers)
        self._checkpointing = file.open_reading()
        self._tail = Tail()
        self._pages = Pages(self._read_page, lambda: self._last_seq)
        self._queue: deque[_Waiting] = deque()
        self._alone: deque[_Waiting] = deque()
        self._queued_ops = 0
        self._queued_bytes = 0
        self._writing = asyncio.Lock()  # held while a transaction is open
        self._committing: asyncio.Task[None] | None = None
        self._since_checkpoint = 0
        self._checkpoint: asyncio.Task[None] | None = None
        self._grown: asyncio.Event = asyncio.Event()
        self._last_seq = held.last_seq
        self._watermarks = held.watermarks()  # what is durable: the writer's own are ahead of that
        self._checking: asyncio.Task[Verification] | None = None
        self.verification: Verification | None = None
        self.transactions = 0

    @property
    def clinic_id(self) -> str:
        return self._file.identity.clinic_id

    @property
    def server_id(self) -> str:
        return self._file.identity.server_id

    @property
    def epoch(self) -> str:
        return self._file.identity.epoch

    @property
    def cursor_key(self) -> bytes:
        return self._file.identity.cursor_key

    @property
    def last_seq(self) -> int:
        return self._last_seq

    @property
    def waiting_ops(self) -> int:
        return self._queued_ops

    # Writing.

    async def append(self, batch: Append) -> list[Outcome]:
        size = sum(map(len, batch.texts)) + _LETTER_BYTES * len(batch.dead_letters)
        if (
            self._queued_ops + len(batch.ops) > limits.WRITER_QUEUE_OPS_MAX
            or self._queued_bytes + size > limits.WRITER_QUEUE_BYTES_MAX
        ):
            raise Overloaded(
                f"{self._queued_ops} operations wait to be written; try again",
                retry_after_s=limits.OVERLOADED_RETRY_S,
            )
        waiting = _Waiting(batch, size, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._queued_ops += len(batch.ops)
        self._queued_bytes += size
        if self._committing is None or self._committing.done():
            self._committing = asyncio.create_task(self._commit_queue(), name="commit")
        return await waiting.answer

    async def _commit_queue(self) -> None:
        while self._queue or self._alone:
            taken: list[_Waiting] = []
            async with self._writing:
                try:
                    outcomes, committed = await self._transaction(taken)
                except Exception as error:  # noqa: BLE001  # the root of a task: whoever waits has to hear of it
                    await self._give_up(taken, error)
                    continue
            self._publish(committed)
            for waiting, outcome in zip(taken, outcomes, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(outcome)
            self._since_checkpoint += _COMMIT_BYTES + sum(waiting.size for waiting in taken)
            if self._since_checkpoint >= limits.CHECKPOINT_BYTES:
                self._start_checkpoint()

    async def _transaction(self, taken: list[_Waiting]) -> tuple[list[list[Outcome]], Committed]:
        """Write what waits, and commit.

        A few rows are written at once: handing them over would cost more, in waiting for the interpreter lock, than
        writing them. The commit, which waits for the disk, never runs on the event loop.
        """
        run, writer = self._workers.writer.run, self._writer
        taken += self._take()
        batches = [waiting.batch for waiting in taken]
        try:
            if sum(waiting.size for waiting in taken) <= limits.INLINE_WRITE_BYTES_MAX:
                outcomes = writer.write(batches)
            else:
                outcomes = await run(writer.write, batches)
        except Collision:
            await run(writer.abandon)
            outcomes = await run(partial(writer.write, careful=True), batches)
        return outcomes, await run(writer.commit)

    def _publish(self, committed: Committed) -> None:
        """Show what is durable now."""
        self.transactions += 1
        self._watermarks.update(committed.watermarks)
        if committed.op_ids:
            self._tail.extend(committed)
            self._last_seq = committed.last_seq
            self.wake()

    def _take(self) -> list[_Waiting]:
        """The batches of the next transaction: all that wait, up to its maximum."""
        if self._alone:
            return [self._alone.popleft()]
        taken = [self._queue.popleft()]
        ops = len(taken[0].batch.ops)
        while self._queue and ops + len(self._queue[0].batch.ops) <= limits.TRANSACTION_OPS_MAX:
            taken.append(self._queue.popleft())
            ops += len(taken[-1].batch.ops)
        self._queued_ops -= ops
        self._queued_bytes -= sum(waiting.size for waiting in taken)
        return taken

    async def _give_up(self, taken: list[_Waiting], error: Exception) -> None:
        """A transaction that failed: nothing of it is kept, and everybody in it learns why.

        A damaged row, or a mistake of ours, concerns the batch that met it: the others are tried again, each by
        itself.
        """
        with suppress(Exception):  # then the next transaction begins with it
            await self._workers.writer.run(self._writer.abandon)
        if not isinstance(error, sqlcipher.Error) and len(taken) > 1:
            self._alone.extend(taken)
            return
        for waiting in taken:
            if not waiting.answer.done():
                waiting.answer.set_exception(self._failure(error))

    def _failure(self, error: Exception) -> Exception:
        return failure(error, self._file.path) if isinstance(error, sqlcipher.Error) else error

    # Reading.

    async def page(self, after: Position, limit: int, scope: Scope) -> Page:
        page = self._tail.page(after, limit, scope)
        if page is not None:
            return page
        return await self._pages.page(after, limit, scope)

    async def _read_page(self, after: Position, limit: int, scope: Scope) -> Page:
        return await self._read(lambda reader: reader.page(after, limit, scope))

    def wait_beyond(self, seq: int) -> Coroutine[object, object, None]:
        return self._wait_beyond(
            seq, self._grown
        )  # the event of now: what wakes it before it is awaited counts

    async def _wait_beyond(self, seq: int, grown: asyncio.Event) -> None:
        if self._last_seq <= seq:
            await grown.wait()

    def wake(self) -> None:
        """Let everybody who waits look again."""
        self._grown.set()
        self._grown = asyncio.Event()

    async def locate(self, have: Have, scope: Scope) -> Position:
        # up to what is durable now: what the writer adds meanwhile, it may have to take back
        held, through = self._writer.held, self._last_seq
        return await self._read(
            lambda reader: reader.locate(
                held.first_block_with_more(have, scope, through), have, set(held.shared), scope, through
            )
        )

    def settled_through(self, device_id: str) -> int:
        return self._watermarks.get(device_id, 0)

    def settled(self) -> dict[str, int]:
        return dict(self._watermarks)

    async def reviews(self, after_id: int, limit: int) -> list[ReviewRow]:
        return await self._read(lambda reader: reader.reviews(after_id, limit))

    async def _read(self, read: Callable[[Reader], T]) -> T:
        """On the next reader's connection, in its worker."""
        worker, reader = next(self._next_reader)
        try:
            return await worker.run(read, reader)
        except sqlcipher.Error as error:
            raise failure(error, self._file.path) from None

    # The life of the file.

    async def run(self, fn: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run something else with the writing connection: between two transactions, never inside one.

        Who stops waiting for it does not let a transaction begin beside it.
        """
        return await asyncio.shield(self._between(fn, *args))

    async def _between(self, fn: Callable[[*Ts], T], *args: *Ts) -> T:
        async with self._writing:
            return await self._workers.writer.run(fn, *args)

    async def begin_epoch(self, epoch: str) -> None:
        try:
            await self.run(self._file.begin_epoch, epoch)
        except sqlcipher.Error as error:
            raise self._failure(error) from None

    def check_in_background(self) -> None:
        """Verify the whole log while it serves; `verification` tells how far that is."""
        self.verification = Verification(total=self._last_seq)
        self._checking = asyncio.create_task(self.verify(), name="verify")

    async def verify(self, progress: Callable[[Verification], None] | None = None) -> Verification:
        self.verification = found = Verification(total=self._last_seq)
        worker, reader = self._readers[-1]
        while not found.done:
            through = min(found.checked + _VERIFY_ROWS, self._last_seq)
            found.damaged += await worker.run(reader.check, found.checked, through)
            found.checked = through
            found.done = through == self._last_seq
            if progress is not None:
                progress(found)
            await asyncio.sleep(0)
        return found

    def _start_checkpoint(self) -> None:
        if self._checkpoint is None or self._checkpoint.done():
            self._since_checkpoint = 0
            self._checkpoint = asyncio.create_task(self._run_checkpoint(), name="checkpoint")

    async def _run_checkpoint(self) -> None:
        """Copy most of the write-ahead log beside the writer; the writer copies the little that came meanwhile.

        Only a checkpoint that no commit overtakes lets the write-ahead log begin again at its start.
        """
        await self._workers.checkpointer.run(_copy_wal, self._checkpointing)
        await self.run(_copy_wal, self._file.writing)

    async def close(self) -> None:
        check = self.verification
        is_clean = check is None or (check.done and not check.damaged)
        if self._checking is not None:
            self._checking.cancel()
            await asyncio.wait([self._checking])
        if self._committing is not None:
            await asyncio.wait([self._committing])
        if self._checkpoint is not None:  # which the last commit may have begun
            await asyncio.wait([self._checkpoint])
        await self._pages.close()
        for worker, reader in self._readers:
            await worker.run(reader.close)
        await self._workers.checkpointer.run(self._checkpointing.close)
        await self._workers.writer.run(partial(self._file.close, clean=is_clean))


def _copy_wal(connection: sqlcipher.Connection) -> None:
    with suppress(sqlcipher.OperationalError):  # a full disk: the next checkpoint copies this too
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


async def open_log(
    path: Path, key: bytes | None, clock: Clock, workers: Workers
) -> tuple[SqliteLog, LogFile]:
    """Open a log that `create_log` made. After an unclean stop, or where a row is damaged, a full check begins."""
    file = await workers.writer.run(LogFile.open, path, key)
    try:
        dictionaries = await workers.writer.run(Dictionaries.load, file.writing)
        held = await workers.writer.run(load_held, file.writing, dictionaries)
    except sqlcipher.Error as error:
        file.writing.close()
        raise failure_to_open(error, path) from None
    log = SqliteLog(file, held, dictionaries, clock, workers)
    if held.damaged or not file.stopped_cleanly:
        log.check_in_background()
    return log, file
