"""The device's audit: what was done here, by a chain of hashes. It is only ever added to.

An entry commits in the transaction of what it tells of, or not at all. It holds ids and codes, never a payload.
"""

from __future__ import annotations

import hashlib
from typing import Final

import orjson

from medxz.clock import format_time
from medxz.device.store.file import Connection
from medxz.errors import StoreError

FIRST: Final = bytes(32)


def append(connection: Connection, now_ms: int, action: str, **detail: object) -> None:
    rows = connection.execute("SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1").fetchall()
    number, before = rows[0] if rows else (0, FIRST)
    at, text = format_time(now_ms), orjson.dumps(detail, option=orjson.OPT_SORT_KEYS).decode()
    connection.execute(
        "INSERT INTO audit (number, at, action, detail, hash) VALUES (?, ?, ?, ?, ?)",
        (number + 1, at, action, text, _link(before, number + 1, at, action, text)),
    )


def verify(connection: Connection) -> int:
    """How many entries the chain has; StoreError where a link does not hold."""
    before, count = FIRST, 0
    for number, at, action, detail, held in connection.execute(
        "SELECT number, at, action, detail, hash FROM audit ORDER BY number"
    ):
        count += 1
        if number != count or _link(before, number, at, action, detail) != held:
            raise StoreError(f"the audit's chain is broken at entry {count}")
        before = held
    return count


def _link(before: bytes, number: int, at: str, action: str, detail: str) -> bytes:
    return hashlib.sha256(before + f"{number}\n{at}\n{action}\n{detail}".encode()).digest()
