"""The promises of a log, whatever it is kept on. Every backend passes the contract suite in tests/store/.

A `LogStore` is the log of one clinic on one server: server_seq 1, 2, 3 … in the order of commit, without gaps. It knows
numbers, identities and bytes; who may write what is the service's to judge.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import msgspec

from medxz.have import Have
from medxz.op import Operation
from medxz.scope import Scope
from medxz.store.entity_index import Whose

OutcomeKind = Literal["stored", "duplicate", "dead"]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A final rejection. It settles the number when it is one of the pushing device's own."""

    device_id: str
    device_seq: int | None
    op_id: str | None
    code: str
    message: str
    field: str | None = None
    settles: bool = False


@dataclass(frozen=True, slots=True)
class Append:
    """What one push asks the log to keep: ops with their JSON texts, and what was refused of them.

    `lenient` is for ops that a hub has acknowledged: a number used twice is kept and marked for review.
    `reviews` names ops, by their place in `ops`, that are kept although the server knows better, and why. `refused`
    names those that are not to be stored, with their dead letters: they may be here already all the same.
    """

    ops: Sequence[Operation]
    texts: Sequence[bytes]
    dead_letters: Sequence[DeadLetter] = ()
    reviews: Sequence[tuple[int, str]] = ()
    refused: Mapping[int, DeadLetter] = field(default_factory=dict)
    lenient: bool = False


class Conflicting(msgspec.Struct, frozen=True, gc=False):
    """A conflict that an entity has, now that an op is stored: of several the one with a retract."""

    conflict_id: str
    fields: tuple[str, ...]


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What became of one op. `seq` stands with stored and duplicate, `dead` with one rejected now or before.

    `conflict` stands with one that is stored now, where its entity has one open.
    """

    kind: OutcomeKind
    seq: int = 0
    dead: DeadLetter | None = None
    conflict: Conflicting | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the log: the number of an op, and which op is there. (0, b"") is the beginning."""

    seq: int
    op_id: bytes


BEGINNING = Position(0, b"")


