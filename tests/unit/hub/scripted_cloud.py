"""A cloud in memory that keeps the protocol's promises to a hub, and breaks its connections when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from hub.uplink.side import CloudSide
from medxz import wire
from medxz.clock import format_time
from medxz.errors import PeerRefused, PeerUnreachable
from medxz.have import Have, Numbers
from medxz.ids import SeededIds
from medxz.op import Operation
from medxz.replicate import LogId, Replicator, Report, SnapshotPart, StreamPage
from medxz.store.files import Identity, LogFile
from medxz.store.registry import SqliteRegistry
from medxz.store.sqlite import SqliteLog, Workers, open_log
from medxz.work import InlineWorker
from tests.making import CLINIC, NOON_MS, HandClock, fixed_id

CLOUD = fixed_id(0xB1)
KEY = bytes(range(32))

Fault = Callable[[], None]
Verdict = Callable[[Operation], wire.PushResult | Exception | None]


def unreachable() -> None:
    raise PeerUnreachable("cut")


def refusing(status: int, code: str) -> Fault:
    def refuse() -> None:
        raise PeerRefused(status, code, "told so")

    return refuse


@dataclass
class ScriptedCloud:
    """One clinic's log in the cloud, seen by one hub."""

    server_id: str = CLOUD
    ids: SeededIds = field(default_factory=lambda: SeededIds(HandClock(), 13))
    log: list[Operation] = field(default_factory=list)
    letters: list[wire.WireDeadLetter] = field(default_factory=list)
    rejected: set[tuple[str, int]] = field(default_factory=set)
    verdict: Verdict = lambda _: None
    before_push: Iterator[Fault | None] = field(default_factory=lambda: iter(()))
    after_push: Iterator[Fault | None] = field(default_factory=lambda: iter(()))
    before_pull: Iterator[Fault | None] = field(default_factory=lambda: iter(()))
    page_ops: int = 500
    pushes: list[list[str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    resumed: list[Have] = field(default_factory=list)
    meetings: int = 0
    moved: asyncio.Condition = field(default_factory=asyncio.Condition)
    cut: bool = False
    revisions: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.epoch = self.ids.uuid7()

    def restored(self, keeping: int) -> None:
        """As after a restore from a backup: the log is shorter and has a new epoch."""
        del self.log[keeping:]
        self.letters.clear()
        self.rejected.clear()
        self.epoch = self.ids.uuid7()

    def stored_ids(self) -> list[str]:
        return [op.op_id for op in self.log]

    def settled(self) -> dict[str, int]:
        have: Have = {}
        for op in self.log:
            have.setdefault(op.device_id, Numbers()).add(op.device_seq)
        for letter in self.letters:
            have.setdefault(letter.device_id, Numbers()).add(letter.device_seq)
        for device_id, number in self.rejected:
            have.setdefault(device_id, Numbers()).add(number)
        return {device_id: numbers.through() for device_id, numbers in have.items()}

    # the requests

    async def info(self) -> wire.InfoAnswer:
        return wire.InfoAnswer(
            server_id=self.server_id, kind="cloud", epoch=self.epoch, protocol=["1.0"], version="0",
            time=format_time(NOON_MS), limits=wire.InfoLimits(), dictionaries=[],
        )  # fmt: skip

    async def watermarks(self) -> wire.WatermarksAnswer:
        self.meetings += 1
        marks = self.settled()
        return wire.WatermarksAnswer(received=marks, cloud=marks, cloud_epoch=self.epoch)

    async def status(self) -> wire.StatusAnswer:
        raise AssertionError("a hub is no device")

    async def config(self) -> wire.ConfigAnswer:
        raise AssertionError("a hub has it with the directory")

    async def reenrol(self, request: wire.ReenrolRequest) -> wire.ReenrolAnswer:
        raise AssertionError("a hub has its identity for good")

    def snapshot(self) -> AsyncGenerator[SnapshotPart, None]:
        raise AssertionError("a hub reads the log")

    async def push(
        self, ops: Sequence[bytes], dead_letters: Sequence[wire.WireDeadLetter] = ()
    ) -> wire.PushAnswer:
        _fail(self.before_push)
        offered = [msgspec.json.decode(op, type=Operation) for op in ops]
        self.pushes.append([op.op_id for op in offered])
        self.bodies += ops
        answers = [self.verdict(op) for op in offered]
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        self.letters += [letter for letter in dead_letters if letter not in self.letters]
        results = [self._take(op, answer) for op, answer in zip(offered, answers, strict=True)]
        _fail(self.after_push)
        async with self.moved:
            self.moved.notify_all()
        return self.answer(results, offered)

    def answer(self, results: list[wire.PushResult], offered: Sequence[Operation]) -> wire.PushAnswer:
        marks = self.settled()
        return wire.PushAnswer(
            server_id=self.server_id, epoch=self.epoch, cloud_epoch=self.epoch, results=results,
            cloud_through={op.device_id: marks.get(op.device_id, 0) for op in offered}, refused_upstream=[],
        )  # fmt: skip

    def _take(self, op: Operation, verdict: wire.PushResult | Exception | None) -> wire.PushResult:
        if isinstance(verdict, wire.PushResult):
            if verdict.status == "rejected":
                self.rejected.add((op.device_id, op.device_seq))
            return verdict
        ids = self.stored_ids()
        if op.op_id in ids:
            return wire.PushResult(op_id=op.op_id, status="duplicate", server_seq=ids.index(op.op_id) + 1)
        self.add(op)
        return wire.PushResult(op_id=op.op_id, status="accepted", server_seq=len(self.log))

    def add(self, *ops: Operation) -> None:
        """Something that came from another site."""
        for op in ops:
            self.log.append(msgspec.structs.replace(op, server_seq=len(self.log) + 1))

    async def pull(self, cursor: str | None, *, limit: int, wait_s: int = 0) -> wire.PullAnswer:
        _fail(self.before_pull)
        at = self._place(cursor)
        ops = self.log[at : at + min(limit, self.page_ops)]
        end = at + len(ops)
        return wire.PullAnswer(
            server_id=self.server_id, epoch=self.epoch, ops=ops, next_cursor=f"{self.epoch} {end}",
            has_more=end < len(self.log),
        )  # fmt: skip

    def _place(self, cursor: str | None) -> int:
        epoch, _, at = (cursor or f"{self.epoch} 0").partition(" ")
        if epoch != self.epoch:
            raise PeerRefused(409, "cursor_epoch_changed", "another epoch")
        return int(at)

    async def resume(self, have: Have) -> str:
        self.resumed.append(have)
        lacked = [
            at for at, op in enumerate(self.log) if op.device_seq not in have.get(op.device_id, Numbers())
        ]
        return f"{self.epoch} {min(lacked, default=len(self.log))}"

    async def stream(self, cursor: str | None) -> AsyncGenerator[StreamPage, None]:
        at = self._place(cursor)
        yield StreamPage(None, [])
        told = 0
        while not self.cut:
            if len(self.revisions) > told:
                told = len(self.revisions)
                yield StreamPage(None, [], self.revisions[-1])
            if len(self.log) > at:
                ops, at = self.log[at:], len(self.log)
                yield StreamPage(f"{self.epoch} {at}", ops)
            async with self.moved:
                await self.moved.wait()

    async def poke(self) -> None:
        """Let the streams look again."""
        async with self.moved:
            self.moved.notify_all()

    async def aclose(self) -> None:
        pass


def _fail(faults: Iterator[Fault | None]) -> None:
    fault = next(faults, None)
    if fault is not None:
        fault()


def rejected(op: Operation, code: str) -> wire.PushResult:
    return wire.PushResult(op_id=op.op_id, status="rejected", code=code, message="no")


def retry(op: Operation) -> wire.PushResult:
    return wire.PushResult(op_id=op.op_id, status="retry", code="unknown_author", message="not yet")


@dataclass
class Box:
    """A hub's log and its side towards the cloud."""

    path: Path
    clock: HandClock
    log: SqliteLog
    registry: SqliteRegistry
    side: CloudSide

    async def sync(self, cloud: ScriptedCloud, attempts: int = 1) -> Report:
        replicator = Replicator(self.side, cloud, clock=self.clock, random_unit=lambda: 0.5)
        try:
            return await replicator.run(attempts=attempts, patience_s=60)
        finally:
            await self.side.keep()

    async def op_ids(self) -> list[str]:
        ops = await self.log.ops_after(0, 10_000)
        return [msgspec.json.decode(op)["op_id"] for op in ops]

    def marks(self) -> dict[str, int]:
        return dict(self.registry.directory.cloud_marks)


@asynccontextmanager
async def opened(path: Path, clock: HandClock | None = None) -> AsyncIterator[Box]:
    """A hub's log in a file, made where there is none."""
    if not path.exists():
        LogFile.create(path, KEY, Identity(CLINIC, fixed_id(0xA1), fixed_id(0xEE), b"c" * 32))
    clock = clock or HandClock()
    workers = Workers(InlineWorker(), InlineWorker(), [InlineWorker()])
    log, file = await open_log(path, KEY, clock, workers)
    registry = SqliteRegistry(file, log, log.wake)

    async def met(_: LogId) -> None:
        pass

    side = CloudSide(log, registry, clock, met)
    await side.load()
    try:
        yield Box(path, clock, log, registry, side)
    finally:
        await log.close()
