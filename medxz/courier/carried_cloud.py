"""One file that a cloud made, in the cloud's place (`medxz.replicate.Remote`), towards the hub that it is for.

It answers what the cloud has answered: to ops that were carried there, to who reads on where the hub was, about the
directory and the certificate. What it can't answer it refuses with `cloud_required`, as a hub's own cloud does that
can't be reached: that waits for the next courier. Refused too: to be read by who lacks what stands before it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from typing import Final, NoReturn, TypeVar

import msgspec
from pydantic import BaseModel, ValidationError

from medxz import wire
from medxz.courier.content import NONE, Answers, CloudState, Content, Page
from medxz.errors import CourierRefused, PeerRefused
from medxz.have import Have, Numbers
from medxz.ids import uuid_bytes
from medxz.op import Operation
from medxz.replicate import START, SnapshotPart, StreamPage
from medxz.rules import checked_digest
from medxz.work import Worker

WAITS: Final = "cloud_required"
GAP: Final = "courier_gap"


_Model = TypeVar("_Model", bound=BaseModel)

_op: Final = msgspec.json.Decoder(Operation).decode

Frames = Callable[[], Iterator[Content]]


class CarriedCloud:
    """The cloud of one slice, which was looked through before: `state` and the answers are in memory, pages are read as
    they are asked for.
    """

    def __init__(self, frames: Frames, worker: Worker, name: str) -> None:
        self._frames: Final = frames
        self._worker: Final = worker
        self._name: Final = name
        self._results: Final[dict[str, wire.PushResult]] = {}
        self._in_log: Final[set[bytes]] = set()
        self._letters: Final[set[tuple[str, int]]] = set()
        self._first: str | None = None  # where the first page begins
        self._next: Final[dict[str, str]] = {}  # where each with ops begins -> where it ends
        self._ends: Final[set[str]] = set()
        self._reading: tuple[str, Iterator[Page]] | None = None
        self._holds: Have = {}
        self._refused_cursor = False
        self.pages_are_here = False
        self._state: CloudState | None = None

    @property
    def state(self) -> CloudState:
        assert self._state is not None, "it was looked through"
        return self._state

    async def look_through(self) -> None:
        """Read all of it; CourierRefused where it is not whole."""
        await self._worker.run(self._look)

    def _look(self) -> None:
        for content in self._frames():
            if isinstance(content, CloudState):
                self._state = content
            elif isinstance(content, Answers):
                self._results.update({each.op_id: each for each in content.results if each.op_id is not None})
                self._letters.update(content.letters)
            elif isinstance(content, Page):
                self._first = content.after if self._first is None else self._first
                self._ends.add(content.next_cursor)
                if content.next_cursor != content.after:
                    self._next[content.after] = content.next_cursor
                for text in content.ops:
                    op = _op(text)
                    self._in_log.add(_very_op(op))
                    self._holds.setdefault(op.device_id, Numbers()).add(op.device_seq)
        if self._state is None:
            raise CourierRefused(f"{self._name}: it does not say what the cloud has", "make it again")

    @property
    def has_pages(self) -> bool:
        """Whether the cloud's log was carried, to wherever that goes on."""
        return self._first is not None

    def holds_nothing_new(self, have: Have) -> bool:
        """Whether every number of its pages, and all that stands before them, is there."""
        return _covers(have, self._holds) and _covers(have, self._before)

    @property
    def _before(self) -> Have:
        return {device_id: Numbers.from_wire(numbers) for device_id, numbers in self.state.have.items()}

    # ------------------------------------------------------------------------------------- as a server

    async def info(self) -> wire.InfoAnswer:
        return self._read(wire.InfoAnswer, self.state.info)

    async def watermarks(self) -> wire.WatermarksAnswer:
        marks = self.state.marks
        return wire.WatermarksAnswer(received=marks, cloud=marks, cloud_epoch=self.state.epoch)

    async def push(
        self, ops: Sequence[bytes], dead_letters: Sequence[wire.WireDeadLetter] = ()
    ) -> wire.PushAnswer:
        """What the cloud answered to these. Where it has seen some of them alone, the caller has to ask for fewer."""
        results = list(map(self._result, ops))
        known = [result for result in results if result is not None]
        told = [each for each in dead_letters if (each.device_id, each.device_seq) in self._letters]
        if not known and not told:
            raise _waits("this waits for the next courier")
        if len(known) + len(told) < len(ops) + len(dead_letters):
            raise PeerRefused(413, "too_large", "some of these were not carried", None)
        info = await self.info()
        return wire.PushAnswer(
            server_id=info.server_id,
            epoch=self.state.epoch,
            cloud_epoch=self.state.epoch,
            results=known,
            cloud_through=self.state.marks,
            refused_upstream=[],
        )

    def _result(self, body: bytes) -> wire.PushResult | None:
        """What was answered to an op; where it stands in the cloud's log as it was carried, it is there."""
        op = _op(body)
        told = self._results.get(op.op_id)
        if told is None and _very_op(op) in self._in_log:
            return wire.PushResult(op_id=op.op_id, status="duplicate")
        return told

    async def pull(self, cursor: str | None, *, limit: int, wait_s: int = 0) -> wire.PullAnswer:  # noqa: ARG002
        """The page behind the cursor, as it was made; `limit` does not make it smaller."""
        after = cursor or START
        is_known = after in self._next or after in self._ends
        if self._first is None or (self.pages_are_here and not is_known):
            raise _waits("nothing to read was carried")
        if after in self._next:
            page = await self._worker.run(self._page, after)
            ops, end = [self._operation(text) for text in page.ops], page.next_cursor
        elif after in self._ends:
            ops, end = [], after
        elif self._refused_cursor:
            raise _gap(self._name)
        else:
            self._refused_cursor = True
            raise PeerRefused(400, "bad_cursor", "the hub was elsewhere when this was made", None)
        info = await self.info()
        return wire.PullAnswer(
            server_id=info.server_id,
            epoch=self.state.epoch,
            ops=ops,
            next_cursor=end,
            has_more=end in self._next,
        )

    async def resume(self, have: Have) -> str:
        """The beginning of what was carried, for who has everything that stands before it."""
        if self._first is None or not _covers(have, self._before):
            raise _gap(self._name)
        return self._first

    async def directory(self, after: int | None = None) -> wire.DirectoryAnswer | None:
        told = self._read(wire.DirectoryAnswer, self.state.directory)
        return None if told.revision == after else told

    def renewal(self) -> wire.RenewAnswer | None:
        """The certificate that the hub asked for by the courier."""
        text = self.state.renewal
        return None if bytes(text) == NONE else self._read(wire.RenewAnswer, text)

    async def status(self) -> NoReturn:
        raise _waits("a file has no status")

    async def config(self) -> NoReturn:
        raise _waits("a file has no configuration but the directory's")

    async def reenrol(self, request: wire.ReenrolRequest) -> NoReturn:  # noqa: ARG002
        raise _waits("nobody enrols at a file")

    def snapshot(self) -> AsyncGenerator[SnapshotPart, None]:
        raise _waits("a file has no snapshot")

    def stream(self, cursor: str | None) -> AsyncGenerator[StreamPage, None]:  # noqa: ARG002
        raise _waits("a file does not grow")

    async def aclose(self) -> None:
        """Nothing is open."""

    # ------------------------------------------------------------------------------------- reading

    def _page(self, after: str) -> Page:
        """Pages are asked for one after another, nearly always."""
        if self._reading is None or self._reading[0] != after:
            self._reading = (after, (each for each in self._frames() if isinstance(each, Page)))
        for page in self._reading[1]:
            if page.after == after:
                self._reading = (page.next_cursor, self._reading[1])
                return page
        raise CourierRefused(f"{self._name}: it has changed while it was read", "copy it again")

    def _operation(self, text: msgspec.Raw) -> Operation:
        op = _op(text)
        if op.hash is not None and op.hash != checked_digest(op).hex():
            raise CourierRefused(f"{self._name}: op {op.op_id} has another content than its hash says")
        return op

    def _read(self, model: type[_Model], text: msgspec.Raw) -> _Model:
        try:
            return model.model_validate_json(bytes(text))
        except ValidationError:
            raise CourierRefused(
                f"{self._name}: it says something that this version does not understand",
                "bring hub and cloud to the same version",
            ) from None


def _very_op(op: Operation) -> bytes:
    """By which it is known again: another op of the same id is another."""
    return uuid_bytes(op.op_id) + op.digest()[:16]


def _covers(have: Have, others: Have) -> bool:
    return all(
        device_id in have and have[device_id].covers(numbers)
        for device_id, numbers in others.items()
        if numbers
    )


def _waits(message: str) -> PeerRefused:
    return PeerRefused(503, WAITS, message, None)


def _gap(name: str) -> PeerRefused:
    return PeerRefused(
        409, GAP, f"{name}: it goes on behind what this hub has; take the files before it first", None
    )
