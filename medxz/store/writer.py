"""The one writer of a log's file: what waits goes into one transaction with one fsync.

It runs in the worker's thread and is the only one who changes what the file holds. The quick way knows from memory
that a number is new and lets the table of ids object; only when it does, or when a number is known, are rows
looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from sqlcipher3 import dbapi2 as sqlcipher

from medxz.clock import Clock
from medxz.ids import uuid_bytes
from medxz.op import Operation
from medxz.store.base import Append, DeadLetter, Outcome
from medxz.store.cipher import Blob
from medxz.store.dictionaries import SAMPLES, Dictionaries, authors_of
from medxz.store.drafting import DeadKey, Draft, Found, Stored, with_conflicts
from medxz.store.entity_file import EntityFile
from medxz.store.entity_index import is_full, key_of, write_open, write_rows
from medxz.store.held import Held
from medxz.store.loading import load_held
from medxz.store.record import MAGIC
from medxz.store.rows import AT_ONCE, Beside, records_of
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
_INSERT_BLOCK: Final = "INSERT INTO block (number, held) VALUES (?,?)"
_INSERT_SHARED: Final = "INSERT OR IGNORE INTO shared_number (device_id, device_seq) VALUES (?,?)"
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
        self._draft: Draft | None = None
        self._is_indexed = False  # whether the index has everything, with the open transaction
        self._beside = beside
        self.held = held
        self.touched: Touched[int] = Touched()
        self.entities = EntityFile(connection, beside, dictionaries)
        self._held_is_true = True

    def prepare(self) -> None:
        """Read beforehand what the first push would have to wait for."""
        self.entities.prepare()
        self._dictionaries.newest.compress([b"{}"])  # which makes its tables

    def is_quick(self, batches: Sequence[Append]) -> bool:
        """Whether writing these takes no longer than writing a few rows: nothing is learned, no long entity read for it."""
        if self._dictionaries.is_to_learn(self.held.last_seq + 1):
            return False
        return not any(self._is_long(op) for batch in batches for op in batch.ops)

    def _is_long(self, op: Operation) -> bool:
        takes = self.touched.takes(op)
        return self.entities.is_long(op, self.held.open_entities) if takes is None else not takes

    def write(self, batches: Sequence[Append], *, careful: bool = False) -> list[list[Outcome]]:
        """Begin a transaction with these batches in it; the outcomes of each.

        Nothing of it is durable before `commit`. Raises Collision, and sqlcipher3's errors.
        """
        draft = self._begin()
        for batch in batches:
            self._dictionaries.meet(authors_of(batch.ops))
        try:
            suspects = draft.suspects(batches, careful=careful)
            found = self._find(suspects) if suspects else Found()
            outcomes = [draft.take(batch, found, careful=careful) for batch in batches]
            keys = [key_of(op.entity_id) for op in draft.ops]
            opened = self.held.open_entities
            conflicts = self.entities.answer(self.touched.conflicts(draft.first_seq, draft.ops, keys), opened)
            self.entities.write(conflicts)
            self._write_beside(draft)
            self._index(draft, keys)
            self._flush(draft)
        except sqlcipher.IntegrityError:
            if careful:
                raise
            raise Collision from None
        found_conflicts = conflicts.found
        return [with_conflicts(found_conflicts, each) for each in outcomes] if found_conflicts else outcomes

    def commit(self) -> Committed:
        """Make the transaction durable; what it stored."""
        draft = self._draft
        assert draft is not None, "there is something to commit"
        self._connection.execute("COMMIT")
        self._draft = None
        committed = draft.settle_in()
        self._held_is_true = True
        self.touched.remember(draft.first_seq, draft.ops)
        self.entities.remember(draft.first_seq, draft.ops, draft.records)
        if self._is_indexed:
            self.held.open_entities.clear()
        return committed

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

    def _begin(self) -> Draft:
        if not self._held_is_true:
            self._reload()
        self._held_is_true = False  # until it has gone well
        draft = self._draft = Draft(self.held, self._clock.now_ms())
        self._connection.execute("BEGIN IMMEDIATE")
        learned = self._dictionaries.learn(draft.first_seq, self._latest)
        if learned is not None:
            self._connection.execute(
                "INSERT INTO dictionary (first_seq, bytes) VALUES (?,?)", (draft.first_seq, learned)
            )
        return draft

    def _latest(self) -> Iterator[bytes]:
        """The last records of the log, but for those that are damaged; read a few at a time: they may be long."""
        end = self.held.last_seq + 1
        for first in range(max(1, end - SAMPLES), end, AT_ONCE):
            seqs = range(first, min(first + AT_ONCE, end))
            records, _ = records_of(self._beside, self._dictionaries, seqs)
            yield from (records[seq] for seq in sorted(records))

    def _index(self, draft: Draft, keys: Sequence[int]) -> None:
        """Take note of which entity each op is of; from time to time, in the file."""
        entities = self.held.open_entities
        seqs = range(draft.first_seq, draft.last_seq + 1)
        entities.add_all(keys, [seq << 1 | seen for seq, seen in zip(seqs, draft.front_desk, strict=True)])
        if self._is_indexed:
            write_rows(self._connection, entities.rows(draft.last_seq))

    def index(self) -> None:
        """Put into the index in the file what is only in memory: between two transactions."""
        if self._held_is_true and self.held.open_entities:
            write_open(self._connection, self.held.open_entities, self.held.last_seq)

    def _write_beside(self, draft: Draft) -> None:
        """What a transaction rarely has beside its ops."""
        blocks = draft.blocks()
        self._is_indexed = any(is_full(number) for number, _ in blocks)
        if blocks:
            self._connection.executemany(_INSERT_BLOCK, blocks)
        for letter in draft.letters:
            self._connection.execute(
                _INSERT_DEAD,
                (
                    letter.device_id, letter.device_seq, letter.op_id, letter.settles, letter.code, letter.field,
                    letter.message, draft.now_ms,
                ),
            )  # fmt: skip
        for numbers in draft.shared:
            self._connection.execute(_INSERT_SHARED, numbers)
        for review in draft.reviews:
            op = review.op
            self._connection.execute(
                _INSERT_REVIEW,
                (op.op_id, op.device_id, op.user_id, op.entity_type, op.entity_id, review.code, draft.now_ms),
            )

    def _flush(self, draft: Draft) -> None:
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

    def _find(self, ops: Sequence[Operation]) -> Found:
        """Of these ops, those whose ids are in the file; and of the others, those that were rejected."""
        found: Stored = {}
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
        return Found(found, self._dead([op for op in ops if uuid_bytes(op.op_id) not in found]))

    def _dead(self, ops: Sequence[Operation]) -> dict[DeadKey, DeadLetter]:
        found: dict[DeadKey, DeadLetter] = {}
        for op in ops:
            key = op.device_id, op.device_seq, op.op_id
            if op.device_seq in self.held.settled(op.device_id):
                for code, where, message in self._connection.execute(_DEAD_OF, key).fetchall():
                    found[key] = DeadLetter(*key, code, message, where)
        return found


def _portions(count: int) -> Iterator[tuple[int, int]]:
    """Where each of the statements that so many rows take begins, and how many rows it has."""
    first = 0
    for size in (_LONG, _SHORT):
        while count - first >= size:
            yield first, size
            first += size
    if first < count:
        yield first, count - first
