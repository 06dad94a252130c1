"""The one writer of a log: what waits goes into one transaction with one fsync.

It runs in the worker's thread and is the only one who changes what the log holds. The quick way knows from memory
that a number is new and lets the index on op_id object; only when it does, or when a number is known, are rows
looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from sqlcipher3 import dbapi2 as sqlcipher

from medxz.clock import Clock
from medxz.ids import uuid_bytes
from medxz.limits import BLOCK_OPS
from medxz.op import Operation, decode_op
from medxz.scope import FRONT_DESK_TYPES
from medxz.store.base import Append, DeadLetter, Outcome
from medxz.store.held import Held
from medxz.store.record import Codec, open_records, seal
from medxz.store.tail import Committed

_ROWS_PER_STATEMENT: Final = (500, 100, 20, 4, 1)
_INSERT: Final = {
    rows: "INSERT INTO op (seq, op_id, front_desk, body) VALUES " + ",".join(["(?,?,?,?)"] * rows)
    for rows in _ROWS_PER_STATEMENT
}
_FIND: Final = {
    rows: "SELECT group_concat(seq), CAST(group_concat(op_id, '') AS BLOB), CAST(group_concat(body, '') AS BLOB)"
    f" FROM op WHERE op_id IN ({','.join('?' * rows)})"
    for rows in _ROWS_PER_STATEMENT
}
_INSERT_DEAD: Final = (
    "INSERT OR IGNORE INTO dead_letter (device_id, device_seq, op_id, settles, code, field, message, received_ms)"
    " VALUES (?,?,?,?,?,?,?,?)"
)
_INSERT_REVIEW: Final = (
    "INSERT OR IGNORE INTO review (op_id, device_id, user_id, entity_type, entity_id, code, received_ms)"
    " VALUES (?,?,?,?,?,?,?)"
)
_DEAD_OF: Final = "SELECT code, field, message FROM dead_letter WHERE device_id = ? AND device_seq = ? AND op_id = ? LIMIT 1"


@dataclass(slots=True)
class _Draft:
    """What this transaction has added so far."""

    first_seq: int
    now_ms: int
    rows: list[object] = field(default_factory=list)
    written: int = 0
    op_ids: list[bytes] = field(default_factory=list)
    front_desk: list[bool] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)
    blocks: list[tuple[int, bytes]] = field(default_factory=list)


_REUSED: Final = {
    "op_id_reused": "another op has this op_id already; record it again under a new one",
    "device_seq_reused": "another op of this device has this number already; was the device cloned or restored?",
}
_Stored = dict[bytes, tuple[int, bytes]]
"""Ops that are in the file already: seq and text by op_id."""


class _Collision(Exception):  # caught by its one caller
    """The index on op_id objected: this transaction has to look before it writes."""


class Writer:
    """Turns waiting batches into rows. After any failure `held` must be read again from the file."""

    def __init__(
        self,
        connection: sqlcipher.Connection,
        held: Held,
        codecs: dict[int, Codec],
        write_with: int,
        clock: Clock,
    ) -> None:
        self._connection = connection
        self._held = held
        self._codecs = codecs
        self._codec = write_with
        self._clock = clock
        self._held_is_true = True

    def commit(self, batches: Sequence[Append]) -> tuple[list[list[Outcome]], Committed]:
        """Keep all of it in one transaction; the outcomes of each batch, and what was stored.

        Raises sqlcipher3's errors after rolling back.
        """
        if not self._held_is_true:
            self.reload()
        self._held_is_true = False  # until it has gone well
        try:
            done = self._transaction(batches, careful=False)
        except _Collision:
            self.reload()
            done = self._transaction(batches, careful=True)
        self._held_is_true = True
        return done

    def reload(self) -> None:
        """Read what the log holds from the file again."""
        self._held = load_held(self._connection, self._codecs)
        self._held_is_true = True

    @property
    def held(self) -> Held:
        return self._held

    def _transaction(
        self, batches: Sequence[Append], *, careful: bool
    ) -> tuple[list[list[Outcome]], Committed]:
        draft = _Draft(self._held.last_seq + 1, max(self._clock.now_ms(), self._held.last_ms))
        frames = self._codecs[self._codec].compress([text for batch in batches for text in batch.texts])
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            outcomes = []
            for batch in batches:
                taken = len(batch.texts)
                outcomes.append(self._append(batch, frames[:taken], draft, careful=careful))
                frames = frames[taken:]
            self._flush(draft)
            if draft.blocks:
                self._connection.executemany("INSERT INTO block (number, held) VALUES (?,?)", draft.blocks)
            self._connection.execute("COMMIT")
        except BaseException as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if isinstance(error, sqlcipher.IntegrityError) and not careful:
                raise _Collision from None
            raise
        self._held.last_ms = draft.now_ms
        return outcomes, Committed(
            draft.first_seq,
            draft.now_ms,
            draft.op_ids,
            draft.front_desk,
            draft.texts,
            self._held.take_changed_watermarks(),
        )

    def _append(
        self, batch: Append, frames: Sequence[bytes], draft: _Draft, *, careful: bool
    ) -> list[Outcome]:
        settled = self._held.settled
        suspects = [op for op in batch.ops if careful or op.device_seq in settled(op.device_id)]
        stored = self._find(suspects) if suspects else {}
        if not suspects and _is_run(batch.ops):
            outcomes = self._add_run(batch, frames, draft)
        else:
            outcomes = [
                self._append_one(op, text, frame, stored, draft, careful=careful, lenient=batch.lenient)
                for op, text, frame in zip(batch.ops, batch.texts, frames, strict=True)
            ]
        for letter in batch.dead_letters:
            self._bury(letter, draft)
        for index, code in batch.reviews:
            if outcomes[index].kind == "stored":
                self._mark(batch.ops[index], code, draft)
        return outcomes

    def _append_one(
        self,
        op: Operation,
        text: bytes,
        frame: bytes,
        stored: _Stored,
        draft: _Draft,
        *,
        careful: bool,
        lenient: bool,
    ) -> Outcome:
        if careful or op.device_seq in self._held.settled(op.device_id):
            outcome = self._look(op, text, stored, draft, lenient=lenient)
            if outcome is not None:
                return outcome
        return self._add(op, text, frame, draft)

    def _add_run(self, batch: Append, frames: Sequence[bytes], draft: _Draft) -> list[Outcome]:
        """Ops of one device with numbers in a row, all new: nearly every batch."""
        held, codec, now_ms = self._held, self._codec, draft.now_ms
        first = held.last_seq + 1
        seqs = range(first, first + len(batch.ops))
        op_ids = [uuid_bytes(op.op_id) for op in batch.ops]
        front_desk = [op.entity_type in FRONT_DESK_TYPES for op in batch.ops]
        bodies = [
            seal(codec, op_id, seq, now_ms, len(text), frame)
            for op_id, seq, text, frame in zip(op_ids, seqs, batch.texts, frames, strict=True)
        ]
        draft.rows += chain.from_iterable(zip(seqs, op_ids, front_desk, bodies, strict=True))
        draft.op_ids += op_ids
        draft.front_desk += front_desk
        draft.texts += batch.texts
        draft.blocks += held.take_run(batch.ops[0].device_id, batch.ops[0].device_seq, front_desk)
        return [Outcome("stored", seq) for seq in seqs]

    def _add(self, op: Operation, text: bytes, frame: bytes, draft: _Draft) -> Outcome:
        seq = self._held.last_seq + 1
        op_id = uuid_bytes(op.op_id)
        front_desk = op.entity_type in FRONT_DESK_TYPES
        draft.rows += (seq, op_id, front_desk, seal(self._codec, op_id, seq, draft.now_ms, len(text), frame))
        draft.op_ids.append(op_id)
        draft.front_desk.append(front_desk)
        draft.texts.append(text)
        draft.blocks += self._held.take_run(op.device_id, op.device_seq, [front_desk])
        return Outcome("stored", seq)

    def _flush(self, draft: _Draft) -> None:
        """Write the rows gathered so far, in as few statements as there are sizes for."""
        rows, at = draft.rows, 0
        left = len(rows) // 4
        for size in _ROWS_PER_STATEMENT:
            while left >= size:
                self._connection.execute(_INSERT[size], rows[at : at + 4 * size])
                at += 4 * size
                left -= size
        draft.rows = []

    def _find(self, ops: Sequence[Operation]) -> _Stored:
        """Of these ops, those whose ids are in the file: their seqs and texts."""
        found: _Stored = {}
        wanted, at = [uuid_bytes(op.op_id) for op in ops], 0
        for size in _ROWS_PER_STATEMENT:
            while len(wanted) - at >= size:
                [(seqs, op_ids, bodies)] = self._connection.execute(
                    _FIND[size], wanted[at : at + size]
                ).fetchall()
                at += size
                if seqs:
                    numbers = [int(seq) for seq in seqs.split(",")]
                    texts = open_records(self._codecs, bodies, op_ids, numbers).texts
                    for index, (seq, text) in enumerate(zip(numbers, texts, strict=True)):
                        found[op_ids[16 * index : 16 * index + 16]] = (seq, text)
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
            stored = draft.first_seq + index, draft.texts[index]
        if stored is not None:
            if _same(op, text, stored[1]):
                return Outcome("duplicate", stored[0])
            return self._reject(op, "op_id_reused", draft)
        if op.device_seq not in self._held.settled(op.device_id):
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
        self._held.shared.add((op.device_id, op.device_seq))
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
            self._held.settle(letter.device_id, letter.device_seq)

    def _mark(self, op: Operation, code: str, draft: _Draft) -> None:
        self._connection.execute(
            _INSERT_REVIEW,
            (op.op_id, op.device_id, op.user_id, op.entity_type, op.entity_id, code, draft.now_ms),
        )


def load_held(connection: sqlcipher.Connection, codecs: dict[int, Codec]) -> Held:
    """What the log holds, from its block summaries, the ops behind the last block, and the dead letters."""
    held = Held()
    for (text,) in connection.execute("SELECT held FROM block ORDER BY number").fetchall():
        held.take_block(text)
    rows = connection.execute(
        "SELECT seq, op_id, front_desk, body FROM op WHERE seq > ? ORDER BY seq",
        (len(held.blocks) * BLOCK_OPS,),
    ).fetchall()
    held.last_seq = len(held.blocks) * BLOCK_OPS
    for seq, op_id, front_desk, body in rows:
        opened = open_records(codecs, body, op_id, [seq])
        op = decode_op(b"{" + opened.texts[0])
        held.take_run(op.device_id, op.device_seq, [bool(front_desk)])
        held.last_ms = opened.received_ms[0]
    if held.last_seq and not held.last_ms:
        rows = connection.execute("SELECT op_id, body FROM op WHERE seq = ?", (held.last_seq,)).fetchall()
        held.last_ms = open_records(codecs, rows[0][1], rows[0][0], [held.last_seq]).received_ms[0]
    for device_id, number in connection.execute(
        "SELECT device_id, device_seq FROM dead_letter WHERE settles = 1"
    ).fetchall():
        held.settled(device_id).add(number)
    held.shared = set(connection.execute("SELECT device_id, device_seq FROM shared_number").fetchall())
    return held


def _is_run(ops: Sequence[Operation]) -> bool:
    """Whether these are one device's ops with numbers in a row."""
    if not ops:
        return False
    device_id, first = ops[0].device_id, ops[0].device_seq
    return all(op.device_seq == number and op.device_id == device_id for number, op in enumerate(ops, first))


def _same(op: Operation, text: bytes, stored: bytes) -> bool:
    """Whether two ops with one id are the same: nearly always the texts are, else the digests decide."""
    return text == stored or decode_op(b"{" + stored).digest() == op.digest()
