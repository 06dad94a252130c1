"""Rows of the log by their numbers, wherever they lie: read together, a few at a time.

Rows are joined into one value: handing them over one by one lets the interpreter lock go at each. A row that is
damaged is left out, and told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from sqlcipher3 import dbapi2 as sqlcipher

from medxz.errors import RowCorrupt
from medxz.store.dictionaries import Dictionaries
from medxz.store.record import MAGIC

T = TypeVar("T")

_READ: Final = (
    "SELECT group_concat(seq), group_concat(length(body)), CAST(group_concat(body, ?) AS BLOB)"
    " FROM op WHERE seq IN ({})"
)
# Statements are made for so many values, so that they stay prepared.
AT_ONCE: Final = 64  # rows: of the largest ops, 16 MiB
_SIZES: Final = (1, 4, 16, AT_ONCE)
LONG_SIZES: Final = (4, 32, 250)


def portions(values: Sequence[T], sizes: Sequence[int] = _SIZES) -> Iterator[Sequence[T]]:
    """The values, a few at a time, each portion filled up with its last value to one of a few sizes."""
    for first in range(0, len(values), sizes[-1]):
        part = values[first : first + sizes[-1]]
        size = next(size for size in sizes if size >= len(part))
        yield [*part, *[part[-1]] * (size - len(part))]


class Beside:
    """A connection that only reads: opened when it is first asked for, and anew when a damaged page has broken it."""

    def __init__(self, open_connection: Callable[[], sqlcipher.Connection]) -> None:
        self._open = open_connection
        self._connection: sqlcipher.Connection | None = None

    @property
    def connection(self) -> sqlcipher.Connection:
        if self._connection is None:
            self._connection = self._open()
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def records_of(
    beside: Beside, dictionaries: Dictionaries, seqs: Sequence[int]
) -> tuple[dict[int, bytes], list[int]]:
    """The records of these rows by their seqs, in no order, and the seqs of those that are damaged or gone."""
    records: dict[int, bytes] = {}
    for part in portions(seqs):
        try:
            records |= _records(beside.connection, dictionaries, part)
        except RowCorrupt:
            records |= _sound(beside, dictionaries, part)
        except sqlcipher.DatabaseError as error:
            if isinstance(error, sqlcipher.OperationalError):
                raise
            beside.close()
            records |= _sound(beside, dictionaries, part)
    return records, [seq for seq in seqs if seq not in records]


def _records(
    connection: sqlcipher.Connection, dictionaries: Dictionaries, seqs: Sequence[int]
) -> dict[int, bytes]:
    [(found, sizes, bodies)] = connection.execute(
        _READ.format(",".join("?" * len(seqs))), (MAGIC, *seqs)
    ).fetchall()
    if not found:
        return {}
    numbers, lengths = list(map(int, found.split(","))), list(map(int, sizes.split(",")))
    return dict(zip(numbers, dictionaries.inflate(numbers, bodies, lengths), strict=True))


def _sound(beside: Beside, dictionaries: Dictionaries, seqs: Sequence[int]) -> dict[int, bytes]:
    """One by one, so that a damaged row costs no other, and a damaged page only those that lie in it."""
    records: dict[int, bytes] = {}
    for seq in dict.fromkeys(seqs):
        try:
            records |= _records(beside.connection, dictionaries, [seq])
        except RowCorrupt:
            pass
        except sqlcipher.DatabaseError:
            beside.close()
    return records
