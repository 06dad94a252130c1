"""The log in a SQLite file: group commit, readers of their own, checkpoints, and the life of the file.

The write-ahead log is copied into the file by a connection of its own, off the commit path. All blocking work runs in
the workers that were handed in; with inline ones, two runs of one seed write the same bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeVar, TypeVarTuple

from sqlcipher3 import dbapi2 as sqlcipher

from medxz import limits
from medxz.errors import RowCorrupt, StoreDamaged
from medxz.have import Have
from medxz.scope import Scope
from medxz.store.base import (
    Append,
    EntityBatch,
    LetterRow,
    Outcome,
    Page,
    Position,
    ReviewRow,
    Standing,
    Verification,
)
from medxz.store.cipher import failure, failure_to_open
from medxz.store.commits import COMMIT_BYTES, ByGroupCommit, GroupCommit
from medxz.store.damage import Damage
from medxz.store.dictionaries import Dictionaries
from medxz.store.entity_index import Whose, index_blocks, key_of
from medxz.store.entity_reader import EntityReader
from medxz.store.file_transactions import FileTransactions
from medxz.store.files import LogFile, copy_wal
from medxz.store.loading import load_held
from medxz.store.pages import Pages
from medxz.store.reader import Reader
from medxz.store.rows import Beside
from medxz.store.tail import Committed, Tail
from medxz.store.waiting import Waiting
from medxz.store.writer import Writer
from medxz.work import ThreadWorker, Worker

if TYPE_CHECKING:
    from medxz.clock import Clock

T = TypeVar("T")
R = TypeVar("R", Reader, EntityReader)
Ts = TypeVarTuple("Ts")

_VERIFY_ROWS: Final = 500


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


class SqliteLog(ByGroupCommit):
    """A `LogStore` (medxz/store/base.py has the promises) in a file."""

    def __init__(
        self,
        file: LogFile,
        beside: Beside,
        writer: Writer,
        dictionaries: Dictionaries,
        workers: Workers,
        damage: Damage,
    ) -> None:
        """`beside` is what the writer reads by; `damage` is told of whatever damage is met."""
        self._file = file
        self._damage: Final = damage
        self._workers = workers
        self._beside = beside
        self._writer = writer
        self._readers = [
            (worker, Reader(Beside(file.open_reading), dictionaries)) for worker in workers.readers
        ]
        self._next_reader = cycle(self._readers)
        self._entity_readers = [
            (worker, EntityReader(Beside(file.open_reading), dictionaries)) for worker in workers.readers
        ]
        self._next_entity_reader = cycle(self._entity_readers)
        self._checkpointing = file.open_reading()
        self._tail = Tail()
        self._pages = Pages(self._read_page, lambda: self._last_seq)
        self._commits = GroupCommit(
            FileTransactions(self._writer, workers.writer, file.path, damage), self._publish
        )
        self._since_checkpoint = 0
        self._checkpoint: asyncio.Task[None] | None = None
        self._waiting: Final = Waiting()
        self._last_seq = self._opened_at = writer.held.last_seq
        self._watermarks = writer.held.watermarks()  # what is durable: the writer's own are ahead of that
        self._checking: asyncio.Task[Verification] | None = None
        self.verification: Verification | None = None

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
    def contended_seq(self) -> int:
        return min(max(self._writer.touched.contended_seq, self._opened_at), self._last_seq)

    # Writing.

    async def append(self, batch: Append) -> list[Outcome]:
        return await self._commits.append(batch)

    def _publish(self, committed: Committed, size: int) -> None:
        """Show what is durable now."""
        self._watermarks.update(committed.watermarks)
        if committed.op_ids:
            self._tail.extend(committed)
            self._last_seq = committed.last_seq
        if committed.op_ids or committed.watermarks:  # a dead letter may settle a number too
            self.wake()
        if self._writer.entities.damaged:
            self._damage_met()
        self._wrote(size)

    def _wrote(self, size: int) -> None:
        """So much more is in the write-ahead log: ops, or what stands beside them in the file."""
        self._since_checkpoint += size
        if self._since_checkpoint >= limits.CHECKPOINT_BYTES:
            self._start_checkpoint()

    # Reading.

    async def page(self, after: Position, limit: int, scope: Scope) -> Page:
        page = self._tail.page(after, limit, scope)
        if page is not None:
            return page
        return await self._pages.page(after, limit, scope)

    async def _read_page(self, after: Position, limit: int, scope: Scope) -> Page:
        return await self._read(lambda reader: reader.page(after, limit, scope))

    def wait_beyond(self, seq: int) -> Coroutine[object, object, None]:
        return self._waiting.until(lambda: self._last_seq > seq)

    def wake(self) -> None:
        """Let everybody who waits look again."""
        self._waiting.wake()

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

    async def dead_letters(self, after_id: int, limit: int) -> list[LetterRow]:
        return await self._read(lambda reader: reader.dead_letters(after_id, limit))

    # What an uplink asks beside that.

    @property
    def shared(self) -> frozenset[tuple[str, int]]:
        """The numbers that two ops have: to have such a number is not to have the op."""
        return frozenset(self._writer.held.shared)

    def recent_ids(self, after: int) -> list[bytes]:
        """The op_ids behind a place, in order, as far back as they are in memory."""
        return self._tail.ids_after(after)

    async def lacking(self, have: Have) -> tuple[int, int]:
        """How many numbers are settled here and not in `have`, and `last_seq` when that was so."""
        return await self.run(lambda: (self._writer.held.lacking(have), self._writer.held.last_seq))

    # Reading by entity: what the index lacks yet is taken from memory before the file is read.

    async def ops_after(self, seq: int, limit: int) -> list[bytes]:
        through = self._last_seq
        if seq >= through:
            return []
        recent = self._tail.ops_after(seq, limit)
        if recent is not None:
            return recent
        return await self._read_entities(lambda reader: reader.ops_after(seq, limit, through))

    async def entity_ops(
        self,
        entity_type: str,
        entity_id: str,
        *,
        after_seq: int = 0,
        limit: int | None = None,
        through: int | None = None,
    ) -> list[bytes]:
        entity = Whose(entity_type, entity_id)
        last = self._last_seq if through is None else min(through, self._last_seq)
        seqs, also = range(after_seq + 1, last + 1), self._writer.held.open_entities.places(key_of(entity_id))
        return await self._read_entities(lambda reader: reader.ops(entity, seqs, limit, also))

    async def entity_ops_of(self, entities: Sequence[Whose], through: int | None = None) -> list[list[bytes]]:
        last = self._last_seq if through is None else min(through, self._last_seq)
        keys = {key_of(entity.entity_id) for entity in entities}
        opened = self._writer.held.open_entities
        also = [(key, place) for key in keys for place in opened.places(key)]
        return await self._read_entities(lambda reader: reader.ops_of(entities, last, also))

    async def entities(self, after: bytes | None, count: int, scope: Scope, through: int) -> EntityBatch:
        lost = [seq for seq in self._writer.held.damaged if seq <= through]
        if lost:
            raise RowCorrupt(f"server_seq {lost[0]} of the log is damaged")
        also = self._writer.held.open_entities.rows(through)
        return await self._read_entities(lambda reader: reader.entities(after, count, scope, through, also))

    async def count_entities(self, scope: Scope, through: int) -> int:
        also = self._writer.held.open_entities.rows(through)
        return await self._read_entities(lambda reader: reader.count(scope, through, also))

    async def standing(self, scope: Scope, through: int) -> Standing:
        blocks = self._writer.held.blocks[: through // limits.BLOCK_OPS]
        return await self._read(lambda reader: reader.standing(blocks, scope, through))

    async def index_now(self) -> int:
        with suppress(sqlcipher.OperationalError):  # a full disk: it is found in memory all the same
            await self.run(self._writer.index)
        return self._last_seq

    async def _read(self, read: Callable[[Reader], T]) -> T:
        """On the next reader's connection, in its worker."""
        worker, reader = next(self._next_reader)
        return await self._ask(worker, reader, read)

    async def _read_entities(self, read: Callable[[EntityReader], T]) -> T:
        worker, reader = next(self._next_entity_reader)
        try:
            return await self._ask(worker, reader, read)
        finally:
            if reader.damaged:
                self._damage_met()

    async def _ask(self, worker: Worker, reader: R, read: Callable[[R], T]) -> T:
        with self._damage.watching(self._file.path, "reading"):
            try:
                return await worker.run(read, reader)
            except sqlcipher.Error as error:
                await worker.run(reader.close)  # it opens a new connection when it is next asked
                raise failure(error, self._file.path) from None

    # The life of the file.

    async def run(self, fn: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run something else with the writing connection, between two transactions."""
        with self._damage.watching(self._file.path, "writing"):
            use = partial(self._workers.writer.run, self._file.use, fn, *args)
            told, has_written = await self._commits.between(use)
        if has_written:
            self._wrote(COMMIT_BYTES)
        return told

    async def begin_epoch(self, epoch: str) -> None:
        try:
            await self.run(self._file.begin_epoch, epoch)
        except sqlcipher.Error as error:
            raise failure(error, self._file.path) from None

    def check_in_background(self) -> None:
        """Verify the whole log while it serves; `verification` tells how far that is."""
        self.verification = Verification(total=self._last_seq)
        self._checking = asyncio.create_task(self.verify(), name="verify")

    def _damage_met(self) -> None:
        """A row that was left out could not be read: a check names it by its seq, and /health tells."""
        if self.verification is None:
            self.check_in_background()

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
        self._damage.meet_rows(self._file.path, found.damaged)
        return found

    def _start_checkpoint(self) -> None:
        if self._checkpoint is None or self._checkpoint.done():
            self._since_checkpoint = 0
            self._checkpoint = asyncio.create_task(self.checkpoint(), name="checkpoint")

    async def checkpoint(self) -> None:
        """Copy most of the write-ahead log beside the writer; the writer copies the little that came meanwhile.

        Only a checkpoint that no commit overtakes lets the write-ahead log begin again at its start.
        """
        await self._workers.checkpointer.run(copy_wal, self._checkpointing)
        await self.run(copy_wal, self._file.writing)

    async def close(self) -> None:
        check = self.verification
        is_clean = check is None or (check.done and not check.damaged)
        if self._checking is not None:
            self._checking.cancel()
            await asyncio.wait([self._checking])
        await self._commits.close()
        if self._checkpoint is not None:  # which the last commit may have begun
            await asyncio.wait([self._checkpoint])
        await self._pages.close()
        for worker, reader in self._readers:
            await worker.run(reader.close)
        for worker, entity_reader in self._entity_readers:
            await worker.run(entity_reader.close)
        await self._workers.checkpointer.run(self._checkpointing.close)
        await self._workers.writer.run(self._beside.close)
        await self._workers.writer.run(partial(self._file.close, clean=is_clean))


async def open_log(
    path: Path, key: bytes | None, clock: Clock, workers: Workers, damage: Damage | None = None
) -> tuple[SqliteLog, LogFile]:
    """Open a log that `create_log` made. After an unclean stop, or where a row is damaged, a full check begins."""
    damage = damage or Damage()
    file = await workers.writer.run(LogFile.open, path, key)
    try:
        dictionaries = await workers.writer.run(Dictionaries.load, file.writing)
        beside = Beside(file.open_reading)
        await workers.writer.run(index_blocks, file.writing, beside, dictionaries)
        held = await workers.writer.run(load_held, file.writing, beside, dictionaries)
        writer = Writer(file.writing, beside, held, dictionaries, clock)
        await workers.writer.run(writer.prepare)
    except sqlcipher.Error as error:
        file.writing.close()
        raise failure_to_open(error, path) from None
    except ValueError:  # a block's summary, or a row, that is not what was written
        file.writing.close()
        raise StoreDamaged(f"{path} is damaged: what it holds can't be read") from None
    log = SqliteLog(file, beside, writer, dictionaries, workers, damage)
    if held.damaged or not file.stopped_cleanly:
        log.check_in_background()
    return log, file
