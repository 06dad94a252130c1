"""Reading a log's file: on connections of its own, so that nobody who reads waits for the writer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import orjson
from sqlcipher3 import dbapi2 as sqlcipher

from medxz import limits
from medxz.errors import RowCorrupt
from medxz.have import Have, Numbers
from medxz.limits import BLOCK_OPS
from medxz.scope import Scope
from medxz.store.base import BEGINNING, LetterRow, Page, Position, PositionLost, ReviewRow, Standing
from medxz.store.cipher import Blob
from medxz.store.dictionaries import Dictionaries
from medxz.store.held import Block, misses
from medxz.store.record import MAGIC, op_id_of, op_json_of, page_of, stored_op
from medxz.store.rows import LONG_SIZES, Beside, portions

# Rows are joined into one value: handing them over one by one lets the interpreter lock go at each, and beside a
# busy thread that is a hundred times slower.
_ROWS: Final = (
    "SELECT count(*), max(seq), group_concat(seq), group_concat(length(body)),"
    " CAST(group_concat(body, ?) AS BLOB)"
    " FROM (SELECT seq, body FROM op WHERE seq > ? {} ORDER BY seq LIMIT ?)"
)
_ROWS_OF: Final = {"full": _ROWS.format(""), "front_desk": _ROWS.format("AND front_desk = 1")}
# A page in one statement: the op that its reader stands at, its rows, how long each is, how long the log is.
# Rows that are long as they lie there are left out of the joined value, which is therefore bounded.
_PAGE: Final = (
    "SELECT (SELECT body FROM op WHERE seq = ?1), (SELECT max(seq) FROM op), count(*), max(seq),"
    " group_concat(length(body)), CAST(group_concat(body, ?2) FILTER (WHERE length(body) <= ?3) AS BLOB) FROM "
)
_PAGE_OF: Final = {
    "full": _PAGE + "op WHERE seq > ?1 AND seq <= ?1 + ?4",
    "front_desk": _PAGE
    + "(SELECT seq, body FROM op WHERE seq > ?1 AND front_desk = 1 ORDER BY seq LIMIT ?4)",
}
_PLACED: Final = "SELECT op_id, seq FROM op_place WHERE op_id IN ({})"
_SHORT_BYTES: Final = 4 * limits.KIB
_JOINED_BYTES_MAX: Final = 2 * limits.MIB
_LARGE_ROWS: Final = 32  # 8 MiB at most
_FIRST_ROWS: Final = 64


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows that were read together, as records."""

    seqs: Sequence[int]
    end: Position
    records: list[bytes]


