"""A server in memory that keeps the protocol's promises, and breaks its connections when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import msgspec

from medxz import wire
from medxz.clock import format_time
from medxz.device.local import DeviceSide
from medxz.device.store import DeviceStore, Draft
from medxz.device.token import TokenClaims
from medxz.errors import PeerRefused, PeerUnreachable
from medxz.have import Have, Numbers
from medxz.ids import SeededIds
from medxz.merge.change import change_of
from medxz.merge.entity import Entity
from medxz.merge.line import line_of
from medxz.op import Operation
from medxz.replicate import Replicator, Report, SnapshotHead, SnapshotPart, StreamPage
from medxz.rules import decode_op
from medxz.scope import Scope
from medxz.work import InlineWorker
from tests.making import CLINIC, DEVICE, NOON_MS, USER, HandClock

URL = "http://127.0.0.1:1"
KEY = bytes(range(32))

Fault = Callable[[], None]
Verdict = Callable[[Operation], wire.PushResult | Exception | None]


def unreachable() -> None:
    raise PeerUnreachable("cut")


def refusing(status: int, code: str, retry_after_s: float | None = None) -> Fault:
    def refuse() -> None:
        raise PeerRefused(status, code, "told so", retry_after_s)

    return refuse


@dataclass
class ScriptedServer:
    """One clinic's log, seen by one device."""

    ids: SeededIds = field(default_factory=lambda: SeededIds(HandClock(), 11))
    kind: str = "hub"
    device_id: str = DEVICE
    log: list[Operation] = field(default_factory=list)
    dead: dict[int, str] = field(default_factory=dict)
    before_push: Iterator[Fault | None] = field(default_factory=lambda: iter(()))
    after_push: Iterator[Fault | None] = field(default_factory=lambda: iter(()))
    before_pull: Iterator[Fault | None] = field(default_factory=lambda: iter(()))
    verdict: Verdict = lambda _: None
    cloud_through: int = 0
    cloud_epoch: str | None = None
    refused_upstream: list[tuple[str, str]] = field(default_factory=list)
    require_signed_ops: bool = False
    page_ops: int = 500
    pushes: list[list[str]] = field(default_factory=list)
    pulls: list[str | None] = field(default_factory=list)
    resumed: list[Have] = field(default_factory=list)
    enrolled: list[str] = field(default_factory=list)
    snapshot_lines: list[bytes] | None = None  # None: it has no snapshots
    snapshot_scope: str | None = None
    scope: Scope | None = None
    break_snapshot_after: int | None = None
    snapshots: int = 0
    moved: asyncio.Condition = field(default_factory=asyncio.Condition)
    cut: bool = False
    streams: int = 0
    closed: int = 0

    def __post_init__(self) -> None:
        self._snapshot_cursor = ""
        self._snapshot_have: dict[str, int | list[list[int]]] = {}
        self.server_id = self.ids.uuid7()
        self.epoch = self.ids.uuid7()

    def restored(self, keeping: int) -> None:
        """As after a restore from a backup: the log is shorter and has a new epoch."""
        del self.log[keeping:]
        self.dead.clear()
        self.epoch = self.ids.uuid7()

    def stored_ids(self) -> list[str]:
        return [op.op_id for op in self.log]

    def received_through(self) -> int:
        numbers = Numbers()
        for op in self.log:
            if op.device_id == self.device_id:
                numbers.add(op.device_seq)
        for number in self.dead:
            numbers.add(number)
        return numbers.through()

    # the requests

    async def alive(self) -> None: ...

    async def info(self) -> wire.InfoAnswer:
        return wire.InfoAnswer(
            server_id=self.server_id, kind=self.kind, epoch=self.epoch, protocol=["1.0"], version="0",  # type: ignore[arg-type]
            time=format_time(NOON_MS), limits=wire.InfoLimits(), dictionaries=[],
        )  # fmt: skip

    async def status(self) -> wire.StatusAnswer:
        return wire.StatusAnswer(
            server_id=self.server_id, epoch=self.epoch, last_push_at=None, last_pull_at=None,
            received_through=self.received_through(), cloud_through=self.cloud_through,
            cloud_epoch=self.cloud_epoch, open_conflicts=0, scope=self.scope,
            refused_upstream=[wire.RefusedOp(op_id=op_id, code=code) for op_id, code in self.refused_upstream],
        )  # fmt: skip

    async def config(self) -> wire.ConfigAnswer:
        return wire.ConfigAnswer(
            clinic_id=CLINIC, keep_own_days=14, offline_session_hours=72,
            require_signed_ops=self.require_signed_ops, routing={}, targets=[], ca_certificates=[],
        )  # fmt: skip

    async def watermarks(self) -> wire.WatermarksAnswer:
        received = {self.device_id: self.received_through()}
        return wire.WatermarksAnswer(received=received, cloud={}, cloud_epoch=None)

    async def push(
        self, ops: Sequence[bytes], dead_letters: Sequence[wire.WireDeadLetter] = ()
    ) -> wire.PushAnswer:
        _break(self.before_push)
        decoded = [decode_op(text) for text in ops]
        self.pushes.append([op.op_id for op in decoded])
        for op in decoded:
            if isinstance(told := self.verdict(op), Exception):
                raise told
        results = [self._store(op) for op in decoded]
        async with self.moved:
            self.moved.notify_all()
        _break(self.after_push)
        return wire.PushAnswer(
            server_id=self.server_id, epoch=self.epoch, cloud_epoch=self.cloud_epoch, results=results,
            cloud_through=self.cloud_through,
            refused_upstream=[wire.RefusedUpstream(op_id=op_id, code=code) for op_id, code in self.refused_upstream],
        )  # fmt: skip

    def _store(self, op: Operation) -> wire.PushResult:
        told = self.verdict(op)
        if isinstance(told, wire.PushResult):
            if told.status == "rejected":
                self.dead[op.device_seq] = op.op_id
            return told
        for place, held in enumerate(self.log, start=1):
            if held.op_id == op.op_id:
                return wire.PushResult(op_id=op.op_id, status="duplicate", server_seq=place)
            if (held.device_id, held.device_seq) == (op.device_id, op.device_seq):
                return rejected(op, "device_seq_reused")
        self.log.append(op)
        return wire.PushResult(op_id=op.op_id, status="accepted", server_seq=len(self.log))

    async def pull(self, cursor: str | None, *, limit: int, wait_s: int = 0) -> wire.PullAnswer:
        _break(self.before_pull)
        self.pulls.append(cursor)
        epoch, _, place = (cursor or f"{self.epoch}:0").partition(":")
        if epoch != self.epoch:
            raise PeerRefused(409, "cursor_epoch_changed", "another epoch")
        begin, end = int(place), min(int(place) + min(limit, self.page_ops), len(self.log))
        return wire.PullAnswer(
            server_id=self.server_id, epoch=self.epoch, ops=self.log[begin:end],
            next_cursor=f"{self.epoch}:{end}", has_more=end < len(self.log),
        )  # fmt: skip

    async def resume(self, have: Have) -> str:
        self.resumed.append(have)
        place = 0
        for op in self.log:
            if op.device_seq not in have.get(op.device_id, Numbers()):
                break
            place += 1
        return f"{self.epoch}:{place}"

    def serve_snapshots(self) -> None:
        """From now on, of what is in the log now."""
        self.snapshot_lines = lines_of(self.log)
        self._snapshot_cursor = f"{self.epoch}:{len(self.log)}"
        self._snapshot_have = have_of(self.log)

    async def snapshot(self) -> AsyncGenerator[SnapshotPart, None]:
        if self.snapshot_lines is None:
            raise PeerRefused(404, "not_found", "no snapshots here")
        self.snapshots += 1
        lines = self.snapshot_lines
        head = SnapshotHead(
            server_id=self.server_id, epoch=self.epoch, cursor=self._snapshot_cursor, have=self._snapshot_have,
            entities=len(lines), scope=self.snapshot_scope,  # type: ignore[arg-type]
        )  # fmt: skip
        yield SnapshotPart(head, [])
        for place in range(0, len(lines), 2):
            if self.break_snapshot_after is not None and place >= self.break_snapshot_after:
                raise PeerUnreachable("the snapshot was cut")
            yield SnapshotPart(head, lines[place : place + 2])

    async def reenrol(self, request: wire.ReenrolRequest) -> wire.ReenrolAnswer:
        self.enrolled.append(request.public_key)
        self.device_id = self.ids.uuid7()
        return wire.ReenrolAnswer(
            device_id=self.device_id, clinic_id=CLINIC, site_id=CLINIC, scope="full", access_token="another",
            ca_certificates=[], targets=[],
        )  # fmt: skip

    async def enrol(self, request: wire.EnrolRequest) -> wire.EnrolAnswer:
        raise PeerRefused(404, "not_found", "nobody is let in here")

    async def login(self, request: wire.LoginRequest) -> wire.SessionAnswer:
        raise PeerRefused(404, "not_found", "nobody is let in here")

    async def refresh(self, request: wire.RefreshRequest) -> wire.SessionAnswer:
        raise PeerRefused(404, "not_found", "nobody is let in here")

    async def logout(self, request: wire.LogoutRequest) -> None:
        raise PeerRefused(404, "not_found", "nobody is let in here")

    async def stream(self, cursor: str | None) -> AsyncGenerator[StreamPage, None]:
        self.streams += 1
        epoch, _, text = (cursor or f"{self.epoch}:0").partition(":")
        yield StreamPage(cursor=None, ops=[])
        place = int(text)
        while True:
            await self._moved(partial(self._is_beyond, place))
            if self.cut:
                self.cut = False
                raise PeerUnreachable("the stream was cut")
            ops, place = self.log[place:], len(self.log)
            yield StreamPage(cursor=f"{epoch}:{place}", ops=ops)

    def _is_beyond(self, place: int) -> bool:
        return len(self.log) > place or self.cut

    async def _moved(self, holds: Callable[[], bool]) -> None:
        async with self.moved:
            await self.moved.wait_for(holds)

    async def arrive(self, *ops: Operation) -> None:
        """Ops of others come in."""
        async with self.moved:
            self.log.extend(ops)
            self.moved.notify_all()

    async def cut_stream(self) -> None:
        async with self.moved:
            self.cut = True
            self.moved.notify_all()

    async def aclose(self) -> None:
        self.closed += 1


