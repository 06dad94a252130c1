"""Reading a log by entity: one entity's ops, all entities in the order of the index, and how many there are.

What lies in the file is read by the index; what is not indexed yet is handed in, as `OpenEntities.rows` gave it before
the reading began: so an op that moves from there into the table meanwhile is met twice rather than never. Everything
is read as it was at a seq.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final, TypeVar

from medxz import limits
from medxz.errors import RowCorrupt
from medxz.scope import Scope
from medxz.store.base import EntityBatch
from medxz.store.dictionaries import Dictionaries
from medxz.store.entity_index import (
    Row,
    Whose,
    key_of,
    last_place,
    numbers_of,
    places_in_table,
    rows_in_table,
    whose,
)  # fmt: skip
from medxz.store.record import op_json_of
from medxz.store.rows import AT_ONCE, Beside, records_of

_SHOWN: Final[dict[Scope, str]] = {"full": "", "front_desk": "AND place & 1"}
_KEYS: Final = (
    "SELECT group_concat(entity) FROM"
    " (SELECT DISTINCT entity FROM entity_op WHERE entity > ? AND place <= ? {} ORDER BY entity LIMIT ?)"
)
_ROWS: Final = (
    "SELECT group_concat(entity), group_concat(place) FROM entity_op"
    " WHERE entity > ? AND entity <= ? AND place <= ? {}"
)
_COUNT: Final = "SELECT count(*) FROM (SELECT DISTINCT entity FROM entity_op WHERE place <= ? {})"
_SHARED: Final = "SELECT group_concat(entity) FROM shared_key"
_IS_COUNTED: Final = "SELECT 1 FROM entity_op WHERE entity = ? AND place <= ? {} LIMIT 1"
# Entities that were begun together may have their ops far apart, where several devices pushed long batches: while all
# are gone through, a page of the file is kept until the last of them has been read.
_ALL_CACHE_KIB: Final = 1_024
_LEAST: Final = -(1 << 63)

T = TypeVar("T")


class EntityReader:
    """One connection; its calls run one after another in a worker."""

    def __init__(self, beside: Beside, dictionaries: Dictionaries) -> None:
        self._beside = beside
        self._dictionaries = dictionaries
        self.damaged: set[int] = set()  # met on the way, and left out

    def ops(self, entity: Whose, seqs: range, limit: int | None, also: Iterable[int]) -> list[bytes]:
        """The ops of an entity whose seqs lie in a range: at most `limit`, in order."""
        after = last_place(seqs.start - 1)
        places = places_in_table(self._beside.connection, [(key_of(entity.entity_id), after)]) | set(also)
        ops: list[bytes] = []
        for part in _parts(sorted(place >> 1 for place in places if place >> 1 in seqs), AT_ONCE):
            ops += [op for op in self.ops_at(part) if whose(op) == entity]
            if limit is not None and len(ops) >= limit:
                break
        return ops[:limit]

    def ops_of(self, entities: Sequence[Whose], through: int, also: Iterable[Row]) -> list[list[bytes]]:
        """The ops of each of these, or of the first of them, where those are PULL_PAGE_BYTES_MAX already."""
        seqs: dict[int, set[int]] = {key_of(entity.entity_id): set() for entity in entities}
        for key, place in rows_in_table(self._beside.connection, list(seqs)) | set(also):
            if place >> 1 <= through:
                seqs[key].add(place >> 1)
        found: list[list[bytes]] = []
        size = 0
        for part in _read_together([(entity, seqs[key_of(entity.entity_id)]) for entity in entities]):
            own: dict[Whose, list[bytes]] = {entity: [] for entity, _ in part}
            for op in self.ops_at(sorted({seq for _, wanted in part for seq in wanted})):
                own.get(whose(op), []).append(op)
            for entity, _ in part:
                found.append(own[entity])
                size += sum(map(len, own[entity]))
                if size >= limits.PULL_PAGE_BYTES_MAX:
                    return found
        return found

    def ops_at(self, seqs: Sequence[int]) -> list[bytes]:
        """The ops of these places, in order; without those that are damaged."""
        records, damaged = records_of(self._beside, self._dictionaries, seqs)
        self.damaged.update(damaged)
        return [op_json_of(records.pop(seq)) for seq in sorted(records)]

    def ops_after(self, seq: int, limit: int, through: int) -> list[bytes]:
        """Ops of the log in order, at most `limit`, and about PULL_PAGE_BYTES_MAX; none where there are no more."""
        ops: list[bytes] = []
        size = 0
        while seq < through and len(ops) < limit and size < limits.PULL_PAGE_BYTES_MAX:
            last = min(seq + min(limit - len(ops), AT_ONCE), through)
            found = self.ops_at(range(seq + 1, last + 1))
            ops += found
            size += sum(map(len, found))
            seq = last
        return ops

    def entities(
        self, after: bytes | None, count: int, scope: Scope, through: int, also: Sequence[Row]
    ) -> EntityBatch:
        """The next entities behind a key, each with its ops through a seq. RowCorrupt rather than an op too few."""
        start = int.from_bytes(after, "big", signed=True) if after is not None else _LEAST
        self._beside.connection.execute(f"PRAGMA cache_size = -{_ALL_CACHE_KIB}").fetchall()
        seqs = self._seqs_by_key(start, count, scope, through, also)
        entities: list[list[bytes]] = []
        end, size = None, 0
        for part in _parts(list(seqs.items()), AT_ONCE):
            if size >= limits.PULL_PAGE_BYTES_MAX:
                return EntityBatch(entities, end)
            ops = self._whole([seq for _, own in part for seq in own])
            size += sum(map(len, ops.values()))
            for _, own in part:
                entities += _by_entity([ops[seq] for seq in own])
            end = part[-1][0].to_bytes(8, "big", signed=True)
        if len(seqs) == count:
            return EntityBatch(entities, end)
        self._beside.close()  # and with it the pages that were kept
        return EntityBatch(entities, None)

    def _seqs_by_key(
        self, after: int, count: int, scope: Scope, through: int, also: Sequence[Row]
    ) -> dict[int, list[int]]:
        """The next `count` keys behind one, in order, and where the ops under them lie."""
        shown, end = _SHOWN[scope], last_place(through)
        opened = [(key, place) for key, place in _seen(also, scope) if key > after]
        [(joined,)] = self._beside.connection.execute(_KEYS.format(shown), (after, end, count)).fetchall()
        chosen = list(islice(sorted({*numbers_of(joined), *(key for key, _ in opened)}), count))
        if not chosen:
            return {}
        [(keys, places)] = self._beside.connection.execute(
            _ROWS.format(shown), (after, chosen[-1], end)
        ).fetchall()
        found: dict[int, list[int]] = {key: [] for key in chosen}
        for key, place in zip(numbers_of(keys), numbers_of(places), strict=True):
            found[key].append(place >> 1)
        for key, place in opened:
            if key in found:
                found[key].append(place >> 1)
        return {key: own if len(own) == 1 else sorted({*own}) for key, own in found.items()}

    def _whole(self, seqs: Sequence[int]) -> dict[int, bytes]:
        records, damaged = records_of(self._beside, self._dictionaries, sorted(seqs))
        if damaged:
            raise RowCorrupt(f"server_seq {damaged[0]} of the log is damaged")
        return {seq: op_json_of(record) for seq, record in records.items()}

    def count(self, scope: Scope, through: int, also: Sequence[Row]) -> int:
        """How many entities have an op of the scope through a seq: keys, and what shares one."""
        shown, end = _SHOWN[scope], last_place(through)
        connection = self._beside.connection
        [(count,)] = connection.execute(_COUNT.format(shown), (end,)).fetchall()
        opened: dict[int, set[int]] = {}
        for key, place in _seen(also, scope):
            opened.setdefault(key, set()).add(place)
        keys = sum(not connection.execute(_IS_COUNTED.format(shown), (key, end)).fetchall() for key in opened)
        [(joined,)] = connection.execute(_SHARED).fetchall()
        beside = sum(self._beside_one(key, opened.get(key, set()), scope, end) for key in numbers_of(joined))
        return int(count) + keys + beside

    def _beside_one(self, key: int, also: set[int], scope: Scope, end: int) -> int:
        """How many entities of a scope stand under a key beside the one that it counts for."""
        places = _seen(
            ((key, place) for place in places_in_table(self._beside.connection, [(key, 0)]) | also), scope
        )
        ops = self.ops_at(sorted({place >> 1 for _, place in places if place <= end}))
        return max(0, len({whose(op) for op in ops}) - 1)

    def close(self) -> None:
        self._beside.close()


def _seen(rows: Iterable[Row], scope: Scope) -> Iterable[Row]:
    return rows if scope == "full" else (row for row in rows if row[1] & 1)


def _parts(items: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    return (items[first : first + size] for first in range(0, len(items), size))


def _read_together(entities: Iterable[tuple[Whose, set[int]]]) -> Iterable[list[tuple[Whose, set[int]]]]:
    """Entities with the seqs of their ops, as many together as one statement reads: at least one."""
    part: list[tuple[Whose, set[int]]] = []
    count = 0
    for entity, seqs in entities:
        if part and count + len(seqs) > AT_ONCE:
            yield part
            part, count = [], 0
        part.append((entity, seqs))
        count += len(seqs)
    if part:
        yield part


def _by_entity(ops: list[bytes]) -> list[list[bytes]]:
    """The ops under a key as entities: nearly always one."""
    if len(ops) == 1:
        return [ops]
    entities: dict[Whose, list[bytes]] = {}
    for op in ops:
        entities.setdefault(whose(op), []).append(op)
    return list(entities.values())
