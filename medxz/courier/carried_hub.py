"""Files that a hub made, in the hub's place (`medxz.replicate.Local`), towards its cloud: they push what the hub would
push and read what the hub would read, and what comes of both is written into files for the way back.

Each of those files can be taken by itself: it has the cloud's watermarks and directory in it. Refused: to claim for a
log what another answered; where the cloud turns out to have another one, all of it is made anew.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, cast

import msgspec

from medxz import limits, wire
from medxz.courier.content import Answers, CloudState, HubState, Letters, Ops, Page
from medxz.courier.slices import SetWriter
from medxz.errors import PeerRefused
from medxz.have import Have, Numbers
from medxz.op import Operation
from medxz.replicate import START, LogId, Meeting, OpByOp, Outgoing, Remote, prove_it_went_back

Told = Callable[[LogId, Have], Awaitable[CloudState]]
"""What that log's cloud is now, for a slice that is about to end and is for who has so much."""

_UNREADABLE: Final = frozenset({400, 413, 422})
_MEMBERS_TOLD: Final = ("op_id", "status", "code")


class _Head(msgspec.Struct, frozen=True, gc=False):
    op_id: str
    device_id: str
    device_seq: int


_head: Final = msgspec.json.Decoder(_Head).decode
_encode: Final = msgspec.json.Encoder().encode

Frames = Callable[[], AsyncIterator[Ops | Letters]]
"""What the hub sent, from its beginning each time."""


@dataclass(frozen=True, slots=True)
class FromHub:
    """The newest state that the hub told, and everything that it sent. Without files of it: nothing, and no state."""

    state: HubState | None
    frames: Frames