def lines_of(ops: Sequence[Operation]) -> list[bytes]:
    """The snapshot of these ops, as a server would make it."""
    entities: dict[Entity, list[Operation]] = {}
    for place, op in enumerate(ops, start=1):
        told = msgspec.structs.replace(op, server_seq=place, server_received_at=format_time(NOON_MS))
        entities.setdefault(Entity(op.clinic_id, op.entity_type, op.entity_id), []).append(told)
    return [
        line_of(entity, [change_of(op) for op in some])
        for entity, some in sorted(entities.items(), key=lambda item: item[0].entity_id)
    ]


def have_of(ops: Sequence[Operation]) -> dict[str, int | list[list[int]]]:
    have: Have = {}
    for op in ops:
        have.setdefault(op.device_id, Numbers()).add(op.device_seq)
    return {device_id: numbers.to_wire() for device_id, numbers in have.items()}


def rejected(op: Operation, code: str) -> wire.PushResult:
    return wire.PushResult(op_id=op.op_id, status="rejected", code=code, message="told so")


def retry(op: Operation) -> wire.PushResult:
    return wire.PushResult(op_id=op.op_id, status="retry", code="unknown_author", message="told so")


def _break(faults: Iterator[Fault | None]) -> None:
    fault = next(faults, None)
    if fault is not None:
        fault()


