"""What was promised and what was seen in a world: the only witness that the checkers believe beside the parties' stores.

It is written at the moment of a promise, by whoever was given it, and nothing that crashes takes a line out of it. What a
party merely holds does not stand here: that is asked of the parties after a healing. A party is known by its name, an op
by its id, a moment by the world's own time in seconds, which no machine's clock moves. Refused here: to say of an op that
was authored once something else later.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import Literal

from medxz.op import Operation
from medxz.scope import Scope

Level = Literal["here", "hub", "cloud"]

THE_CLOUD = "cloud"


@dataclass(frozen=True, slots=True)
class Authored:
    """An op that is durable with its author: `party` is where it was recorded or made. `again` is the op it repeats."""

    op: Operation
    party: str
    at: float
    again: str | None = None


@dataclass(frozen=True, slots=True)
class Ack:
    """Somebody was told that an op is at this party, at that level. `told` is who was; `seq` where the server said it."""

    op_id: str
    level: Level
    party: str
    server_id: str | None
    epoch: str | None
    at: float
    seq: int | None = None
    told: str | None = None


@dataclass(frozen=True, slots=True)
class PageRead:
    """What a reader was given for one cursor: `after` is that cursor, None for the beginning; `cursor` the one after it.

    `ops` are op_ids with the server_seq that stood by each, in the order in which they came. `at_end` is whether the server
    said that there was no more; it knew all that had been promised by the moment `asked`, where that is known.
    """

    reader: str
    party: str
    server_id: str
    epoch: str
    scope: Scope
    after: str | None
    cursor: str
    ops: tuple[tuple[str, int], ...]
    at_end: bool
    at: float
    asked: float | None = None


@dataclass(frozen=True, slots=True)
class Resumed:
    """A reader was given a cursor for what it had: the ops (not the numbers) that it had read by then."""

    reader: str
    party: str
    server_id: str
    epoch: str
    cursor: str
    have: frozenset[str]
    at: float


@dataclass(frozen=True, slots=True)
class StorageLost:
    """A party's storage went back to what it was at `back_to`; to nothing where that is None. `gone`: it never comes back."""

    party: str
    back_to: float | None
    at: float
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A device let go of own ops, as its `forget` is asked to.

    `in_cloud` are those of them that the cloud's own store had at that moment; None where nobody could look.
    """

    party: str
    op_ids: frozenset[str]
    at: float
    in_cloud: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A server refused an op for good: its author keeps it, nobody else has to have it."""

    op_id: str
    party: str
    code: str
    at: float


class Ledger:
    """One world's. Lines are only ever added."""

    def __init__(self) -> None:
        self.authors: dict[str, Authored] = {}
        self.acks: dict[str, list[Ack]] = defaultdict(list)
        self.pages: list[PageRead] = []
        self.resumes: list[Resumed] = []
        self.losses: dict[str, list[StorageLost]] = defaultdict(list)
        self.forgotten: list[Forgotten] = []
        self.rejections: dict[str, list[Rejected]] = defaultdict(list)
        self.revoked: dict[str, float] = {}

    # ------------------------------------------------------------------------------------------ promises

    def authored(self, op: Operation, party: str, at: float, *, again: str | None = None) -> None:
        """`party` has made this op. A device's is durable there then, and that is told by `acked(…, "here", …)`.

        `again` names the op that a device with a new identity has recorded once more as this one.
        """
        known = self.authors.get(op.op_id)
        if known is not None and known.op.digest() != op.digest():
            raise AssertionError(f"the world itself has made two ops with the id {op.op_id}")
        if known is None:
            self.authors[op.op_id] = Authored(op, party, at, again)

    def acked(
        self,
        op_id: str,
        level: Level,
        party: str,
        server_id: str | None = None,
        epoch: str | None = None,
        at: float = 0.0,
        *,
        seq: int | None = None,
        told: str | None = None,
    ) -> None:
        """`told` heard that `party` has the op durably: by a push's answer, a watermark, a status or a return of `record`.

        The same promise of the same epoch counts once, from when it was first given; after a loss it is a new one.
        """
        ack = Ack(op_id, level, party, server_id, epoch, at, seq, told)
        lines = self.acks[op_id]
        if not any(_is_same(ack, line) and self.kept(line.party, line.at) for line in lines):
            lines.append(ack)

    def rejected(self, op_id: str, party: str, code: str, at: float) -> None:
        self.rejections[op_id].append(Rejected(op_id, party, code, at))

    # ------------------------------------------------------------------------------------------- reading

    def read(
        self,
        reader: str,
        party: str,
        server_id: str,
        epoch: str,
        *,
        after: str | None,
        cursor: str,
        ops: Iterable[tuple[str, int]],
        scope: Scope = "full",
        at_end: bool = False,
        at: float = 0.0,
        asked: float | None = None,
    ) -> None:
        """A page of a pull, or a chunk of a stream; a reader that crashed goes on after a cursor that it kept."""
        self.pages.append(
            PageRead(reader, party, server_id, epoch, scope, after, cursor, tuple(ops), at_end, at, asked)
        )

    def resumed(
        self,
        reader: str,
        party: str,
        server_id: str,
        epoch: str,
        *,
        cursor: str,
        have: Iterable[str],
        at: float,
    ) -> None:
        self.resumes.append(Resumed(reader, party, server_id, epoch, cursor, frozenset(have), at))

    # --------------------------------------------------------------------------------- what may be missing

    def went_back(self, party: str, back_to: float | None, at: float, *, gone: bool = False) -> None:
        """Its storage was restored from a copy of that moment, replaced by an empty one (None), or destroyed (`gone`).

        A crash is none of these: what was acknowledged survives it.
        """
        self.losses[party].append(StorageLost(party, back_to, at, gone))

    def forgot(
        self, party: str, op_ids: Iterable[str], at: float, *, in_cloud: Iterable[str] | None = None
    ) -> None:
        """A device's `forget` let go of these. `in_cloud`: what the cloud's store has just then, if one can look."""
        has = None if in_cloud is None else frozenset(in_cloud)
        self.forgotten.append(Forgotten(party, frozenset(op_ids), at, has))

    def is_revoked(self, party: str, at: float) -> None:
        """From here on nobody has to tell it anything, and nobody has to take what it recorded later."""
        self.revoked.setdefault(party, at)

    # --------------------------------------------------------------------------------------- what follows

    def kept(self, party: str, since: float) -> bool:
        """Whether the party's storage of now is one that had what was promised at that moment."""
        return self._had(party, since, inf)

    def _had(self, party: str, since: float, moment: float) -> bool:
        """Of the same moment as a loss or a copy nobody can say which came first: then it may be missing."""
        behind = [loss for loss in self.losses.get(party, ()) if since <= loss.at <= moment]
        if not behind:
            return since < moment
        back_to = behind[-1].back_to
        return back_to is not None and back_to < behind[-1].at and self._had(party, since, back_to)

    def is_gone(self, party: str) -> bool:
        return any(loss.gone for loss in self.losses.get(party, ()))

    def lets_go(self, party: str) -> frozenset[str]:
        """All that a device forgot."""
        return frozenset(op_id for line in self.forgotten if line.party == party for op_id in line.op_ids)


def _is_same(ack: Ack, line: Ack) -> bool:
    return (ack.level, ack.party, ack.server_id, ack.epoch, ack.seq) == (
        line.level, line.party, line.server_id, line.epoch, line.seq,
    )  # fmt: skip
