"""Reading a log by entity: one entity's ops, all entities in the order of their ids, and how many there are.

What lies in the file is read by the index; what is not indexed yet is handed in, as `OpenEntities.rows` gave it before
the reading began: so an op that moves from there into the table meanwhile is met twice rather than never. Everything
is read as it was at a seq.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby, islice
from typing import Final, TypeVar

import msgspec
from sqlcipher3 import dbapi2 as sqlcipher

from medxz import limits
from medxz.errors import RowCorrupt
from medxz.scope import Scope
from medxz.store.base import EntityBatch
from medxz.store.dictionaries import Dictionaries
from medxz.store.entity_index import Row, seqs_in_table
from medxz.store.record import op_json_of
from medxz.store.rows import records_of

_SHOWN: Final[dict[Scope, str]] = {"full": "", "front_desk": "AND front_desk = 1"}
_IDS: Final = "SELECT DISTINCT entity FROM entity_op WHERE entity > ? AND seq <= ? {} ORDER BY entity LIMIT ?"
_JOINED_IDS: Final = "SELECT CAST(group_concat(entity, '') AS BLOB) FROM ({})"
_ROWS: Final = (
    "SELECT group_concat(seq), CAST(group_concat(entity, '') AS BLOB) FROM entity_op"
    " WHERE entity > ? AND entity <= ? AND seq <= ? {}"
)
_COUNT: Final = "SELECT count(*) FROM (SELECT DISTINCT entity FROM entity_op WHERE seq <= ? {})"
_IS_COUNTED: Final = "SELECT 1 FROM entity_op WHERE entity = ? AND seq <= ? {} LIMIT 1"


_READ_OPS: Final = 64

T = TypeVar("T")


class _Typed(msgspec.Struct, gc=False):
    entity_type: str


_TYPE: Final = msgspec.json.Decoder(_Typed)


class EntityReader:
    """What a reader knows of entities. It shares the reader's connection and worker."""

    def __init__(self, connection: sqlcipher.Connection, dictionaries: Dictionaries) -> None:
        self._connection = connection
        self._dictionaries = dictionaries
        self.damaged: set[int] = set()  # met on the way, and left out

    def ops(
        self, entity: bytes, entity_type: str, place: range, limit: int | None, also: Iterable[int]
    ) -> list[bytes]:
        """The ops of an entity whose seqs lie in a range: at most `limit`, in order."""
        seqs = seqs_in_table(self._connection, [(entity, place.start - 1)]) | set(also)
        ops: list[bytes] = []
        for part in _parts(sorted(seq for seq in seqs if seq in place), _READ_OPS):
            ops += [op for op in self.ops_at(part) if _TYPE.decode(op).entity_type == entity_type]
            if limit is not None and len(ops) >= limit:
                break
        return ops[:limit]

    def ops_at(self, seqs: Sequence[int]) -> list[bytes]:
        """The ops of these places, in order; without those that are damaged."""
        records, damaged = records_of(self._connection, self._dictionaries, seqs)
        self.damaged.update(damaged)
        return [op_json_of(records[seq]) for seq in sorted(records)]

    def ops_after(self, seq: int, limit: int, through: int) -> list[bytes]:
        """Ops of the log in order, at most `limit`, and about PULL_PAGE_BYTES_MAX; none where there are no more."""
        ops: list[bytes] = []
        size = 0
        while seq < through and len(ops) < limit and size < limits.PULL_PAGE_BYTES_MAX:
            last = min(seq + min(limit - len(ops), _READ_OPS), through)
            found = self.ops_at(range(seq + 1, last + 1))
            ops += found
            size += sum(map(len, found))
            seq = last
        return ops

    def entities(
        self, after: bytes | None, count: int, scope: Scope, through: int, also: Sequence[Row]
    ) -> EntityBatch:
        """The next entities behind an id, each with its ops through a seq. RowCorrupt rather than an op too few."""
        start = after or b""
        seqs = self._seqs_by_entity(start, count, scope, through, also)
        entities: list[list[bytes]] = []
        end, size = None, 0
        for part in _parts(list(seqs.items()), _READ_OPS):
            if size >= limits.PULL_PAGE_BYTES_MAX:
                return EntityBatch(entities, end)
            ops = self._whole([seq for _, own in part for seq in own])
            size += sum(map(len, ops.values()))
            for _, own in part:
                entities += _by_type([ops[seq] for seq in own])
            end = part[-1][0]
        return EntityBatch(entities, end if len(seqs) == count else None)

    def _seqs_by_entity(
        self, after: bytes, count: int, scope: Scope, through: int, also: Sequence[Row]
    ) -> dict[bytes, list[int]]:
        """The next `count` entities behind an id, in order, and where their ops lie."""
        opened = [(entity, seq) for entity, seq, seen in also if entity > after and (seen or scope == "full")]
        statement = _JOINED_IDS.format(_IDS.format(_SHOWN[scope]))
        [(joined,)] = self._connection.execute(statement, (after, through, count)).fetchall()
        ids = {*_cut(joined), *(entity for entity, _ in opened)}
        chosen = list(islice(sorted(ids), count))
        if not chosen:
            return {}
        [(numbers, joined)] = self._connection.execute(
            _ROWS.format(_SHOWN[scope]), (after, chosen[-1], through)
        ).fetchall()
        seqs: dict[bytes, set[int]] = {entity: set() for entity in chosen}
        for entity, number in zip(_cut(joined), (numbers or "").split(","), strict=False):
            seqs[entity].add(int(number))
        for entity, seq in opened:
            if entity in seqs:
                seqs[entity].add(seq)
        return {entity: sorted(own) for entity, own in seqs.items()}

    def _whole(self, seqs: Sequence[int]) -> dict[int, bytes]:
        records, damaged = records_of(self._connection, self._dictionaries, sorted(seqs))
        if damaged:
            raise RowCorrupt(f"server_seq {damaged[0]} of the log is damaged")
        return {seq: op_json_of(record) for seq, record in records.items()}

    def count(self, scope: Scope, through: int, also: Sequence[Row]) -> int:
        """How many entity ids have an op of the scope through a seq."""
        shown = _SHOWN[scope]
        [(count,)] = self._connection.execute(_COUNT.format(shown), (through,)).fetchall()
        opened = {entity for entity, _, seen in also if seen or scope == "full"}
        return int(count) + sum(
            not self._connection.execute(_IS_COUNTED.format(shown), (entity, through)).fetchall()
            for entity in opened
        )


def _parts(items: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    return (items[first : first + size] for first in range(0, len(items), size))


def _cut(joined: bytes | None) -> list[bytes]:
    """Entity ids that were joined."""
    return [joined[at : at + 16] for at in range(0, len(joined), 16)] if joined else []


def _by_type(ops: list[bytes]) -> list[list[bytes]]:
    """The ops of an id as entities: nearly always one."""
    if len(ops) == 1:
        return [ops]
    typed = sorted((_TYPE.decode(op).entity_type, place) for place, op in enumerate(ops))
    return [[ops[place] for _, place in group] for _, group in groupby(typed, key=lambda pair: pair[0])]
