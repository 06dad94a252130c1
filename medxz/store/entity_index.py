"""Which ops are of which entity: the table `entity_op`, and in memory what is not in it yet.

An entity stands here by the 16 bytes of its id; that one id may be used under two types, whoever reads the ops sees.
The table is written for many ops at once, in the order of its key: a row at a time would write a page for each op.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from sqlcipher3 import dbapi2 as sqlcipher

from medxz.ids import uuid_bytes
from medxz.limits import BLOCK_OPS
from medxz.op import Operation
from medxz.rules import decode_op
from medxz.scope import FRONT_DESK_TYPES
from medxz.store.cipher import Blob
from medxz.store.dictionaries import Dictionaries
from medxz.store.record import op_json_of
from medxz.store.rows import portions, records_of

_INSERT: Final = "INSERT OR IGNORE INTO entity_op (entity, seq, front_desk) VALUES "
_INSERT_ROWS: Final = 125
_KNOWN: Final = (
    "WITH asked (entity) AS (VALUES {}) SELECT CAST(group_concat(entity, '') AS BLOB) FROM asked"
    " WHERE EXISTS (SELECT 1 FROM entity_op WHERE entity_op.entity = asked.entity)"
)
_SEQS: Final = (
    "WITH asked (entity, after) AS (VALUES {}) SELECT group_concat(seq) FROM asked"
    " JOIN entity_op ON entity_op.entity = asked.entity AND seq > after"
)

Row = tuple[bytes, int, bool]


class OpenEntities:
    """The ops that are not in the table yet, by entity.

    The writer's worker adds to it; others read it meanwhile, and look only at what is durable.
    """

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        self._rows: dict[bytes, list[tuple[int, bool]]] = {}

    def add(self, seq: int, op: Operation) -> None:
        row = seq, op.entity_type in FRONT_DESK_TYPES
        self._rows.setdefault(uuid_bytes(op.entity_id), []).append(row)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, entity: bytes) -> bool:
        return entity in self._rows

    def seqs(self, entity: bytes) -> list[int]:
        return [seq for seq, _ in self._rows.get(entity, ())]

    def rows(self, through: int) -> list[Row]:
        """What is here through a seq, by entity and seq."""
        return sorted(
            (entity, seq, front_desk)
            for entity, rows in tuple(self._rows.items())
            for seq, front_desk in tuple(rows)
            if seq <= through
        )

    def clear(self) -> None:
        """All of it is in the table, and that is durable."""
        self._rows = {}


def write_rows(connection: sqlcipher.Connection, rows: Sequence[Row]) -> None:
    """Put rows into the table; those that are there already are let be."""
    for first in range(0, len(rows), _INSERT_ROWS):
        part = rows[first : first + _INSERT_ROWS]
        values = [value for entity, seq, front_desk in part for value in (Blob(entity), seq, int(front_desk))]
        connection.execute(_INSERT + ",".join(["(?,?,?)"] * len(part)), values)


def known_in_table(connection: sqlcipher.Connection, entities: Sequence[bytes]) -> set[bytes]:
    """Those of these entities that the table has an op of: one look each, however long they are."""
    known: set[bytes] = set()
    for part in portions(entities):
        values = list(map(Blob, part))
        [(joined,)] = connection.execute(_KNOWN.format(",".join(["(?)"] * len(part))), values).fetchall()
        joined = joined or b""
        known |= {joined[at : at + 16] for at in range(0, len(joined), 16)}
    return known


def seqs_in_table(connection: sqlcipher.Connection, asked: Sequence[tuple[bytes, int]]) -> set[int]:
    """The seqs of ops of these entities, of each those after a seq."""
    seqs: set[int] = set()
    for part in portions(asked):
        values = [value for entity, after in part for value in (Blob(entity), after)]
        [(joined,)] = connection.execute(_SEQS.format(",".join(["(?,?)"] * len(part))), values).fetchall()
        if joined:
            seqs.update(map(int, str(joined).split(",")))
    return seqs


def index_blocks(connection: sqlcipher.Connection, dictionaries: Dictionaries) -> None:
    """Take in the blocks of a log that is older than its index."""
    for (number,) in connection.execute("SELECT number FROM block_to_index ORDER BY number").fetchall():
        seqs = range(number * BLOCK_OPS + 1, (number + 1) * BLOCK_OPS + 1)
        records, _ = records_of(connection, dictionaries, seqs)
        connection.execute("BEGIN IMMEDIATE")
        write_rows(connection, sorted(_rows_of(records.items())))
        connection.execute("DELETE FROM block_to_index WHERE number = ?", (number,))
        connection.execute("COMMIT")


def _rows_of(records: Iterable[tuple[int, bytes]]) -> Iterable[Row]:
    for seq, record in records:
        op = decode_op(op_json_of(record))
        yield uuid_bytes(op.entity_id), seq, op.entity_type in FRONT_DESK_TYPES
