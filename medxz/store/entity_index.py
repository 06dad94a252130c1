"""Which ops are of which entity: the table `entity_op`, and in memory what is not in it yet.

An entity stands here by a key of 64 bits: the first 32 of its id, which in a UUIDv7 are time, so that what is written
together lies together; and a checksum of the id, so that ids which begin alike are kept apart. Two entities may share
a key, and an id may be used under two types: whoever reads the ops looks at what they say.

The table is written for thousands of ops at once, in the order of its key: row by row, each op would write a page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final
from zlib import crc32

import msgspec
from sqlcipher3 import dbapi2 as sqlcipher

from medxz import limits
from medxz.limits import BLOCK_OPS
from medxz.scope import FRONT_DESK_TYPES
from medxz.store.dictionaries import Dictionaries
from medxz.store.record import op_json_of
from medxz.store.rows import LONG_SIZES, Beside, portions, records_of

_INSERT: Final = "INSERT OR IGNORE INTO entity_op (entity, place) VALUES "
_INSERT_ROWS: Final = 250
_KNOWN: Final = (
    "WITH asked (entity) AS (VALUES {}) SELECT group_concat(entity) FROM asked"
    " WHERE EXISTS (SELECT 1 FROM entity_op WHERE entity_op.entity = asked.entity)"
)
_PLACES: Final = (
    "WITH asked (entity, after) AS (VALUES {}) SELECT group_concat(place) FROM asked"
    " JOIN entity_op ON entity_op.entity = asked.entity AND place > after"
)
_ROWS: Final = (
    "WITH asked (entity) AS (VALUES {}) SELECT group_concat(entity), group_concat(place) FROM asked"
    " JOIN entity_op USING (entity)"
)
_MAY_SHARE: Final = (
    "INSERT OR IGNORE INTO shared_key SELECT entity FROM entity_op GROUP BY entity HAVING count(*) > 1"
)
_TO_SIGNED: Final = 1 << 63

Row = tuple[int, int]
"""The key of an entity, and the place of one of its ops."""


class Whose(msgspec.Struct, frozen=True, gc=False):
    """Of which entity an op is: as much of it as an index needs."""

    entity_type: str
    entity_id: str


whose: Final = msgspec.json.Decoder(Whose).decode


def key_of(entity_id: str) -> int:
    """The key that an entity of this id stands under."""
    return (int(entity_id[:8], 16) << 32 | crc32(entity_id.encode())) - _TO_SIGNED


def place_of(seq: int, entity_type: str) -> int:
    return seq << 1 | (entity_type in FRONT_DESK_TYPES)


def last_place(seq: int) -> int:
    """The greatest place that an op through this seq can have."""
    return seq << 1 | 1


class OpenEntities:
    """The ops that are not in the table yet, by the key of their entity.

    The writer's worker adds to it; others read it meanwhile, and look only at what is durable.
    """

    __slots__ = ("_places",)

    def __init__(self) -> None:
        self._places: dict[int, tuple[int, ...]] = {}

    def add(self, key: int, place: int) -> None:
        earlier = self._places.get(key)
        self._places[key] = (place,) if earlier is None else (*earlier, place)

    def add_all(self, keys: Iterable[int], places: Iterable[int]) -> None:
        here = self._places
        for key, place in zip(keys, places, strict=True):
            earlier = here.get(key)
            here[key] = (place,) if earlier is None else (*earlier, place)

    def known(self, keys: Iterable[int]) -> set[int]:
        """Those of these keys that are here; only the writer's worker may ask."""
        return self._places.keys() & keys

    def __len__(self) -> int:
        return len(self._places)

    def places(self, key: int) -> tuple[int, ...]:
        return self._places.get(key, ())

    def rows(self, through: int) -> list[Row]:
        """What is here through a seq, in the order of the table."""
        end = last_place(through)
        every = tuple(self._places.items())
        return sorted((key, place) for key, places in every for place in places if place <= end)

    def clear(self) -> None:
        """All of it is in the table, and that is durable."""
        self._places = {}


def is_full(block: int) -> bool:
    """Whether the table is to be written with the block of this number."""
    return (block + 1) % limits.INDEX_BLOCKS == 0


def indexed_through(blocks: int) -> int:
    """Up to which seq the table of a log with so many full blocks has everything, at the least."""
    return blocks // limits.INDEX_BLOCKS * limits.INDEX_BLOCKS * BLOCK_OPS


def write_rows(connection: sqlcipher.Connection, rows: Sequence[Row]) -> None:
    """Put rows into the table; those that are there already are let be."""
    for first in range(0, len(rows), _INSERT_ROWS):
        part = rows[first : first + _INSERT_ROWS]
        values = [value for row in part for value in row]
        connection.execute(_INSERT + ",".join(["(?,?)"] * len(part)), values)


def write_open(connection: sqlcipher.Connection, opened: OpenEntities, through: int) -> None:
    """Put into the table what is only in memory, in a transaction of its own."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        write_rows(connection, opened.rows(through))
        connection.execute("COMMIT")
    except sqlcipher.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    opened.clear()


def known_in_table(connection: sqlcipher.Connection, keys: Sequence[int]) -> set[int]:
    """Those of these keys that the table has an op of: one look each, however many ops that are."""
    known: set[int] = set()
    for part in portions(keys, LONG_SIZES):
        statement = _KNOWN.format(",".join(["(?)"] * len(part)))
        [(joined,)] = connection.execute(statement, part).fetchall()
        known.update(numbers_of(joined))
    return known


def places_in_table(connection: sqlcipher.Connection, asked: Sequence[Row]) -> set[int]:
    """The places of the ops under these keys, of each those after a place."""
    places: set[int] = set()
    for part in portions(asked):
        values = [value for pair in part for value in pair]
        statement = _PLACES.format(",".join(["(?,?)"] * len(part)))
        [(joined,)] = connection.execute(statement, values).fetchall()
        places.update(numbers_of(joined))
    return places


def rows_in_table(connection: sqlcipher.Connection, keys: Sequence[int]) -> set[Row]:
    """All rows of these keys."""
    rows: set[Row] = set()
    for part in portions(keys, LONG_SIZES):
        statement = _ROWS.format(",".join(["(?)"] * len(part)))
        [(found, places)] = connection.execute(statement, part).fetchall()
        rows.update(zip(numbers_of(found), numbers_of(places), strict=True))
    return rows


def numbers_of(joined: str | int | None) -> Iterable[int]:
    """Numbers that `group_concat` has joined."""
    return map(int, str(joined).split(",")) if joined is not None else ()


def rows_of(records: Iterable[tuple[int, bytes]]) -> Iterable[Row]:
    """The rows of ops by their seqs."""
    for seq, record in records:
        op = whose(op_json_of(record))
        yield key_of(op.entity_id), place_of(seq, op.entity_type)


def index_blocks(connection: sqlcipher.Connection, beside: Beside, dictionaries: Dictionaries) -> None:
    """Take in the blocks of a log that is older than its index."""
    rows = connection.execute("SELECT number FROM block_to_index ORDER BY number").fetchall()
    numbers = [number for (number,) in rows]
    for number in numbers:
        seqs = range(number * BLOCK_OPS + 1, (number + 1) * BLOCK_OPS + 1)
        records, _ = records_of(beside, dictionaries, seqs)
        connection.execute("BEGIN IMMEDIATE")
        write_rows(connection, sorted(rows_of(records.items())))
        if number == numbers[-1]:
            connection.execute(_MAY_SHARE)
        connection.execute("DELETE FROM block_to_index WHERE number = ?", (number,))
        connection.execute("COMMIT")
