"""The one writer of a log: what waits goes into one transaction with one fsync.

It runs in the worker's thread and is the only one who changes what the log holds. The quick way knows from memory
that a number is new and lets the table of ids object; only when it does, or when a number is known, are rows
looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlcipher3 import dbapi2 as sqlcipher

from medxz.clock import Clock, format_time
from medxz.ids import uuid_bytes
from medxz.op import Operation
from medxz.scope import FRONT_DESK_TYPES
from medxz.store.base import Append, Conflicting, DeadLetter, Outcome
from medxz.store.cipher import Blob
from medxz.store.dictionaries import Dictionaries, authors_of
from medxz.store.entity_index import is_full, key_of, write_open, write_rows
from medxz.store.held import Held
from medxz.store.loading import load_held
from medxz.store.record import MAGIC, op_json_of, render, stored_op, text_of
from medxz.store.rows import Beside
from medxz.store.tail import Committed
from medxz.store.touched import Touched

# Each statement hands the interpreter lock over and back: few long ones, of few sizes, so that they stay prepared.
_LONG: Final = 125
_SHORT: Final = 25
_INSERT: Final = "INSERT INTO op (seq, front_desk, body) VALUES "
_PLACE: Final = "INSERT INTO op_place (op_id, seq) VALUES "
_FIND: Final = (
    "SELECT group_concat(seq), CAST(group_concat(op_id, '') AS BLOB), group_concat(length(body)),"
    " CAST(group_concat(body, ?) AS BLOB) FROM op_place JOIN op USING (seq) WHERE op_id IN "
)
_INSERT_DEAD: Final = (
    "INSERT OR IGNORE INTO dead_letter (device_id, device_seq, op_id, settles, code, field, message, received_ms)"
    " VALUES (?,?,?,?,?,?,?,?)"
)
_INSERT_REVIEW: Final = (
    "INSERT OR IGNORE INTO review (op_id, device_id, user_id, entity_type, entity_id, code, received_ms)"
    " VALUES (?,?,?,?,?,?,?)"
)
_DEAD_OF: Final = (
    "SELECT code, field, message FROM dead_letter"
    " WHERE device_id = ? AND ifnull(device_seq, 0) = ? AND ifnull(op_id, '') = ? LIMIT 1"
)


@dataclass(slots=True)
class _Draft:
    """What the open transaction adds."""

    first_seq: int
    now_ms: int
    received_at: bytes
    ops: list[Operation] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)  # of the entities
    op_ids: list[bytes] = field(default_factory=list)
    front_desk: list[bool] = field(default_factory=list)
    records: list[bytes] = field(default_factory=list)
    is_indexed: bool = False  # the index has everything, with this transaction


_REUSED: Final = {
    "op_id_reused": "another op has this op_id already; record it again under a new one",
    "device_seq_reused": "another op of this device has this number already; was the device cloned or restored?",
}
_Stored = dict[bytes, tuple[int, bytes]]
"""Ops that are in the file already: seq and record by op_id."""


class Collision(Exception):  # not an error: the log begins again, carefully
    """An op_id is there already: this transaction has to look before it writes. It is undone."""


class Writer:
    """Turns batches into rows: `write` what one transaction takes, then `commit`. After a failure, `abandon`."""

    def __init__(
        self,
        connection: sqlcipher.Connection,
        beside: Beside,
        held: Held,
        dictionaries: Dictionaries,
        clock: Clock,
    ) -> None:
        """`connection` writes; what is read beside its transaction is read by `beside`."""
        self._connection = connection
        self._dictionaries = dictionaries
        self._clock = clock
        self._draft: _Draft | None = None
        self._beside = beside
        self.held = held
        self.touched = Touched(connection, beside, dictionaries)
        self._held_is_true = True

    def prepare(self) -> None:
        """Read beforehand what the first push would have to wait for."""
        self.touched.prepare()
        self._dictionaries.newest.compress([b"{}"])  # which makes its tables

    def is_quick(self, batches: Sequence[Append]) -> bool:
        """Whether writing these takes no longer than writing a few rows: no long entity has to be read for it."""
        opened = self.held.open_entities
        return not any(self.touched.is_long(op, opened) for batch in batches for op in batch.ops)

    def write(self, batches: Sequence[Append], *, careful: bool = False) -> list[list[Outcome]]:
        """Begin a transaction with these batches in it; the outcomes of each.

        Nothing of it is durable before `commit`. Raises Collision, and sqlcipher3's errors.
        """
        draft = self._begin()
        for batch in batches:
            self._dictionaries.meet(authors_of(batch.ops))
        try:
            outcomes = [self._append(batch, draft, careful=careful) for batch in batches]
            conflicts = self.touched.conflicts(
                draft.first_seq, draft.ops, draft.keys, self.held.open_entities
            )
            self._index(draft)
            self._flush(draft)
        except sqlcipher.IntegrityError:
            if careful:
                raise
            raise Collision from None
        return [_with(conflicts, each) for each in outcomes] if conflicts else outcomes

    def commit(self) -> Committed:
        """Make the transaction durable; what it stored."""
        draft = self._draft
        assert draft is not None, "there is something to commit"
        self._connection.execute("COMMIT")
        self._draft = None
        self._held_is_true = True
        self.held.last_ms = draft.now_ms
        self.touched.remember(draft.first_seq, draft.ops, draft.records)
        if draft.is_indexed:
            self.held.open_entities.clear()
        return Committed(
            draft.first_seq,
            draft.op_ids,
            draft.front_desk,
            draft.records,
            self.held.take_changed_watermarks(),
        )

    def abandon(self) -> None:
        """Undo the transaction, if one is open, and read again what the log holds."""
        self._draft = None
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        self._reload()

    def _reload(self) -> None:
        self.touched.forget()
        self._dictionaries.reload(self._connection)
        self.held = load_held(self._connection, self._beside, self._dictionaries)
        self._held_is_true = True

    def _begin(self) -> _Draft:
        if not self._held_is_true:
            self._reload()
        self._held_is_true = False  # until it has gone well
        now_ms = max(self._clock.now_ms(), self.held.last_ms)
        draft = self._draft = _Draft(self.held.last_seq + 1, now_ms, format_time(now_ms).encode())
        self._connection.execute("BEGIN IMMEDIATE")
        learned = self._dictionaries.learn(draft.first_seq)
        if learned is not None:
            self._connection.execute(
                "INSERT INTO dictionary (first_seq, bytes) VALUES (?,?)", (draft.first_seq, learned)
            )
        return draft

    def _append(self, batch: Append, draft: _Draft, *, careful: bool) -> list[Outcome]:
        settled = self.held.settled
        if not careful and not batch.refused and self._is_new_run(batch.ops):
            outcomes = self._add_run(batch, draft)
        else:
            suspects = [op for op in batch.ops if careful or op.device_seq in settled(op.device_id)]
            stored = self._find(suspects) if suspects else {}
            outcomes = [
                self._append_one(
                    op,
                    text,
                    stored,
                    draft,
                    careful=careful,
                    lenient=batch.lenient,
                    refused=batch.refused.get(at),
                )
                for at, (op, text) in enumerate(zip(batch.ops, batch.texts, strict=True))
            ]
        for letter in batch.dead_letters:
            self._bury(letter, draft)
        for index, code in batch.reviews:
            if outcomes[index].kind == "stored":
                self._mark(batch.ops[index], code, draft)
        return outcomes

    def _is_new_run(self, ops: Sequence[Operation]) -> bool:
        """Whether these are one device's ops with numbers in a row, behind all that it has: nearly every batch."""
        if not ops:
            return False
        device_id, first = ops[0].device_id, ops[0].device_seq
        return first > self.held.settled(device_id).highest() and all(
            op.device_seq == number and op.device_id == device_id for number, op in enumerate(ops, first)
        )

    def _append_one(
        self,
        op: Operation,
        text: bytes,
        stored: _Stored,
        draft: _Draft,
        *,
        careful: bool,
        lenient: bool,
        refused: DeadLetter | None,
    ) -> Outcome:
        if careful or op.device_seq in self.held.settled(op.device_id):
            outcome = self._look(op, text, stored, draft, lenient=lenient)
            if outcome is not None:
                return outcome
        if refused is not None:
            self._bury(refused, draft)
            return Outcome("dead", dead=refused)
        return self._add_run(Append([op], [text]), draft)[0]

    def _add_run(self, batch: Append, draft: _Draft) -> list[Outcome]:
        """Ops of one device with numbers in a row, all new."""
        first, received_at = self.held.last_seq + 1, draft.received_at
        seqs = range(first, first + len(batch.ops))
        front_desk = [op.entity_type in FRONT_DESK_TYPES for op in batch.ops]
        draft.ops += batch.ops
        draft.keys += [key_of(op.entity_id) for op in batch.ops]
        draft.op_ids += [uuid_bytes(op.op_id) for op in batch.ops]
        draft.front_desk += front_desk
        draft.records += [render(seq, received_at, text) for seq, text in zip(seqs, batch.texts, strict=True)]
        full = self.held.take_run(batch.ops[0].device_id, batch.ops[0].device_seq, front_desk)
        if full:
            self._connection.executemany("INSERT INTO block (number, held) VALUES (?,?)", full)
            draft.is_indexed |= any(is_full(number) for number, _ in full)
        return [Outcome("stored", seq) for seq in seqs]

    def _index(self, draft: _Draft) -> None:
        """Take note of which entity each op is of; from time to time, in the file."""
        entities = self.held.open_entities
        seqs = range(draft.first_seq, draft.first_seq + len(draft.keys))
        entities.add_all(
            draft.keys, [seq << 1 | seen for seq, seen in zip(seqs, draft.front_desk, strict=True)]
        )
        if draft.is_indexed:
            write_rows(self._connection, entities.rows(self.held.last_seq))

    def index(self) -> None:
        """Put into the index in the file what is only in memory: between two transactions."""
        if self._held_is_true and self.held.open_entities:
            write_open(self._connection, self.held.open_entities, self.held.last_seq)

    def _flush(self, draft: _Draft) -> None:
        """Write the records, in as few statements as there are sizes for."""
        frames = self._dictionaries.newest.compress(draft.records)
        seqs = range(draft.first_seq, draft.first_seq + len(frames))
        rows: list[object] = [None] * (3 * len(frames))
        rows[::3], rows[1::3], rows[2::3] = seqs, map(int, draft.front_desk), frames
        places: list[object] = [None] * (2 * len(frames))
        places[::2], places[1::2] = map(Blob, draft.op_ids), seqs
        for first, size in _portions(len(frames)):
            self._connection.execute(
                _INSERT + ",".join(["(?,?,?)"] * size), rows[3 * first : 3 * (first + size)]
            )
            self._connection.execute(
                _PLACE + ",".join(["(?,?)"] * size), places[2 * first : 2 * (first + size)]
            )

    def _find(self, ops: Sequence[Operation]) -> _Stored:
        """Of these ops, those whose ids are in the file: their seqs and texts."""
        found: _Stored = {}
        wanted = [Blob(uuid_bytes(op.op_id)) for op in ops]
        for first, size in _portions(len(wanted)):
            [(seqs, op_ids, lengths, bodies)] = self._connection.execute(
                f"{_FIND}({','.join('?' * size)})", (MAGIC, *wanted[first : first + size])
            ).fetchall()
            if seqs:
                numbers = list(map(int, seqs.split(",")))
                records = self._dictionaries.inflate(numbers, bodies, list(map(int, lengths.split(","))))
                for index, (seq, record) in enumerate(zip(numbers, records, strict=True)):
                    found[op_ids[16 * index : 16 * index + 16]] = (seq, record)
        return found

    def _look(
        self,
        op: Operation,
        text: bytes,
        found: _Stored,
        draft: _Draft,
        *,
        lenient: bool,
    ) -> Outcome | None:
        """What is known of an op whose number, or id, is known already; None where it is to be stored."""
        op_id = uuid_bytes(op.op_id)
        stored = found.get(op_id)
        if stored is None and op_id in draft.op_ids:  # further up in this very transaction
            index = draft.op_ids.index(op_id)
            stored = draft.first_seq + index, draft.records[index]
        if stored is not None:
            if _same(op, text, stored[1]):
                return Outcome("duplicate", stored[0])
            return self._reject(op, "op_id_reused", draft)
        if op.device_seq not in self.held.settled(op.device_id):
            return None
        if lenient:
            self._share(op, draft)
            return None
        dead = self._connection.execute(_DEAD_OF, (op.device_id, op.device_seq, op.op_id)).fetchall()
        if dead:
            [(code, where, message)] = dead
            return Outcome(
                "dead", dead=DeadLetter(op.device_id, op.device_seq, op.op_id, code, message, where)
            )
        return self._reject(op, "device_seq_reused", draft)

    def _reject(self, op: Operation, code: str, draft: _Draft) -> Outcome:
        letter = DeadLetter(op.device_id, op.device_seq, op.op_id, code, _REUSED[code], settles=True)
        self._bury(letter, draft)
        return Outcome("dead", dead=letter)

    def _share(self, op: Operation, draft: _Draft) -> None:
        """A hub acknowledged a second op of this number: keep it, and have a person look."""
        self.held.shared.add((op.device_id, op.device_seq))
        self._connection.execute(
            "INSERT OR IGNORE INTO shared_number (device_id, device_seq) VALUES (?,?)",
            (op.device_id, op.device_seq),
        )
        self._mark(op, "device_seq_reused", draft)

    def _bury(self, letter: DeadLetter, draft: _Draft) -> None:
        self._connection.execute(
            _INSERT_DEAD,
            (
                letter.device_id, letter.device_seq, letter.op_id, letter.settles, letter.code, letter.field,
                letter.message, draft.now_ms,
            ),
        )  # fmt: skip
        if letter.settles and letter.device_seq is not None:
            self.held.settle(letter.device_id, letter.device_seq)

    def _mark(self, op: Operation, code: str, draft: _Draft) -> None:
        self._connection.execute(
            _INSERT_REVIEW,
            (op.op_id, op.device_id, op.user_id, op.entity_type, op.entity_id, code, draft.now_ms),
        )


def _portions(count: int) -> Iterator[tuple[int, int]]:
    """Where each of the statements that so many rows take begins, and how many rows it has."""
    first = 0
    for size in (_LONG, _SHORT):
        while count - first >= size:
            yield first, size
            first += size
    if first < count:
        yield first, count - first


def _with(conflicts: Mapping[int, Conflicting], outcomes: list[Outcome]) -> list[Outcome]:
    """The same outcomes, now that it is known which ops conflict."""
    return [
        Outcome("stored", outcome.seq, conflict=conflicts[outcome.seq])
        if outcome.kind == "stored" and outcome.seq in conflicts
        else outcome
        for outcome in outcomes
    ]


def _same(op: Operation, text: bytes, record: bytes) -> bool:
    """Whether two ops with one id are the same: nearly always the texts are, else the digests decide."""
    return text == text_of(record) or stored_op(op_json_of(record)).digest() == op.digest()