class CarriedHub(OpByOp):
    """One hub's files towards one cloud."""

    def __init__(self, sent: FromHub, writer: SetWriter, told: Told) -> None:
        self._sent: Final = sent
        self._writer: Final = writer
        self._told: Final = told
        self._log: LogId | None = None
        self._cursor: str | None = None
        self._remote: Remote | None = None
        self._begin()

    def _begin(self) -> None:
        self._frames = self._sent.frames()
        self._letters: list[wire.WireDeadLetter] = []  # that are still to be told
        self._have_now, self._have_before = self._had(), self._had()
        self._position = 0
        self._held: dict[int, Outgoing] = {}  # offered, and not answered
        self._coming: list[bytes] = []
        self._has_page = False
        self._carried = 0  # in the slice that is being written

    # ------------------------------------------------------------------------------------- up

    async def meet(self, remote: Remote) -> Meeting:
        self._remote = remote
        log, state = await _log_of(remote), self._sent.state
        if self._log is None and state is not None and state.cursor and (state.cloud_epoch or "") > log.epoch:
            await prove_it_went_back(remote, state.cursor)
            log = await _log_of(remote)
        if self._log != log:
            if self._log is not None:  # the cloud was restored just now: nothing of what was written counts
                await self._writer.discard()
                self._begin()
            self._cursor = state.cursor if state is not None and state.cloud_epoch == log.epoch else None
            self._log = log
        return Meeting(log)

    async def report(self, remote: Remote, _log: LogId) -> None:
        """What the hub rejected, as far as it was read; once told, it is not told again."""
        await self._tell(remote, self._letters)
        if self._letters:
            settled = [(letter.device_id, letter.device_seq) for letter in self._letters]
            await self._writer.add(Answers([], settled))
        self._letters = []

    async def _tell(self, remote: Remote, letters: Sequence[wire.WireDeadLetter]) -> None:
        """One that is not even read there concerns itself alone."""
        if not letters:
            return
        try:
            await remote.push([], letters)
        except PeerRefused as refusal:
            if refusal.status not in _UNREADABLE:
                raise
            if len(letters) > 1:
                middle = len(letters) // 2
                await self._tell(remote, letters[:middle])
                await self._tell(remote, letters[middle:])

    async def outbox(self, _log: LogId, after: int, ops_max: int, bytes_max: int) -> Sequence[Outgoing]:
        batch = [op for position, op in sorted(self._held.items()) if position > after][:ops_max]
        size = sum(len(op.body) for op in batch)
        while len(batch) < ops_max:
            body = await self._next()
            if body is None:
                break
            size += len(body)
            if batch and size > bytes_max:
                self._coming.insert(0, body)
                break
            self._position += 1
            made = Outgoing(self._position, _head(body).op_id, body)
            self._held[made.position] = made
            batch.append(made)
        return batch

    async def _next(self) -> bytes | None:
        while not self._coming:
            frame = await anext(self._frames, None)
            if frame is None:
                return None
            if isinstance(frame, Letters):
                assert self._remote is not None, "it was met"
                assert self._log is not None
                self._letters += frame.letters
                await self.report(self._remote, self._log)
            else:
                self._coming = [bytes(op) for op in frame.ops]
        return self._coming.pop(0)

    async def waiting(self, _log: LogId) -> int:
        return len(self._held)

    async def settle(self, batch: Sequence[Outgoing], answer: wire.PushAnswer) -> bool:
        if LogId(answer.server_id, answer.epoch) != self._log:
            return True
        await self._answer([_told(result) for result in answer.results])
        for op in batch:
            self._held.pop(op.position, None)
        return True

    async def park(self, _log: LogId, op: Outgoing, code: str, _message: str) -> None:
        """The cloud does not even read this one: its number settles there by the hub's word, and its device is told."""
        assert self._remote is not None
        head, told = _head(op.body), "too_large" if code == "too_large" else "invalid"
        letter = wire.WireDeadLetter(
            device_id=head.device_id,
            device_seq=head.device_seq,
            op_id=head.op_id,
            code=cast(wire.RejectionCode, told),
        )
        await self._tell(self._remote, [letter])
        await self._answer([wire.PushResult(op_id=op.op_id, status="rejected", code=told)])
        self._held.pop(op.position, None)

    async def _answer(self, results: list[wire.PushResult]) -> None:
        await self._writer.add(Answers(results))
        self._carried += len(results)
        if self._writer.is_full or self._carried >= limits.COURIER_OPS_MAX:
            await self._end_slice()

    # ------------------------------------------------------------------------------------- down

    async def cursor(self, _log: LogId) -> str | None:
        return self._cursor

    async def have(self) -> Have:
        return self._had()

    def _had(self) -> Have:
        state = self._sent.state
        told = state.have if state is not None else {}
        return {device_id: Numbers.from_wire(numbers) for device_id, numbers in told.items()}

    async def begin_at(self, _log: LogId, cursor: str) -> None:
        self._cursor = cursor

    async def apply(self, log: LogId, ops: Sequence[Operation], cursor: str) -> Sequence[Operation]:
        if log != self._log:
            return []
        if ops or not self._has_page:  # one at least: it says that the hub's cursor holds
            self._has_page = True
            texts = [msgspec.Raw(_encode(op)) for op in ops]
            await self._writer.add(Page(after=self._cursor or START, ops=texts, next_cursor=cursor))
            for op in ops:
                self._have_now.setdefault(op.device_id, Numbers()).add(op.device_seq)
        self._cursor = cursor
        self._carried += len(ops)
        if self._writer.is_full or self._carried >= limits.COURIER_OPS_MAX:
            await self._end_slice()
        return ops

    async def finish(self) -> None:
        """What was begun is ended; where there was nothing to say, that is said."""
        if self._writer.is_open or not self._writer.made:
            await self._end_slice()

    async def _end_slice(self) -> None:
        assert self._log is not None, "it was met"
        await self._writer.add(await self._told(self._log, self._have_before))
        await self._writer.end_slice()
        self._have_before = {device_id: numbers.copy() for device_id, numbers in self._have_now.items()}
        self._carried = 0


async def _log_of(remote: Remote) -> LogId:
    info = await remote.info()
    return LogId(info.server_id, (await remote.watermarks()).cloud_epoch or info.epoch)


def _told(result: wire.PushResult) -> wire.PushResult:
    """What of a result the hub goes by."""
    return wire.PushResult(**{name: getattr(result, name) for name in _MEMBERS_TOLD})
