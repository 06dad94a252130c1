"""The ops of a damaged log: out of every page that is sound, whether its tree still leads there or not.

A row of ops is never changed once it is written, so whichever version of a page has it has it right. Each is held
against its checksum and its own server_seq.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec

from medxz.errors import RowCorrupt
from medxz.op import Operation
from medxz.store.dictionaries import Dictionaries, shipped_dictionary
from medxz.store.record import op_json_of, stored_op
from medxz.store.rescue.pages import DamagedFile
from medxz.store.rescue.trees import TABLE_LEAF, Lost, Row, kind_of, rows_of_page

_DICTIONARY: Final = b"\x37\xa4\x30\xec"


@dataclass(slots=True)
class Found:
    """What a look through a file came to. `through`: the greatest server_seq that a sound row has."""

    pages: int = 0
    pages_damaged: int = 0
    ops: int = 0
    rows_damaged: int = 0
    through: int = 0
    lost: Lost = field(default_factory=Lost)


def find_dictionaries(file: DamagedFile) -> Dictionaries:
    """Those that the log carries and can be read; the first is also part of this program."""
    found = {1: shipped_dictionary()}
    for _, row in _leaf_rows(file, Found()):
        match row.values:
            case [None, bytes(data)] if row.rowid and data.startswith(_DICTIONARY):
                found[row.rowid] = data
    return Dictionaries(sorted(found.items()))


def find_ops(file: DamagedFile, dictionaries: Dictionaries, found: Found) -> Iterator[list[Operation]]:
    """The ops, page by page; one may come again. An empty list tells only that it goes on."""
    for _, page_rows in _pages(file, found):
        ops: list[Operation] = []
        for row in page_rows:
            match row.values:
                case [None, (0 | 1), bytes(body)] if row.rowid is not None:
                    op = _op(row.rowid, body, dictionaries)
                    if op is None:
                        found.rows_damaged += 1
                    else:
                        ops.append(op)
                        found.through = max(found.through, row.rowid)
        found.ops += len(ops)
        yield ops


def _op(seq: int, body: bytes, dictionaries: Dictionaries) -> Operation | None:
    try:
        [record] = dictionaries.inflate([seq], body, [len(body)])
        op = stored_op(op_json_of(record))
    except (RowCorrupt, msgspec.MsgspecError):
        return None
    return op if op.server_seq == seq else None


def _leaf_rows(file: DamagedFile, found: Found) -> Iterator[tuple[int, Row]]:
    for number, rows in _pages(file, found):
        for row in rows:
            yield number, row


def _pages(file: DamagedFile, found: Found) -> Iterator[tuple[int, Iterator[Row]]]:
    """Every page that is a leaf of a table, in each of its versions."""
    for number in range(1, file.count + 1):
        found.pages += 1
        is_sound = False
        for page in file.versions(number):
            is_sound = True
            if kind_of(number, page) == TABLE_LEAF:
                yield number, rows_of_page(file, number, page, found.lost)
        if not is_sound:
            found.pages_damaged += 1
            yield number, iter(())
