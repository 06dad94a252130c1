"""Reading a log's file: on connections of its own, so that nobody who reads waits for the writer."""

from __future__ import annotations

from typing import Final

from sqlcipher3 import dbapi2 as sqlcipher

from medxz import limits
from medxz.errors import RowCorrupt
from medxz.have import Have
from medxz.limits import BLOCK_OPS
from medxz.op import decode_op
from medxz.scope import Scope
from medxz.store.base import BEGINNING, Page, Position, PositionLost, ReviewRow
from medxz.store.held import misses
from medxz.store.record import Codec, open_records, render

# Rows are joined into one value: handing them over one by one lets the interpreter lock go at each, and beside a
# busy thread that is a hundred times slower.
_CHUNK_OPS: Final = 128
_CHUNK: Final = (
    "SELECT count(*), CAST(group_concat(op_id, '') AS BLOB), CAST(group_concat(body, '') AS BLOB), group_concat(seq)"
    " FROM (SELECT seq, op_id, body FROM op WHERE seq > ? {} ORDER BY seq LIMIT ?)"
)
_CHUNKS: Final = {"full": _CHUNK.format(""), "front_desk": _CHUNK.format("AND front_desk = 1")}


class Reader:
    """One connection; its calls run one after another in a worker."""

    def __init__(self, connection: sqlcipher.Connection, codecs: dict[int, Codec]) -> None:
        self._connection = connection
        self._codecs = codecs

    def page(self, after: Position, limit: int, scope: Scope) -> Page:
        self._hold(after)
        parts: list[bytes] = []
        end, count, size = after, 0, 0
        while count < limit and size < limits.PULL_PAGE_BYTES_MAX:
            wanted = min(_CHUNK_OPS, limit - count)
            [(got, op_ids, bodies, seqs)] = self._connection.execute(
                _CHUNKS[scope], (end.seq, wanted)
            ).fetchall()
            if got:
                numbers = (
                    range(end.seq + 1, end.seq + 1 + got)
                    if scope == "full"
                    else list(map(int, seqs.split(",")))
                )
                opened = open_records(self._codecs, bodies, op_ids, numbers)
                parts.append(render(opened.texts, numbers, opened.received_ms))
                end, count, size = Position(numbers[-1], op_ids[-16:]), count + got, size + len(parts[-1])
            if got < wanted:
                return Page(b",".join(parts), count, end, more=False)
        return Page(b",".join(parts), count, end, self._has_more(end, scope))

    def _hold(self, position: Position) -> None:
        if position == BEGINNING:
            return
        rows = self._connection.execute("SELECT op_id FROM op WHERE seq = ?", (position.seq,)).fetchall()
        if rows != [(position.op_id,)]:
            raise PositionLost

    def _has_more(self, end: Position, scope: Scope) -> bool:
        condition = "" if scope == "full" else "AND front_desk = 1"
        return bool(
            self._connection.execute(
                f"SELECT 1 FROM op WHERE seq > ? {condition} LIMIT 1", (end.seq,)
            ).fetchall()
        )

    def position_of(self, seq: int) -> Position:
        if seq == 0:
            return BEGINNING
        [(op_id,)] = self._connection.execute("SELECT op_id FROM op WHERE seq = ?", (seq,)).fetchall()
        return Position(seq, op_id)

    def locate(self, block: int, have: Have, shared: set[tuple[str, int]], scope: Scope) -> Position:
        """The position before the first op of the scope that `have` lacks, looking from the start of a block."""
        after = block * BLOCK_OPS
        while True:
            [(got, op_ids, bodies, seqs)] = self._connection.execute(
                _CHUNKS[scope], (after, _CHUNK_OPS)
            ).fetchall()
            if not got:
                [(last,)] = self._connection.execute("SELECT coalesce(max(seq), 0) FROM op").fetchall()
                return self.position_of(last)
            numbers = list(map(int, seqs.split(",")))
            texts = open_records(self._codecs, bodies, op_ids, numbers).texts
            for seq, text in zip(numbers, texts, strict=True):
                op = decode_op(b"{" + text)
                if misses(have, shared, op.device_id, op.device_seq):
                    return self.position_of(seq - 1)
            after = numbers[-1]

    def check(self, after: int, limit: int) -> tuple[int, list[int]]:
        """Hold rows against their checksums: how far this came, and which are damaged or gone."""
        rows = self._connection.execute(
            "SELECT seq, op_id, body FROM op WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)
        ).fetchall()
        if not rows:
            return after, []
        sound = {seq for seq, op_id, body in rows if self._opens(seq, op_id, body)}
        last = rows[-1][0]
        return last, [seq for seq in range(after + 1, last + 1) if seq not in sound]

    def _opens(self, seq: int, op_id: bytes, body: bytes) -> bool:
        try:
            open_records(self._codecs, body, op_id, [seq])
        except (RowCorrupt, KeyError):
            return False
        return True

    def reviews(self, after_id: int, limit: int) -> list[ReviewRow]:
        rows = self._connection.execute(
            "SELECT id, op_id, device_id, user_id, entity_type, entity_id, code, received_ms"
            " FROM review WHERE id > ? ORDER BY id LIMIT ?",
            (after_id, limit),
        ).fetchall()
        return [ReviewRow(*row) for row in rows]

    def close(self) -> None:
        self._connection.close()
