"""What PostgreSQL and asyncpg do with the relay's own rows and nothing of ours on top.

The rows are those that the relay wrote, clinic by clinic; they go into a table of the same columns and indexes in the
same database, over as many connections as suit it best. Each transaction holds one clinic's rows, and its counter's row
is changed in it, as a log without gaps takes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

import asyncpg

from bench.limits import Ways

ROWS_A_TRANSACTION: Final = 500
CONNECTIONS: Final = (4, 8, 16)
_COLUMNS: Final = "clinic_id, seq, op_id, entity_id, size, front_desk, entity_type, body"
_ROWS: Final = f"SELECT {_COLUMNS} FROM op WHERE clinic_id = $1 AND seq > $2 ORDER BY seq"
_UNNEST: Final = f"""
    INSERT INTO raw.op ({_COLUMNS})
    SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::uuid[], $5::int[], $6::bool[], $7::text[], $8::bytea[])
"""
_COUNT: Final = "UPDATE raw.log SET commits = commits + 1, last_seq = $2 WHERE clinic_id = $1"
_MAKE: Final = """
    DROP SCHEMA IF EXISTS raw CASCADE; CREATE SCHEMA raw;
    CREATE TABLE raw.log (LIKE log INCLUDING ALL) WITH (fillfactor = 50);
    CREATE TABLE raw.op (LIKE op INCLUDING ALL);
    INSERT INTO raw.log SELECT * FROM log;
"""

Batch = tuple[str, Sequence[asyncpg.Record]]


class RawRows:
    """The relay's rows, to be inserted again. `since` is told first, and again after each measurement."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._seen: dict[str, int] = {}

    async def mark(self) -> None:
        """What is written from now on counts."""
        connection = await asyncpg.connect(self._url)
        try:
            self._seen = {
                str(row[0]): row[1] for row in await connection.fetch("SELECT clinic_id, last_seq FROM log")
            }
        finally:
            await connection.close()

    async def bytes_an_op(self) -> float:
        """What an op takes in the database, its indexes included."""
        connection = await asyncpg.connect(self._url)
        try:
            return float(
                await connection.fetchval("SELECT pg_total_relation_size('op')::float / count(*) FROM op")
            )
        finally:
            await connection.close()

    async def taken(self) -> list[Batch]:
        """The rows since the mark, in transactions of one clinic each, the clinics in turns."""
        connection = await asyncpg.connect(self._url)
        try:
            batches: list[list[Batch]] = []
            for (clinic_id,) in await connection.fetch("SELECT clinic_id FROM log ORDER BY clinic_id"):
                rows = await connection.fetch(_ROWS, clinic_id, self._seen.get(str(clinic_id), 0))
                own = [
                    (clinic_id, rows[first : first + ROWS_A_TRANSACTION])
                    for first in range(0, len(rows), ROWS_A_TRANSACTION)
                ]
                batches.append(own)
            longest = max(map(len, batches), default=0)
            return [own[turn] for turn in range(longest) for own in batches if turn < len(own)]
        finally:
            await connection.close()

    async def rows_a_second(self, batches: Sequence[Batch]) -> Ways:
        """Insert them each way; the indexes begin empty, which is no loss to the limit."""
        rates: Ways = {}
        for way in ("unnest", "copy"):
            for count in CONNECTIONS:
                rates[f"{way}, {count} connections"] = await self._timed(batches, way, count)
        return rates

    async def _timed(self, batches: Sequence[Batch], way: str, count: int) -> float:
        connections = [await asyncpg.connect(self._url) for _ in range(count)]
        try:
            await connections[0].execute(_MAKE)
            for connection in connections:  # prepared, so that no measurement has it in it
                await connection.prepare(_UNNEST)
            columns = [[list(column) for column in zip(*rows, strict=True)] for _, rows in batches]
            tuples: list[list[tuple[Any, ...]]] = [[tuple(row) for row in rows] for _, rows in batches]
            left = iter(range(len(batches)))

            async def work(connection: asyncpg.Connection) -> None:
                for number in left:
                    clinic_id, rows = batches[number]
                    async with connection.transaction():
                        await connection.execute(_COUNT, clinic_id, rows[-1]["seq"])
                        if way == "copy":
                            await connection.copy_records_to_table(
                                "op", schema_name="raw", records=tuples[number], columns=_COLUMNS.split(", ")
                            )
                        else:
                            await connection.execute(_UNNEST, *columns[number])

            begun = time.perf_counter()
            await asyncio.gather(*map(work, connections))
            return sum(len(rows) for _, rows in batches) / (time.perf_counter() - begun)
        finally:
            for connection in connections:
                await connection.close()