@dataclass(frozen=True, slots=True)
class Page:
    """Ops after a position, as a JSON array, and the position after them."""

    ops_json: bytes
    count: int
    end: Position
    more: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a log stood, and which numbers of the ops of a scope it held then."""

    position: Position
    have: Have


@dataclass(frozen=True, slots=True)
class EntityBatch:
    """Some entities, each as its ops in the order of server_seq, and the place to go on behind; None at the end."""

    entities: list[list[bytes]]
    end: bytes | None


@dataclass(frozen=True, slots=True)
class ReviewRow:
    """One op that a person should look at."""

    id: int
    op_id: str
    device_id: str
    user_id: str
    entity_type: str
    entity_id: str
    code: str
    received_ms: int


@dataclass(frozen=True, slots=True)
class LetterRow:
    """A dead letter that settled a number here, under the number by which letters are read on."""

    id: int
    device_id: str
    device_seq: int
    op_id: str | None
    code: str


@dataclass(slots=True)
class Verification:
    """How far a full check has come, and what it found."""

    checked: int = 0
    total: int = 0
    damaged: list[int] = field(default_factory=list)
    done: bool = False


class PositionLost(Exception):  # a fact about the log, which its one caller answers
    """The log does not hold that op at that place: it has gone back since the position was handed out."""


class LogStore(Protocol):
    """One clinic's log on one server."""

    @property
    def clinic_id(self) -> str: ...

    @property
    def server_id(self) -> str: ...

    @property
    def epoch(self) -> str:
        """Changes only by `begin_epoch`."""
        ...

    @property
    def cursor_key(self) -> bytes:
        """The secret that cursors are sealed with; it lives and is copied with the log."""
        ...

    @property
    def last_seq(self) -> int:
        """The greatest server_seq that is durable; 0 in an empty log."""
        ...

    @property
    def contended_seq(self) -> int:
        """No op behind this one began or ended a conflict, or made two patients one. Where nobody knows: `last_seq`."""
        ...

    @property
    def waiting_ops(self) -> int:
        """Ops that wait for the writer."""
        ...

    @property
    def stands_still(self) -> bool:
        """Whether a transaction has been waiting for its commit for longer than anybody is kept waiting."""
        ...

    @property
    def transactions(self) -> int:
        """Transactions that appended something since this process opened the log."""
        ...

    @property
    def verification(self) -> Verification | None:
        """The full check that runs or ran last; None where none was needed."""
        ...

    async def append(self, batch: Append) -> list[Outcome]:
        """Keep what the batch says, and answer for each op, in order.

        When this returns, everything it says is stored survives a power cut, dead letters included. An op_id is
        stored at most once: the same op again is a `duplicate` with its first seq. Another op with that id, or with
        a number that is settled already, is `dead` (`op_id_reused`, `device_seq_reused`); an op that was rejected
        before is dead for the first reason. What an op that is stored conflicts with is told by the ops that are here
        just then, itself and those before it included. Times of receipt never go back, whatever the clock does.
        Many batches share one transaction. Raises Overloaded where too much is waiting, StorageFull where the
        disk is full, and then nothing of the batch is stored; StoreError where that is in doubt.
        """
        ...

    async def page(self, after: Position, limit: int, scope: Scope) -> Page:
        """At most `limit` ops after a position in server_seq order, those of the scope alone.

        Who follows `end` sees each op of the scope once: never skips, never repeats, whatever is written meanwhile.
        A page also ends at PULL_PAGE_BYTES_MAX. Raises PositionLost, and RowCorrupt rather than hand out bytes
        whose checksum does not fit.
        """
        ...

    async def wait_beyond(self, seq: int) -> None:
        """Return once the log is longer than `seq`, or when something else is worth another look.

        What happens after the call is not missed, whenever it is awaited.
        """
        ...

    def wake(self) -> None:
        """Let everybody who waits look again: something other than the log's length has changed."""
        ...

    async def locate(self, have: Have, scope: Scope) -> Position:
        """The latest position before which no op of the scope is missing from `have`."""
        ...

    def settled_through(self, device_id: str) -> int:
        """The highest n such that the device's 1 … n are all settled here."""
        ...

    def settled(self) -> dict[str, int]:
        """`settled_through` of every device that ever pushed."""
        ...

    async def ops_after(self, seq: int, limit: int) -> list[bytes]:
        """At most `limit` ops behind a place, in order: none where nothing durable that is sound is left to read.

        A damaged row is left out here, as in `entity_ops`: what is derived goes on, and /health tells of it.
        """
        ...

    async def entity_ops(
        self,
        entity_type: str,
        entity_id: str,
        *,
        after_seq: int = 0,
        limit: int | None = None,
        through: int | None = None,
    ) -> list[bytes]:
        """The ops of one entity in the order of server_seq, from behind one place through another."""
        ...

    async def entity_ops_of(self, entities: Sequence[Whose], through: int | None = None) -> list[list[bytes]]:
        """The same of several, read together: one list for each, in their order, empty where there is none.

        Fewer lists where PULL_PAGE_BYTES_MAX is reached before: one at least, and who wants the rest asks again.
        """
        ...

    async def entities(self, after: bytes | None, count: int, scope: Scope, through: int) -> EntityBatch:
        """About `count` entities in an order of the log's own, from behind an `end`, with their ops through a place.

        Who follows `end` sees each entity of the scope that had an op by then once, whatever is written meanwhile.
        `through` is at most `last_seq`. Raises RowCorrupt rather than leave out an op.
        """
        ...

    async def count_entities(self, scope: Scope, through: int) -> int:
        """How many entities have an op of the scope through a place: as many as `entities` gives."""
        ...

    async def standing(self, scope: Scope, through: int) -> Standing:
        """How the log stood when `through`, which is at most `last_seq`, was its last op."""
        ...

    async def index_now(self) -> int:
        """Make reading by entity quick for all that is durable; `last_seq` as it is then."""
        ...

    async def reviews(self, after_id: int, limit: int) -> list[ReviewRow]:
        """What was marked for review, oldest first."""
        ...

    async def dead_letters(self, after_id: int, limit: int) -> list[LetterRow]:
        """At most `limit` of the dead letters that settle a number, from behind an id, in the order in which they came."""
        ...

    async def begin_epoch(self, epoch: str) -> None:
        """Give the log a new epoch, durably."""
        ...

    async def verify(self, progress: Callable[[Verification], None] | None = None) -> Verification:
        """Read every row and hold it against its checksum; meanwhile the log goes on serving."""
        ...

    async def close(self) -> None:
        """Finish what waits, say in the log that it was stopped well, and let go of it."""
        ...
