"""Many rows in one statement: one by one, the driver costs more than the table.

What is bound many times is an `int`, a `str` or a `Blob` (medxz/store/cipher.py): nothing that has to be adapted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlcipher3 import dbapi2 as sqlcipher

_ROWS: Final = 250


def insert(connection: sqlcipher.Connection, statement: str, rows: Sequence[Sequence[object]]) -> None:
    """Run an `INSERT … VALUES` that lacks its values for all rows, in their order."""
    for first in range(0, len(rows), _ROWS):
        part = rows[first : first + _ROWS]
        one = f"({','.join('?' * len(part[0]))})"
        connection.execute(
            f"{statement} {','.join([one] * len(part))}", [value for row in part for value in row]
        )