class Reader:
    """One connection; its calls run one after another in a worker."""

    def __init__(self, beside: Beside, dictionaries: Dictionaries) -> None:
        """Whoever is told of a damaged page closes this: the connection is opened anew when it is next asked."""
        self._beside = beside
        self._dictionaries = dictionaries

    def page(self, after: Position, limit: int, scope: Scope) -> Page:
        return self._short_page(after, limit, scope) or self._long_page(after, limit, scope)

    def _short_page(
        self, after: Position, limit: int, scope: Scope, longest: int = _SHORT_BYTES
    ) -> Page | None:
        """Nearly every page: its rows are there, sound, and together not more than is read at once. None for another.

        Where a row is long all are asked for once more: by then it is known that they are not too much.
        """
        [(at, top, count, last, lengths, bodies)] = self._beside.connection.execute(
            _PAGE_OF[scope], (after.seq, MAGIC, longest, limit)
        ).fetchall()
        if after != BEGINNING and (at is None or self._op_id(after.seq, at) != after.op_id):
            raise PositionLost
        sizes = orjson.loads(f"[{lengths or ''}]")
        if not count or sum(sizes) > _JOINED_BYTES_MAX:
            return None
        if max(sizes) > longest:
            return self._short_page(after, limit, scope, _JOINED_BYTES_MAX)
        page = self._dictionaries.inflate_page(after.seq + 1, last, bodies, sizes)
        if page is None or len(page[0]) > limits.PULL_PAGE_BYTES_MAX:
            return None
        ops_json, record = page
        end = Position(last, op_id_of(record))
        more = top > last and (scope == "full" or (count == limit and self._has_more(end, scope)))
        return Page(ops_json, count, end, more)

    def _long_page(self, after: Position, limit: int, scope: Scope) -> Page:
        """A page of few rows at a time: each may be as large as an op may be."""
        records: list[bytes] = []
        end, size = after, 0
        while (wanted := min(limit - len(records), _LARGE_ROWS)) > 0:
            rows = self._read(end.seq, wanted, scope)
            if rows is None:
                return Page(page_of(records), len(records), end, more=False)
            before, size = size, size + sum(map(len, rows.records))
            if size > limits.PULL_PAGE_BYTES_MAX:
                count = _fitting(rows.records, limits.PULL_PAGE_BYTES_MAX - before)
                records += rows.records[:count]
                end = self.position_of(rows.seqs[count - 1])
                break
            records += rows.records
            end = rows.end
            if len(rows.records) < wanted:
                return Page(page_of(records), len(records), end, more=False)
        return Page(page_of(records), len(records), end, self._has_more(end, scope))

    def _read(self, after: int, wanted: int, scope: Scope) -> _Rows | None:
        [(count, last, seqs, lengths, bodies)] = self._beside.connection.execute(
            _ROWS_OF[scope], (MAGIC, after, wanted)
        ).fetchall()
        if not count:
            return None
        numbers = range(after + 1, last + 1) if last - after == count else list(map(int, seqs.split(",")))
        records = self._dictionaries.inflate(numbers, bodies, list(map(int, lengths.split(","))))
        return _Rows(numbers, Position(last, op_id_of(records[-1])), records)

    def _has_more(self, end: Position, scope: Scope) -> bool:
        condition = "" if scope == "full" else "AND front_desk = 1"
        return bool(
            self._beside.connection.execute(
                f"SELECT 1 FROM op WHERE seq > ? {condition} LIMIT 1", (end.seq,)
            ).fetchall()
        )

    def position_of(self, seq: int) -> Position:
        if seq == 0:
            return BEGINNING
        [(body,)] = self._beside.connection.execute("SELECT body FROM op WHERE seq = ?", (seq,)).fetchall()
        return Position(seq, self._op_id(seq, body))

    def _op_id(self, seq: int, body: bytes) -> bytes:
        """Which op lies there. Where its record is damaged the ids are gone through: whoever stands there goes on."""
        try:
            [record] = self._dictionaries.inflate([seq], body, [len(body)])
        except RowCorrupt:
            found = self._beside.connection.execute(
                "SELECT op_id FROM op_place WHERE seq = ?", (seq,)
            ).fetchall()
            if not found:
                raise
            return bytes(found[0][0])
        return op_id_of(record)

    def locate(
        self, block: int, have: Have, shared: set[tuple[str, int]], scope: Scope, through: int
    ) -> Position:
        """The position before the first op of the scope that `have` lacks, from the start of a block to `through`."""
        after = block * BLOCK_OPS
        while after < through and (rows := self._read(after, _FIRST_ROWS, scope)) is not None:
            for seq, record in zip(rows.seqs, rows.records, strict=True):
                if seq > through:
                    return self.position_of(through)
                op = stored_op(op_json_of(record))
                if misses(have, shared, op.device_id, op.device_seq):
                    return self.position_of(seq - 1)
            after = rows.seqs[-1]
        return self.position_of(through)

    def standing(self, blocks: Sequence[bytes], scope: Scope, through: int) -> Standing:
        """How the log stood at `through`, from the summaries of the blocks before it and the ops behind those."""
        have: Have = {}
        after = len(blocks) * BLOCK_OPS
        for text in blocks:
            for device_id, numbers in Block.decode(text).of(scope).items():
                have.setdefault(device_id, Numbers()).update(numbers)
        while after < through and (rows := self._read(after, _FIRST_ROWS, scope)) is not None:
            for seq, record in zip(rows.seqs, rows.records, strict=True):
                if seq <= through:
                    op = stored_op(op_json_of(record))
                    have.setdefault(op.device_id, Numbers()).add(op.device_seq)
            after = rows.seqs[-1]
        return Standing(self.position_of(through), have)

    def check(self, after: int, through: int) -> list[int]:
        """Hold the rows after a seq, through another, against their checksums and the places of their ids.

        Those that are damaged or gone.
        """
        seqs = range(after + 1, through + 1)
        try:
            sound = self._sound(after, through)
        except sqlcipher.DatabaseError:  # a damaged page breaks the connection: which rows lie in it?
            self._beside.close()
            sound = set()
            for seq in seqs:
                try:
                    sound |= self._sound(seq - 1, seq)
                except sqlcipher.DatabaseError:
                    self._beside.close()
        return [seq for seq in seqs if seq not in sound]

    def _sound(self, after: int, through: int) -> set[int]:
        rows = self._beside.connection.execute(
            "SELECT seq, body FROM op WHERE seq > ? AND seq <= ?", (after, through)
        ).fetchall()
        own = {op_id: seq for seq, body in rows if (op_id := self._sound_id(seq, body)) is not None}
        found: list[tuple[bytes, int]] = []
        for part in portions(list(map(Blob, own)), LONG_SIZES):
            found += self._beside.connection.execute(
                _PLACED.format(",".join("?" * len(part))), part
            ).fetchall()
        return {seq for op_id, seq in found if own.get(op_id) == seq}

    def _sound_id(self, seq: int, body: bytes) -> bytes | None:
        """The id of an op whose checksum fits, and whose record is of that row."""
        try:
            [record] = self._dictionaries.inflate([seq], body, [len(body)])
        except RowCorrupt:
            return None
        return op_id_of(record) if record.startswith(b'{"server_seq":%d,' % seq) else None

    def reviews(self, after_id: int, limit: int) -> list[ReviewRow]:
        rows = self._beside.connection.execute(
            "SELECT id, op_id, device_id, user_id, entity_type, entity_id, code, received_ms"
            " FROM review WHERE id > ? ORDER BY id LIMIT ?",
            (after_id, limit),
        ).fetchall()
        return [ReviewRow(*row) for row in rows]

    def dead_letters(self, after_id: int, limit: int) -> list[LetterRow]:
        rows = self._beside.connection.execute(
            "SELECT id, device_id, device_seq, op_id, code FROM dead_letter"
            " WHERE id > ? AND settles = 1 AND device_seq IS NOT NULL ORDER BY id LIMIT ?",
            (after_id, limit),
        ).fetchall()
        return [LetterRow(*row) for row in rows]

    def close(self) -> None:
        self._beside.close()


def _fitting(records: Sequence[bytes], room: int) -> int:
    """How many of the first records it takes to fill the room: at least one."""
    count = 0
    while room > 0 and count < len(records):
        room -= len(records[count])
        count += 1
    return max(1, count)