class Tablet:
    """A device's store without threads, and its way to a scripted server."""

    def __init__(
        self, folder: Path, *, seed: int = 3, clock: HandClock | None = None, create: bool = True
    ) -> None:
        self.clock = clock or HandClock()
        self.ids = SeededIds(self.clock, seed)
        self.store = DeviceStore(folder, KEY, self.clock, create=create, lock_wait_s=0)
        if create:
            self.store.begin(
                TokenClaims(CLINIC, DEVICE, USER),
                name="tablet",
                server_url=URL,
                access_token="t",
                ca_pem=None,
            )

    def record(
        self, *, entity_id: str | None = None, op: str = "create", payload: bytes = b'{"value":1.50}',
        parents: tuple[str, ...] | None = None, entity_type: str = "Observation",
    ) -> Operation:  # fmt: skip
        return self.store.record(
            Draft(
                op_id=self.ids.uuid7(), user_id=USER, entity_type=entity_type,
                entity_id=entity_id or self.ids.uuid7(), op_type=op,
                parents=() if op == "create" else parents, device_time=format_time(self.clock.now_ms()),
                schema_version=1, payload=payload,
            )
        )  # fmt: skip

    def replicator(self, server: ScriptedServer, url: str = URL) -> Replicator:
        side = DeviceSide(
            self.store, InlineWorker(), self.clock, self.ids, replace(self.store.identity(), server_url=url)
        )
        return Replicator(side, server, clock=self.clock, random_unit=lambda: 0.5)

    async def sync(self, server: ScriptedServer, *, attempts: int = 1, url: str = URL) -> Report:
        return await self.replicator(server, url).run(attempts=attempts, patience_s=60)

    def op_ids(self) -> set[str]:
        return {held.op.op_id for held in self.store.page(0, 100_000)}


def moved(op: Operation, **changes: object) -> Operation:
    """The same op with other fields."""
    return msgspec.structs.replace(op, **changes)
