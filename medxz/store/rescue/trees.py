"""Rows out of a SQLite file's pages: of a tree from its root down, or of any page that is a leaf.

A page that is damaged costs the rows in it; what it says is never believed without its MAC, and what does not read as a
row is passed over.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from medxz.store.rescue.pages import USABLE_BYTES, DamagedFile

Value = int | float | str | bytes | None

TABLE_LEAF: Final = 0x0D
TABLE_INNER: Final = 0x05
INDEX_LEAF: Final = 0x0A
INDEX_INNER: Final = 0x02

_FILE_HEADER_BYTES: Final = 100
_LEAF_HEADER_BYTES: Final = 8
_INNER_HEADER_BYTES: Final = 12
_IN_TABLE_MAX: Final = USABLE_BYTES - 35
_IN_INDEX_MAX: Final = (USABLE_BYTES - 12) * 64 // 255 - 23
_LOCAL_MIN: Final = (USABLE_BYTES - 12) * 32 // 255 - 23
_PAYLOAD_BYTES_MAX: Final = 64 * 1024 * 1024
_INTEGER_BYTES: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_NO_ROW: Final = (struct.error, IndexError, ValueError)


@dataclass(frozen=True, slots=True)
class Row:
    """`rowid` is None in a table that has none."""

    rowid: int | None
    values: list[Value]


@dataclass(slots=True)
class Lost:
    """What could not be read on the way."""

    pages: int = 0
    rows: int = 0


def rows_of_tree(file: DamagedFile, root: int, lost: Lost) -> Iterator[Row]:
    """Every row that can be reached from there."""
    waiting, seen = [root], {root}
    while waiting:
        number = waiting.pop()
        page = file.page(number)
        if page is None:
            lost.pages += 1
            continue
        yield from rows_of_page(file, number, page, lost)
        for child in reversed(_children(number, page)):
            if child not in seen and 0 < child <= file.count:
                seen.add(child)
                waiting.append(child)


def kind_of(number: int, page: bytes) -> int:
    return page[_FILE_HEADER_BYTES if number == 1 else 0]


def rows_of_page(file: DamagedFile, number: int, page: bytes, lost: Lost) -> Iterator[Row]:
    """The rows in one page; none where it holds no rows."""
    kind = kind_of(number, page)
    if kind not in {TABLE_LEAF, INDEX_LEAF, INDEX_INNER}:
        return
    for at in _cells(number, page):
        try:
            row = _row(file, kind, page, at)
        except _NO_ROW:
            row = None
        if row is None:
            lost.rows += 1
        else:
            yield row


def _children(number: int, page: bytes) -> list[int]:
    if kind_of(number, page) not in {TABLE_INNER, INDEX_INNER}:
        return []
    start = _FILE_HEADER_BYTES if number == 1 else 0
    below = [_word(page, at) for at in _cells(number, page) if at + 4 <= len(page)]
    return [*below, _word(page, start + _LEAF_HEADER_BYTES)]


def _cells(number: int, page: bytes) -> list[int]:
    """Where each cell of a page begins."""
    start = _FILE_HEADER_BYTES if number == 1 else 0
    is_inner = kind_of(number, page) in {TABLE_INNER, INDEX_INNER}
    (count,) = struct.unpack_from(">H", page, start + 3)
    after = start + (_INNER_HEADER_BYTES if is_inner else _LEAF_HEADER_BYTES)
    if after + 2 * count > len(page):
        return []
    return list(struct.unpack_from(f">{count}H", page, after))


def _row(file: DamagedFile, kind: int, page: bytes, at: int) -> Row | None:
    if kind == INDEX_INNER:
        at += 4
    size, at = _varint(page, at)
    rowid: int | None = None
    if kind == TABLE_LEAF:
        rowid, at = _varint(page, at)
    payload = _payload(file, page, at, size, _IN_TABLE_MAX if kind == TABLE_LEAF else _IN_INDEX_MAX)
    return Row(rowid, _values(payload)) if payload is not None else None


def _payload(file: DamagedFile, page: bytes, at: int, size: int, here_max: int) -> bytes | None:
    """The bytes of a row, those that lie in further pages too."""
    if size > _PAYLOAD_BYTES_MAX:
        return None
    if size <= here_max:
        return page[at : at + size]
    fitting = _LOCAL_MIN + (size - _LOCAL_MIN) % (USABLE_BYTES - 4)
    here = fitting if fitting <= here_max else _LOCAL_MIN
    parts, left, following = [page[at : at + here]], size - here, _word(page, at + here)
    while left > 0:
        more = file.page(following) if 0 < following <= file.count else None
        if more is None:
            return None
        parts.append(more[4 : 4 + min(left, USABLE_BYTES - 4)])
        left -= len(parts[-1])
        following = _word(more, 0)
    return b"".join(parts)


def _values(payload: bytes) -> list[Value]:
    end, at = _varint(payload, 0)
    types: list[int] = []
    while at < end:
        kind, at = _varint(payload, at)
        types.append(kind)
    values: list[Value] = []
    for kind in types:
        value, at = _value(payload, at, kind)
        values.append(value)
    return values


def _value(payload: bytes, at: int, kind: int) -> tuple[Value, int]:
    if kind == 0:
        return None, at
    if kind in _INTEGER_BYTES:
        end = at + _INTEGER_BYTES[kind]
        return int.from_bytes(payload[at:end], "big", signed=True), end
    if kind == 7:
        return float(struct.unpack_from(">d", payload, at)[0]), at + 8
    if kind in {8, 9}:
        return kind - 8, at
    if kind < 12:
        raise ValueError("no type of a value")
    end = at + (kind - 12) // 2
    if end > len(payload):
        raise ValueError("a value ends behind its row")
    return (payload[at:end].decode() if kind % 2 else payload[at:end]), end


def _word(page: bytes, at: int) -> int:
    return int(struct.unpack_from(">I", page, at)[0])


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index in range(at, at + 8):
        value = value << 7 | data[index] & 0x7F
        if data[index] < 0x80:
            return value, index + 1
    value = value << 8 | data[at + 8]
    return value - (1 << 64) if value >> 63 else value, at + 9
