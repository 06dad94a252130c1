"""What a transaction is to store, worked out without a database: which ops are new, which are here, which are refused.

The numbers that a log holds tell that most ops are new; only of those whose number is known is anything looked up, by
whoever writes: `suspects` names them. Nothing that is kept in memory changes before `settle_in`, behind the commit: a
transaction that fails leaves no trace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from medxz.clock import format_time
from medxz.have import Have, Numbers
from medxz.ids import uuid_bytes
from medxz.limits import BLOCK_OPS
from medxz.op import Operation
from medxz.scope import FRONT_DESK_TYPES
from medxz.store.base import Append, Conflicting, DeadLetter, Outcome
from medxz.store.held import Held
from medxz.store.record import op_json_of, render, stored_op, text_of
from medxz.store.tail import Committed

_REUSED: Final = {
    "op_id_reused": "another op has this op_id already; record it again under a new one",
    "device_seq_reused": "another op of this device has this number already; was the device cloned or restored?",
}

Stored = dict[bytes, tuple[int, bytes]]
"""Ops that are in the log already: seq and record by op_id."""
DeadKey = tuple[str, int | None, str | None]


@dataclass(frozen=True, slots=True)
class Found:
    """What the log has of the suspects: those that are stored, and the dead letters of those that were rejected."""

    stored: Stored = field(default_factory=dict)
    dead: Mapping[DeadKey, DeadLetter] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Review:
    """An op that is stored although the server knows better."""

    op: Operation
    code: str


class Draft:
    """What one transaction adds to what a log holds."""

    def __init__(self, held: Held, now_ms: int) -> None:
        self._held: Final = held
        self.first_seq: Final = held.last_seq + 1
        self.now_ms: Final = max(now_ms, held.last_ms)
        self._received_at: Final = format_time(self.now_ms).encode()
        self._settled: Have = {}  # of the devices that are met: all that they have, and what this adds
        self._runs: list[tuple[str, int, list[bool]]] = []
        self._settling: list[tuple[str, int]] = []
        self._sure: Append | None = None  # a batch of which it is known that all its ops are new
        self._buried: dict[DeadKey, DeadLetter] = {}
        self.ops: list[Operation] = []
        self.op_ids: list[bytes] = []
        self.front_desk: list[bool] = []
        self.records: list[bytes] = []
        self.letters: list[DeadLetter] = []
        self.reviews: list[Review] = []
        self.shared: list[tuple[str, int]] = []

    @property
    def last_seq(self) -> int:
        return self.first_seq + len(self.ops) - 1

    @property
    def is_empty(self) -> bool:
        return not (self.ops or self.letters or self.reviews)

    # What has to be looked up, and what becomes of each op.

    def suspects(self, batches: Sequence[Append], *, careful: bool) -> list[Operation]:
        """The ops that may be here already, or may have been rejected: to be looked for before they are taken."""
        if careful:
            return [op for batch in batches for op in batch.ops]
        if len(batches) == 1 and self._is_new_run(batches[0].ops):  # nearly always
            self._sure = batches[0]
            return []
        met: Have = {}
        found: list[Operation] = []
        for batch in batches:
            if _is_run(batch.ops):
                device_id, first = batch.ops[0].device_id, batch.ops[0].device_seq
                earlier = met.setdefault(device_id, Numbers())
                if first > max(self._held.settled(device_id).highest(), earlier.highest()):
                    earlier.add(first, first + len(batch.ops) - 1)
                    continue
            for op in batch.ops:
                earlier = met.setdefault(op.device_id, Numbers())
                if op.device_seq in earlier or op.device_seq in self._held.settled(op.device_id):
                    found.append(op)
                earlier.add(op.device_seq)
        return found

    def take(self, batch: Append, found: Found, *, careful: bool) -> list[Outcome]:
        """Take in a batch; what becomes of each of its ops."""
        if not careful and not batch.refused and (batch is self._sure or self._is_new_run(batch.ops)):
            outcomes = self._add_run(batch.ops, batch.texts)
        else:
            outcomes = [
                self._take_one(op, text, batch, at, found, careful=careful)
                for at, (op, text) in enumerate(zip(batch.ops, batch.texts, strict=True))
            ]
        for letter in batch.dead_letters:
            self._bury(letter)
        for index, code in batch.reviews:
            if outcomes[index].kind == "stored":
                self.reviews.append(Review(batch.ops[index], code))
        return outcomes

    def _is_new_run(self, ops: Sequence[Operation]) -> bool:
        """Whether these are one device's ops with numbers in a row, behind all that it has: nearly every batch."""
        return _is_run(ops) and ops[0].device_seq > self._numbers(ops[0].device_id).highest()

    def _take_one(
        self, op: Operation, text: bytes, batch: Append, at: int, found: Found, *, careful: bool
    ) -> Outcome:
        if careful or op.device_seq in self._numbers(op.device_id):
            outcome = self._look(op, text, found, lenient=batch.lenient)
            if outcome is not None:
                return outcome
        refused = batch.refused.get(at)
        if refused is not None:
            self._bury(refused)
            return Outcome("dead", dead=refused)
        return self._add_run([op], [text])[0]

    def _add_run(self, ops: Sequence[Operation], texts: Sequence[bytes]) -> list[Outcome]:
        """Ops of one device with numbers in a row, all new."""
        seqs = range(self.last_seq + 1, self.last_seq + 1 + len(ops))
        received_at = self._received_at
        front_desk = [op.entity_type in FRONT_DESK_TYPES for op in ops]
        self.ops += ops
        self.op_ids += [uuid_bytes(op.op_id) for op in ops]
        self.front_desk += front_desk
        self.records += [render(seq, received_at, text) for seq, text in zip(seqs, texts, strict=True)]
        device_id, first = ops[0].device_id, ops[0].device_seq
        self._numbers(device_id).add(first, first + len(ops) - 1)
        self._runs.append((device_id, first, front_desk))
        return [Outcome("stored", seq) for seq in seqs]

    def _look(self, op: Operation, text: bytes, found: Found, *, lenient: bool) -> Outcome | None:
        """What is known of an op whose number, or id, is known already; None where it is to be stored."""
        op_id = uuid_bytes(op.op_id)
        stored = found.stored.get(op_id)
        if stored is None and op_id in self.op_ids:  # further up in this very transaction
            index = self.op_ids.index(op_id)
            stored = self.first_seq + index, self.records[index]
        if stored is not None:
            if _same(op, text, stored[1]):
                return Outcome("duplicate", stored[0])
            return self._reject(op, "op_id_reused")
        if op.device_seq not in self._numbers(op.device_id):
            return None
        if lenient:  # a hub acknowledged a second op of this number: keep it, and have a person look
            self.shared.append((op.device_id, op.device_seq))
            self.reviews.append(Review(op, "device_seq_reused"))
            return None
        key = op.device_id, op.device_seq, op.op_id
        dead = found.dead.get(key) or self._buried.get(key)
        if dead is not None:
            return Outcome("dead", dead=dead)
        return self._reject(op, "device_seq_reused")

    def _reject(self, op: Operation, code: str) -> Outcome:
        letter = DeadLetter(op.device_id, op.device_seq, op.op_id, code, _REUSED[code], settles=True)
        self._bury(letter)
        return Outcome("dead", dead=letter)

    def _bury(self, letter: DeadLetter) -> None:
        """Keep it. A number that is settled already is settled by what took it first.

        Told further up, the letter of a second op would settle the number of the first one there, which then nobody
        would hand up any more.
        """
        number = letter.device_seq
        if letter.settles and number is not None:
            numbers = self._numbers(letter.device_id)
            if number in numbers:
                letter = replace(letter, settles=False)
            else:
                numbers.add(number)
                self._settling.append((letter.device_id, number))
        self.letters.append(letter)
        self._buried.setdefault((letter.device_id, letter.device_seq, letter.op_id), letter)

    def _numbers(self, device_id: str) -> Numbers:
        """What is settled of a device with this transaction."""
        numbers = self._settled.get(device_id)
        if numbers is None:
            numbers = self._settled[device_id] = self._held.settled(device_id).copy()
        return numbers

    # What it comes to.

    def blocks(self) -> list[tuple[int, bytes]]:
        """The summaries of the blocks that are full with it."""
        if self._held.last_seq % BLOCK_OPS + len(self.ops) < BLOCK_OPS:
            return []
        return self._held.full_blocks(self._runs)

    def settle_in(self) -> Committed:
        """It is durable: let what the log holds have it."""
        held = self._held
        for device_id, first, front_desk in self._runs:
            held.take_run(device_id, first, front_desk)
        for device_id, number in self._settling:
            held.settle(device_id, number)
        held.shared.update(self.shared)
        held.last_ms = self.now_ms
        return Committed(
            self.first_seq, self.op_ids, self.front_desk, self.records, held.take_changed_watermarks()
        )


def with_conflicts(conflicts: Mapping[int, Conflicting], outcomes: list[Outcome]) -> list[Outcome]:
    """The same outcomes, now that it is known which ops conflict."""
    return [
        Outcome("stored", outcome.seq, conflict=conflicts[outcome.seq])
        if outcome.kind == "stored" and outcome.seq in conflicts
        else outcome
        for outcome in outcomes
    ]


def _is_run(ops: Sequence[Operation]) -> bool:
    if not ops:
        return False
    device_id, first = ops[0].device_id, ops[0].device_seq
    return all(op.device_seq == number and op.device_id == device_id for number, op in enumerate(ops, first))


def _same(op: Operation, text: bytes, record: bytes) -> bool:
    """Whether two ops with one id are the same: nearly always the texts are, else the digests decide."""
    return text == text_of(record) or stored_op(op_json_of(record)).digest() == op.digest()
