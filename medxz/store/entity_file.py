"""What `Touched` asks, read from a log's file: by keys of the index, from memory, from bases, from rows.

Ops that were just written, and are likely to be changed soon, are kept a while.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from sqlcipher3 import dbapi2 as sqlcipher

from medxz import limits
from medxz.errors import RowCorrupt
from medxz.ids import uuid_bytes
from medxz.merge.change import Change, change_of
from medxz.merge.entity import Entity
from medxz.op import Operation
from medxz.policy import policy_of
from medxz.store.cipher import Blob
from medxz.store.dictionaries import Dictionaries
from medxz.store.entity_index import OpenEntities, key_of, known_in_table, last_place, places_in_table
from medxz.store.record import op_json_of, stored_op
from medxz.store.rows import Beside, portions, records_of
from medxz.store.touched import Asking, Base, Conflicts, Latest, Loaded, Present, Whole

_BASES: Final = "SELECT entity_id, entity_type, seq, base FROM entity_base WHERE entity_id IN ({})"
_SHARE: Final = "INSERT OR IGNORE INTO shared_key (entity) VALUES (?)"
_PUT_BASE: Final = (
    "INSERT INTO entity_base (entity_id, entity_type, seq, base) VALUES (?,?,?,?)"
    " ON CONFLICT (entity_id, entity_type) DO UPDATE SET seq = excluded.seq, base = excluded.base"
)


class EntityFile:
    """Answers by one connection; it belongs to the writer's worker."""

    def __init__(self, connection: sqlcipher.Connection, beside: Beside, dictionaries: Dictionaries) -> None:
        """`beside` reads ops: a damaged page would break the transaction that is open on `connection`."""
        self._connection = connection
        self._beside = beside
        self._dictionaries = dictionaries
        self._fresh: dict[int, bytes] = {}  # records of ops that are likely to be followed, by seq
        self._fresh_bytes = 0
        self._based: set[bytes] = set()  # ids of which there is a base, and of some whose base was undone
        self.damaged: set[int] = set()
        self.ops_read = 0

    def prepare(self) -> None:
        """Read which entities are long, and have `beside` open, before the first op asks."""
        try:
            rows = self._beside.connection.execute("SELECT entity_id FROM entity_base").fetchall()
        except sqlcipher.OperationalError:
            raise
        except sqlcipher.DatabaseError:  # a damaged page: bases are not needed, only quick
            self._beside.close()
            rows = []
        self._based = {entity_id for (entity_id,) in rows}

    def is_long(self, op: Operation, opened: OpenEntities) -> bool:
        """Whether the entity of this op may have many others to be read."""
        if uuid_bytes(op.entity_id) in self._based:
            return True
        return len(opened.places(key_of(op.entity_id))) > limits.ENTITY_BASE_OPS

    def remember(self, first_seq: int, ops: Sequence[Operation], records: Sequence[bytes]) -> None:
        """These are durable. What may be changed is kept a while: what was just written is changed soonest."""
        fresh = self._fresh
        for seq, (op, record) in enumerate(zip(ops, records, strict=True), first_seq):
            if policy_of(op.entity_type) != "append":
                fresh[seq] = record
                self._fresh_bytes += len(record)
        gone = []
        for seq, record in fresh.items():
            if self._fresh_bytes <= limits.FRESH_OPS_BYTES_MAX:
                break
            self._fresh_bytes -= len(record)
            gone.append(seq)
        for seq in gone:
            del fresh[seq]

    def answer(self, asking: Asking[int], opened: OpenEntities) -> Conflicts[int]:
        """Answer what is asked until it is known. `opened` is what is stored and is not in the table yet."""
        answer: object = None
        try:
            while True:
                match asking.send(answer):
                    case Present(keys):
                        answer = self._present(keys, opened)
                    case Latest(entities):
                        answer = self._latest(entities, opened)
                    case Whole(entity):
                        answer = self._changes({entity: 0}, opened)[entity]
        except StopIteration as end:
            conflicts: Conflicts[int] = end.value
            return conflicts

    def write(self, conflicts: Conflicts[int]) -> None:
        """Put what was found besides conflicts into the transaction."""
        if conflicts.shared:
            self._connection.executemany(_SHARE, [(key,) for key in conflicts.shared])
        for base in conflicts.bases:
            self._put(base)

    def _present(self, keys: Sequence[int], opened: OpenEntities) -> set[int]:
        here = opened.known(keys)
        return here | known_in_table(self._connection, [key for key in keys if key not in here])

    def _latest(self, entities: Sequence[Entity], opened: OpenEntities) -> dict[Entity, Loaded]:
        """One statement for the bases, few for the ops behind them."""
        bases = self._bases(entities)
        after = {entity: bases[entity][0] if entity in bases else 0 for entity in entities}
        changes = self._changes(after, opened)
        return {
            entity: Loaded(bases[entity][1] if entity in bases else None, changes[entity])
            for entity in entities
        }

    def _bases(self, entities: Iterable[Entity]) -> dict[Entity, tuple[int, bytes]]:
        """Up to which seq a base goes, and what it holds. A damaged one is none."""
        by_key = {
            (entity_id, entity.entity_type): entity
            for entity in entities
            if (entity_id := uuid_bytes(entity.entity_id)) in self._based
        }
        found: dict[Entity, tuple[int, bytes]] = {}
        for part in portions([Blob(key) for key, _ in by_key]):
            rows = self._connection.execute(_BASES.format(",".join("?" * len(part))), part).fetchall()
            for key, entity_type, seq, frame in rows:
                entity = by_key.get((key, entity_type))
                if entity is None:
                    continue
                try:
                    [base] = self._dictionaries.inflate([seq], frame, [len(frame)])
                except RowCorrupt:
                    continue
                found[entity] = seq, base
        return found

    def _changes(self, after: Mapping[Entity, int], opened: OpenEntities) -> dict[Entity, list[Change]]:
        """The changes that are stored of each entity behind a seq, in the order of the log."""
        asked = [(key_of(entity.entity_id), last_place(seq)) for entity, seq in after.items()]
        places = places_in_table(self._connection, asked)
        places.update(place for key, behind in asked for place in opened.places(key) if place > behind)
        seqs = {place >> 1 for place in places}
        records = {seq: self._fresh[seq] for seq in seqs if seq in self._fresh}
        read, damaged = records_of(self._beside, self._dictionaries, sorted(seqs - records.keys()))
        self.damaged.update(damaged)
        self.ops_read += len(read)
        records |= read
        changes: dict[Entity, list[Change]] = {entity: [] for entity in after}
        for seq in sorted(records):
            op = stored_op(op_json_of(records[seq]))
            entity = Entity(op.clinic_id, op.entity_type, op.entity_id)
            if seq > after.get(entity, seq):  # of the same id under another type, or before the base
                changes[entity].append(change_of(op))
        return changes

    def _put(self, base: Base) -> None:
        [frame] = self._dictionaries.newest.compress([base.base])
        entity_id = uuid_bytes(base.entity.entity_id)
        self._connection.execute(_PUT_BASE, (Blob(entity_id), base.entity.entity_type, base.seq, frame))
        self._based.add(entity_id)
