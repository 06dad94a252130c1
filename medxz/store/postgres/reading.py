"""Reading a clinic's log on PostgreSQL in the order of its numbers: pages, places to resume at, full checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from medxz.errors import RowCorrupt
from medxz.have import Have, Numbers
from medxz.limits import BLOCK_OPS, PULL_PAGE_BYTES_MAX
from medxz.scope import Scope
from medxz.store.base import BEGINNING, LetterRow, Page, Position, PositionLost, ReviewRow, Standing
from medxz.store.held import Block, misses
from medxz.store.postgres import statements
from medxz.store.postgres.bodies import Bodies
from medxz.store.record import op_id_of, op_json_of, page_of, stored_op

if TYPE_CHECKING:
    import asyncpg

    from medxz.store.postgres.pool import Connection

_PORTION_OPS: Final = 500
_NO_END: Final = (1 << 63) - 1


class LogRows:
    """Reads on the connections that it is given."""

    def __init__(self, clinic_id: str, bodies: Bodies) -> None:
        self._clinic_id: Final = clinic_id
        self._bodies: Final = bodies

    async def page(self, connection: Connection, after: Position, limit: int, scope: Scope) -> Page:
        rows = await connection.fetch(
            statements.PAGE[scope], self._clinic_id, after.seq, _NO_END, limit, PULL_PAGE_BYTES_MAX
        )
        here = rows[0]["here"]
        if after != BEGINNING and (here is None or here.bytes != after.op_id):
            raise PositionLost
        if rows[0]["seq"] is None:
            return Page(page_of([]), 0, after, more=False)
        records = await self._records(rows)
        last = rows[-1]
        more = len(rows) < last["there"] or (
            len(rows) == limit and bool(await self._portion(connection, last["seq"], _NO_END, scope, 1))
        )
        return Page(page_of(records), len(records), _position(last), more)

    async def ops_after(
        self, connection: Connection, seq: int, limit: int, through: int
    ) -> tuple[list[bytes], int]:
        """At most `limit` ops behind a place, without those that are damaged; how many those are."""
        rows = await self._portion(connection, seq, through, "full", limit)
        records, damaged = await self._bodies.sound(
            [row["seq"] for row in rows], [row["body"] for row in rows]
        )
        return [op_json_of(records[seq]) for seq in sorted(records)], len(damaged)

    async def locate(
        self,
        connection: Connection,
        block: int,
        have: Have,
        shared: set[tuple[str, int]],
        scope: Scope,
        through: int,
    ) -> Position:
        """The position before the first op of the scope that `have` lacks, from the start of a block to `through`."""
        after = block * BLOCK_OPS
        while after < through and (
            rows := await self._portion(connection, after, through, scope, _PORTION_OPS)
        ):
            for row, record in zip(rows, await self._records(rows), strict=True):
                op = stored_op(op_json_of(record))
                if misses(have, shared, op.device_id, op.device_seq):
                    return await self._position_at(connection, row["seq"] - 1)
            after = rows[-1]["seq"]
        return await self._position_at(connection, through)

    async def standing(
        self, connection: Connection, blocks: Sequence[bytes], scope: Scope, through: int
    ) -> Standing:
        """How the log stood at `through`, from the summaries of the blocks before it and the ops behind those."""
        have = await self._bodies.run(_joined, blocks, scope)
        after = len(blocks) * BLOCK_OPS
        while after < through and (
            rows := await self._portion(connection, after, through, scope, _PORTION_OPS)
        ):
            for record in await self._records(rows):
                op = stored_op(op_json_of(record))
                have.setdefault(op.device_id, Numbers()).add(op.device_seq)
            after = rows[-1]["seq"]
        return Standing(await self._position_at(connection, through), have)

    async def check(self, connection: Connection, after: int, through: int) -> list[int]:
        """Hold the rows after a seq, through another, against their checksums: those that are damaged or gone."""
        rows = await connection.fetch(statements.SOUND, self._clinic_id, after, through)
        op_ids = {row["seq"]: row["op_id"].bytes for row in rows}
        records, _ = await self._bodies.sound(list(op_ids), [row["body"] for row in rows])
        sound = {
            seq
            for seq, record in records.items()
            if record.startswith(b'{"server_seq":%d,' % seq) and op_id_of(record) == op_ids[seq]
        }
        return [seq for seq in range(after + 1, through + 1) if seq not in sound]

    async def reviews(self, connection: Connection, after_id: int, limit: int) -> list[ReviewRow]:
        rows = await connection.fetch(statements.REVIEWS, self._clinic_id, after_id, limit)
        return [ReviewRow(*row) for row in rows]

    async def dead_letters(self, connection: Connection, after_id: int, limit: int) -> list[LetterRow]:
        rows = await connection.fetch(statements.LETTERS, self._clinic_id, after_id, limit)
        return [LetterRow(*row) for row in rows]

    async def _portion(
        self, connection: Connection, after: int, through: int, scope: Scope, limit: int
    ) -> list[asyncpg.Record]:
        rows: list[asyncpg.Record] = await connection.fetch(
            statements.PORTION[scope], self._clinic_id, after, through, limit, PULL_PAGE_BYTES_MAX
        )
        return rows

    async def _records(self, rows: Sequence[asyncpg.Record]) -> list[bytes]:
        return await self._bodies.inflate([row["seq"] for row in rows], [row["body"] for row in rows])

    async def _position_at(self, connection: Connection, seq: int) -> Position:
        if seq == 0:
            return BEGINNING
        op_id = await connection.fetchval(statements.OP_ID_AT, self._clinic_id, seq)
        if op_id is None:
            raise RowCorrupt(f"server_seq {seq} of the log is missing")
        return Position(seq, op_id.bytes)


def _position(row: asyncpg.Record) -> Position:
    return Position(row["seq"], row["op_id"].bytes)


def _joined(blocks: Sequence[bytes], scope: Scope) -> Have:
    have: Have = {}
    for text in blocks:
        for device_id, numbers in Block.decode(text).of(scope).items():
            have.setdefault(device_id, Numbers()).update(numbers)
    return have
