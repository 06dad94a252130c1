"""The two sides that are brought into step, and the words they exchange.

`Remote` is a server as `medxz.peer.Peer` shows it; `Local` is a store on this machine: a device's, or a hub's log.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NoReturn, Protocol

import msgspec

from medxz.errors import PeerRefused
from medxz.have import Have
from medxz.op import Operation
from medxz.scope import Scope

if TYPE_CHECKING:
    from medxz import wire

START: Final = ""
"""A cursor that stands for the beginning of a log. None stands for: not known, ask the server by what is here."""

Standing = Literal["live", "offline"]


@dataclass(frozen=True, slots=True)
class LogId:
    """Which log: a server's, as it has been since its epoch began."""

    server_id: str
    epoch: str


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An op that a server has not acknowledged; `position` orders the local side's queue."""

    position: int
    op_id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Meeting:
    """How a server was found. Where the identity is taken, nothing may be pushed under it.

    `doubtful` is an op that the server says to have and that is not known to be ours there: it goes first and alone.
    For `good_for_s` the server need not be met anew before each push. `awaits_cloud`: it is a hub, and how far the cloud
    is with what it took is worth asking soon.
    """

    log: LogId
    identity_taken: bool = False
    doubtful: Outgoing | None = None
    good_for_s: float = 0.0
    awaits_cloud: bool = False


class StreamPage(msgspec.Struct, frozen=True):
    """Ops off the stream and the cursor after them; without a cursor it only says that the stream stands.

    `revision` is there where a cloud tells a hub that the clinic's directory has changed.
    """

    cursor: str | None
    ops: list[Operation]
    revision: int | None = None


class SnapshotHead(msgspec.Struct, frozen=True):
    """The first line of a snapshot: whose it is, where reading goes on after it, what it has of each device's numbers.

    `scope` is what the asking device may hold, where the server says so.
    """

    server_id: str
    epoch: str
    cursor: str
    have: dict[str, int | list[list[int]]]
    entities: int
    scope: Scope | None = None


@dataclass(frozen=True, slots=True)
class SnapshotPart:
    """Lines of a snapshot, each an entity; the first part has none, so that its head is known at once."""

    head: SnapshotHead
    lines: Sequence[bytes]


@dataclass(slots=True)
class Report:
    """What came of it, in numbers of ops; `entities` are those that came by a snapshot."""

    accepted: int = 0
    duplicate: int = 0
    conflict: int = 0
    retry: int = 0
    rejected: int = 0
    pulled: int = 0
    entities: int = 0
    recorded_again: int = 0

    @property
    def pushed(self) -> int:
        return self.accepted + self.duplicate + self.conflict

    @property
    def settled(self) -> int:
        return self.pushed + self.rejected

    def add(self, other: Report) -> None:
        """What came of another server, or of another time. What is to be offered again is counted by the last."""
        for name in ("accepted", "duplicate", "conflict", "rejected", "pulled", "entities", "recorded_again"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.retry = other.retry

    def count(self, status: wire.ResultStatus) -> None:
        setattr(self, status, getattr(self, status) + 1)


@dataclass(frozen=True, slots=True)
class Progress:
    """A step forward. `total` is None where nobody knows it."""

    phase: Literal["push", "pull", "snapshot"]
    done: int
    total: int | None


class Remote(Protocol):
    """A server, as `medxz.peer.Peer` shows it."""

    async def info(self) -> wire.InfoAnswer: ...
    async def status(self) -> wire.StatusAnswer: ...
    async def watermarks(self) -> wire.WatermarksAnswer: ...
    async def config(self) -> wire.ConfigAnswer: ...
    async def push(
        self, ops: Sequence[bytes], dead_letters: Sequence[wire.WireDeadLetter] = ()
    ) -> wire.PushAnswer: ...
    async def pull(self, cursor: str | None, *, limit: int, wait_s: int = 0) -> wire.PullAnswer: ...
    async def resume(self, have: Have) -> str: ...
    async def reenrol(self, request: wire.ReenrolRequest) -> wire.ReenrolAnswer: ...
    def snapshot(self) -> AsyncGenerator[SnapshotPart, None]: ...
    def stream(self, cursor: str | None) -> AsyncGenerator[StreamPage, None]: ...
    async def aclose(self) -> None: ...


async def prove_it_went_back(remote: Remote, cursor: str) -> None:
    """Show a server that stands in an earlier epoch the cursor it sealed in a later one: it begins another."""
    try:
        await remote.pull(cursor, limit=1)
    except PeerRefused as refusal:
        if refusal.code != "cursor_epoch_changed":
            raise


class Local(Protocol):
    """The side on this machine. Each call is one transaction: done and durable, or not done."""

    async def meet(self, remote: Remote) -> Meeting:
        """Learn which log that server has and what it holds of ours."""
        ...

    async def report(self, remote: Remote, log: LogId) -> None:
        """Tell that log what it should know beside ops, before they go there: a hub, what it has rejected for good."""
        ...

    async def outbox(self, log: LogId, after: int, ops_max: int, bytes_max: int) -> Sequence[Outgoing]:
        """What that log has not settled, by position; at least one where there is any, whatever its size."""
        ...

    async def waiting(self, log: LogId) -> int:
        """How many that log has not settled."""
        ...

    async def settle(self, batch: Sequence[Outgoing], answer: wire.PushAnswer) -> bool:
        """Remember the results under the log that gave them; False where our identity turns out to be taken."""
        ...

    async def park(self, log: LogId, op: Outgoing, code: str, message: str) -> None:
        """Take out of the queue what that server will not even read."""
        ...

    async def cursor(self, log: LogId) -> str | None: ...

    async def begin_at(self, log: LogId, cursor: str) -> None: ...

    async def have(self) -> Have: ...

    async def wants_snapshot(self) -> bool:
        """Whether nothing of others is here yet, so that a snapshot spares the whole log."""
        ...

    async def begin_snapshot(self, head: SnapshotHead) -> bool:
        """Get ready for its lines; those of one that was interrupted go. False: no more of that, read the log."""
        ...

    async def take_snapshot(self, lines: Sequence[bytes]) -> None:
        """Keep these lines. Nothing is made of them before the last has come."""
        ...

    async def end_snapshot(self, head: SnapshotHead) -> bool:
        """All are here: believe them, and read on from its cursor. False where our identity turns out to be taken."""
        ...

    async def apply(self, log: LogId, ops: Sequence[Operation], cursor: str) -> Sequence[Operation]:
        """Take these ops in, and the cursor after them; returns those that were new here."""
        ...

    async def take_new_identity(self, remote: Remote) -> int:
        """Become another device, and record again what no server has; returns how many that were."""
        ...


class OpByOp:
    """What a `Local` is that reads a whole log op by op, and is nobody's copy."""

    async def wants_snapshot(self) -> bool:
        return False

    async def begin_snapshot(self, _head: SnapshotHead) -> bool:
        return False

    async def take_snapshot(self, _lines: Sequence[bytes]) -> NoReturn:
        raise AssertionError("no snapshot was begun")

    async def end_snapshot(self, _head: SnapshotHead) -> NoReturn:
        raise AssertionError("no snapshot was begun")

    async def take_new_identity(self, _remote: Remote) -> int:
        return 0
