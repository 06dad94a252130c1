"""The limits that the figures are held against: what the disk, sqlcipher3 and aiohttp do with nothing of ours on top.

Rows come out of a hub's own file and go into a file of the same schema, opened by the store's own function: same
pragmas, same encryption. Where there are two ways of doing it,
both are measured, and the better one is the limit.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

from sqlcipher3 import dbapi2 as sqlcipher

from medxz.store.cipher import open_database

ROWS_A_TRANSACTION: Final = 500
APPEND_BYTES: Final = 4_096

_AS_ROWS: Final = "SELECT seq, body FROM op WHERE seq > ? ORDER BY seq LIMIT ?"
_JOINED: Final = f"SELECT group_concat(seq), CAST(group_concat(body, '') AS BLOB) FROM ({_AS_ROWS})"

Row = tuple[Any, ...]
Ways = dict[str, float]


class RawInsert:
    """One process inserting rows, 500 a transaction, synchronous=FULL; one file for each way of doing it."""

    def __init__(self, folder: Path, source: Path, key: bytes) -> None:
        self._source = open_database(source, key)
        schema = self._source.execute(
            "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
            " ORDER BY type = 'table' DESC"
        ).fetchall()
        self._ways: dict[str, Callable[[sqlcipher.Connection, str, Sequence[Row]], None]] = {
            "one statement of 500 rows": self._in_one_statement,
            "executemany": self._by_executemany,
        }
        self._targets = {}
        for number, way in enumerate(self._ways):
            file = folder / f"raw-{number}.db"
            for ending in ("", "-wal", "-shm"):
                file.with_name(file.name + ending).unlink(missing_ok=True)
            target = open_database(file, key, create=True)
            target.execute("PRAGMA wal_autocheckpoint = 0").fetchall()
            for (statement,) in schema:
                target.execute(statement)
            self._targets[way] = target

    def rows_after(self, seq: int) -> list[Row]:
        """What the hub has written since: of each op its row, and the id that its place stands under."""
        rows: list[Row] = self._source.execute(
            "SELECT op.*, op_id FROM op JOIN op_place USING (seq) WHERE seq > ? ORDER BY seq", (seq,)
        ).fetchall()
        return rows

    def last_seq(self) -> int:
        return int(self._source.execute("SELECT ifnull(max(seq), 0) FROM op").fetchall()[0][0])

    def rows_a_second(self, rows: Sequence[Row]) -> Ways:
        """Insert them each way into its own file."""
        rates = {}
        parts = [rows[at : at + ROWS_A_TRANSACTION] for at in range(0, len(rows), ROWS_A_TRANSACTION)]
        tables = [([row[:-1] for row in part], [(row[-1], row[0]) for row in part]) for part in parts]
        for way, insert in self._ways.items():
            target = self._targets[way]
            with _no_collector():
                begun = time.perf_counter()
                for ops, places in tables:
                    target.execute("BEGIN IMMEDIATE")
                    insert(target, "op", ops)
                    insert(target, "op_place", places)
                    target.execute("COMMIT")
                rates[way] = len(rows) / (time.perf_counter() - begun)
            target.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return rates

    def close(self) -> None:
        for connection in (self._source, *self._targets.values()):
            connection.close()

    def _by_executemany(self, target: sqlcipher.Connection, table: str, rows: Sequence[Row]) -> None:
        target.executemany(_statement(table, rows[:1]), rows)

    def _in_one_statement(self, target: sqlcipher.Connection, table: str, rows: Sequence[Row]) -> None:
        target.execute(_statement(table, rows), [value for row in rows for value in row])


class RawPages:
    """Reading pages of a hub's file: the rows of 500 ops, as they lie there."""

    def __init__(self, source: Path, key: bytes) -> None:
        self._connection = open_database(source, key)

    def seconds(self, first_seqs: Sequence[int], rows: int) -> Ways:
        """How long it takes to read the pages that begin behind these places, each way."""
        return {
            way: self._timed(first_seqs, rows, statement)
            for way, statement in (("as rows", _AS_ROWS), ("as one joined row", _JOINED))
        }

    def close(self) -> None:
        self._connection.close()

    def _timed(self, first_seqs: Sequence[int], rows: int, statement: str) -> float:
        with _no_collector():
            begun = time.perf_counter()
            for seq in first_seqs:
                self._connection.execute(statement, (seq, rows)).fetchall()
            return time.perf_counter() - begun


def fdatasync_seconds(folder: Path, count: int) -> list[float]:
    """How long each of so many appends of 4 KiB takes until it is on the disk."""
    file = folder / "append.bin"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    block = os.urandom(APPEND_BYTES)
    taken = []
    try:
        for _ in range(count):
            begun = time.perf_counter()
            os.write(descriptor, block)
            os.fdatasync(descriptor)
            taken.append(time.perf_counter() - begun)
    finally:
        os.close(descriptor)
        file.unlink()
    return taken


def best_rates(samples: Sequence[Ways]) -> list[float]:
    """Of several ways that were all measured each time, the figures of the one with the greatest median.

    Not the best of each sample: that would take luck for a way.
    """
    return _of(samples, max(samples[0], key=lambda way: median(_of(samples, way))))


def best_times(samples: Sequence[Ways]) -> list[float]:
    """The same for seconds, of which fewer are better."""
    return _of(samples, min(samples[0], key=lambda way: median(_of(samples, way))))


def _statement(table: str, rows: Sequence[Row]) -> str:
    marks = f"({','.join('?' * len(rows[0]))})"
    return f"INSERT INTO {table} VALUES {','.join([marks] * len(rows))}"


def _of(samples: Sequence[Ways], way: str) -> list[float]:
    return [sample[way] for sample in samples]


@contextmanager
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
