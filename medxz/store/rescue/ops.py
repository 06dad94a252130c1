"""The ops of a damaged log: out of every page that is sound, whether its tree still leads there or not.

A row of ops is never changed once it is written, so whichever version of a page has it has it right. Each is held
against its checksum and its own server_seq.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec

from medxz.errors import RowCorrupt
from medxz.op import Operation
from medxz.store.dictionaries import Dictionaries, shipped_dictionary
from medxz.store.record import op_json_of, stored_op
from medxz.store.rescue.pages import DamagedFile
from medxz.store.rescue.trees import TABLE_LEAF, Lost, Row, kind_of, rows_of_page, rows_of_tree

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


def find_dictionaries(file: DamagedFile, root: int | None = None) -> Dictionaries:
    """Those that the log carries and can be read, from their table's root where that leads to all of them; the first
    is also part of this program.
    """
    found, lost = {1: shipped_dictionary()}, Lost()
    rows = list(rows_of_tree(file, root, lost)) if root is not None else []
    if root is None or lost.pages or lost.rows:
        rows += (row for page_rows in _leaves(file, range(1, file.count + 1), Found()) for row in page_rows)
    for row in rows:
        match row.values:
            case [None, bytes(data)] if row.rowid and data.startswith(_DICTIONARY):
                found[row.rowid] = data
    return Dictionaries(sorted(found.items()))


def find_ops(
    file: DamagedFile, dictionaries: Dictionaries, found: Found, numbers: Iterable[int] | None = None
) -> Iterator[list[Operation]]:
    """The ops, page by page, in these pages or in all; one may come again. An empty list tells only that it goes on."""
    for page_rows in _leaves(file, range(1, file.count + 1) if numbers is None else numbers, found):
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


def _leaves(file: DamagedFile, numbers: Iterable[int], found: Found) -> Iterator[Iterator[Row]]:
    """The rows of every page that is a leaf of a table, in each of its versions; nothing for other pages."""
    for number in numbers:
        found.pages += 1
        is_sound = not any(file.raw(number))  # never written
        for page in file.versions(number):
            is_sound = True
            if kind_of(number, page) == TABLE_LEAF:
                yield rows_of_page(file, number, page, found.lost)
        found.pages_damaged += not is_sound
        yield iter(())
