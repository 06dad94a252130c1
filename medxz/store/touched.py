"""Conflicts found where ops are stored: inside the writer's transaction, op by op in the order of their arrival.

An op that is alone in its entity conflicts with nothing: of a push, only the entities that have ops already, or that
are met twice, take any work here. What is known of an entity that was touched lately is kept; of a long one a base
lies in the file, so that nothing before it is read. A row that cannot be read counts as absent: pushes go on.

What is kept is ahead of the file while a transaction is open: whoever undoes that has to `forget`.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlcipher3 import dbapi2 as sqlcipher

from medxz import limits
from medxz.errors import RowCorrupt
from medxz.ids import uuid_bytes
from medxz.merge.change import Change, change_of
from medxz.merge.entity import Entity
from medxz.merge.growing import Growing
from medxz.op import Operation
from medxz.policy import policy_of
from medxz.store.base import Conflicting
from medxz.store.cipher import Blob
from medxz.store.dictionaries import Dictionaries
from medxz.store.entity_index import OpenEntities, key_of, known_in_table, last_place, places_in_table
from medxz.store.record import op_json_of, stored_op
from medxz.store.rows import Beside, portions, records_of

_BASES: Final = "SELECT entity_id, entity_type, seq, base FROM entity_base WHERE entity_id IN ({})"
_SHARE: Final = "INSERT OR IGNORE INTO shared_key (entity) VALUES (?)"
# A push may give an entity's ops children first, so that each has all built anew. Behind so many steps the rest of
# them is taken at once, and each is told what the entity has come to: the answer goes out when all are stored.
_WALKED_OPS_MAX: Final = 20_000
_PUT_BASE: Final = (
    "INSERT INTO entity_base (entity_id, entity_type, seq, base) VALUES (?,?,?,?)"
    " ON CONFLICT (entity_id, entity_type) DO UPDATE SET seq = excluded.seq, base = excluded.base"
)


@dataclass(slots=True)
class _Known:
    """An entity as the next op needs it, and how many ops lie behind its base, or make it up."""

    growing: Growing
    ops: int
    size: int = 0
    conflict: tuple[str, tuple[str, ...]] | None = None


class Touched:
    """The entities that pushes touched lately, bounded by bytes."""

    def __init__(self, connection: sqlcipher.Connection, beside: Beside, dictionaries: Dictionaries) -> None:
        """`beside` reads ops: a damaged page would break the transaction that is open on `connection`."""
        self._connection = connection
        self._beside = beside
        self._dictionaries = dictionaries
        self._known: OrderedDict[Entity, _Known] = OrderedDict()
        self._bytes = 0
        self._fresh: dict[int, bytes] = {}  # records of ops that are likely to be followed, by seq
        self._fresh_bytes = 0
        self._based: set[bytes] = set()  # ids of which there is a base, and of some whose base was undone
        self.damaged: set[int] = set()
        self.ops_read = 0
        # the last op of a patient, or before or after which its entity had an open conflict
        self.contended_seq = 0

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
        """Whether this op may have many others read: its entity is long, and not all of it that it needs is here."""
        known = self._known.get(_entity_of(op))
        if known is not None:
            return not known.growing.takes(op.op_id, op.parents)
        if uuid_bytes(op.entity_id) in self._based:
            return True
        return len(opened.places(key_of(op.entity_id))) > limits.ENTITY_BASE_OPS

    def forget(self) -> None:
        """The transaction was undone: what was added in it is not so."""
        self._known.clear()
        self._bytes = 0

    def remember(self, first_seq: int, ops: Sequence[Operation], records: Sequence[bytes]) -> None:
        """These are durable. What may be changed is kept a while: what was just written is changed soonest."""
        fresh = self._fresh
        for seq, (op, record) in enumerate(zip(ops, records, strict=True), first_seq):
            if op.entity_type == "Patient":  # another may be found to be the same person, or no longer
                self.contended_seq = seq
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

    def conflicts(
        self, first_seq: int, ops: Sequence[Operation], keys: Sequence[int], opened: OpenEntities
    ) -> dict[int, Conflicting]:
        """By seq, those of these new ops after which their entity has an open conflict, and which.

        `keys` are those of the index. `opened` is what was stored before them and is not in the table yet.
        """
        here, touched = self._touched(keys, opened)
        if not touched:
            return {}
        own: dict[Entity, list[tuple[int, Operation]]] = {}
        for seq, (key, op) in enumerate(zip(keys, ops, strict=True), first_seq):
            if key in touched:
                own.setdefault(_entity_of(op), []).append((seq, op))
        new = self._load([entity for entity in own if entity not in self._known], here, opened)
        self._share(new, here, own)
        found = dict(self._add_all(own, opened))
        self._keep(own)
        return found

    def _touched(self, keys: Sequence[int], opened: OpenEntities) -> tuple[set[int], set[int]]:
        """The keys under which there are ops already; and with them those that are met twice."""
        each = dict.fromkeys(keys)
        here = opened.known(each.keys())
        here |= known_in_table(self._connection, [key for key in each if key not in here])
        if len(each) == len(keys):
            return here, here
        return here, here | {key for key, times in Counter(keys).items() if times > 1}

    # What is stored.

    def _load(self, entities: Sequence[Entity], here: set[int], opened: OpenEntities) -> list[Entity]:
        """Read what these entities have: one statement for the bases, few for the ops behind them.

        Those that have nothing yet.
        """
        stored = [entity for entity in entities if key_of(entity.entity_id) in here]
        bases = self._bases(stored) if stored else {}
        after = {entity: bases[entity][0] if entity in bases else 0 for entity in stored}
        changes = self._changes(after, opened)
        for entity in entities:
            own = changes.get(entity, [])
            growing = bases[entity][1] if entity in bases else Growing(entity)
            if not all(map(growing.add, own)):
                whole = self._changes({entity: 0}, opened)[entity] if entity in bases else own
                growing = Growing.of(entity, whole)
            self._known[entity] = _Known(growing, len(own), conflict=growing.conflict)
        return [entity for entity in entities if entity not in bases and not changes.get(entity)]

    def _share(self, new: Iterable[Entity], here: set[int], own: Iterable[Entity]) -> None:
        """Note the keys under which there is another entity already, or in this very push: rarely any."""
        times = Counter(key_of(entity.entity_id) for entity in own)
        keys = {key_of(entity.entity_id) for entity in new}
        shared = sorted(key for key in keys if key in here or times[key] > 1)
        if shared:
            self._connection.executemany(_SHARE, [(key,) for key in shared])

    def _bases(self, entities: Iterable[Entity]) -> dict[Entity, tuple[int, Growing]]:
        """Up to which seq a base goes, and what it holds. A damaged one is none."""
        by_key = {
            (entity_id, entity.entity_type): entity
            for entity in entities
            if (entity_id := uuid_bytes(entity.entity_id)) in self._based
        }
        found: dict[Entity, tuple[int, Growing]] = {}
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
                found[entity] = seq, Growing.from_base(entity, base)
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
            entity = _entity_of(op)
            if seq > after.get(entity, seq):  # of the same id under another type, or before the base
                changes[entity].append(change_of(op))
        return changes

    # What is new.

    def _add_all(
        self, own: Mapping[Entity, Sequence[tuple[int, Operation]]], opened: OpenEntities
    ) -> Iterator[tuple[int, Conflicting]]:
        for entity, ops in own.items():
            known = self._known[entity]
            changes = [change_of(op) for _, op in ops]
            stored: list[Change] | None = None
            taken = walked = 0
            for place, (seq, _) in enumerate(ops):
                before = known.conflict
                if place >= taken and not known.growing.add(changes[place]):
                    if stored is None:  # once for all that this push has of the entity
                        stored = self._changes({entity: 0}, opened)[entity]
                    named = (parent for change in changes[place + 1 :] for parent in change.parents)
                    walked += len(stored) + place
                    taken = place + 1 if walked <= _WALKED_OPS_MAX else len(ops)
                    known.growing = Growing.whole(entity, [*stored, *changes[:taken]], named)
                    known.ops = len(stored) + place
                known.ops += 1
                conflict = known.conflict = known.growing.conflict
                if conflict is not None or before is not None:
                    self.contended_seq = max(self.contended_seq, seq)
                if conflict is not None:
                    yield seq, Conflicting(*conflict)
            known.growing.settle()
            if known.ops >= limits.ENTITY_BASE_OPS:
                self._collapse(entity, known, ops[-1][0])

    def _collapse(self, entity: Entity, known: _Known, seq: int) -> None:
        """Where everything has come together, what was before is not needed for what follows."""
        base = known.growing.base()
        if base is None:
            return
        [frame] = self._dictionaries.newest.compress([base])
        entity_id = uuid_bytes(entity.entity_id)
        self._connection.execute(_PUT_BASE, (Blob(entity_id), entity.entity_type, seq, frame))
        known.ops = 0
        self._based.add(entity_id)

    def _keep(self, entities: Iterable[Entity]) -> None:
        """Keep these as the newest; the oldest give way."""
        for entity in entities:
            known = self._known[entity]
            self._known.move_to_end(entity)
            self._bytes += known.growing.size - known.size
            known.size = known.growing.size
        while self._bytes > limits.ENTITIES_KNOWN_BYTES_MAX and len(self._known) > 1:
            _, gone = self._known.popitem(last=False)
            self._bytes -= gone.size


def _entity_of(op: Operation) -> Entity:
    return Entity(op.clinic_id, op.entity_type, op.entity_id)
