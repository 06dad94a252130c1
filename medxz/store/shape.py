"""How an encrypted file is laid out: what has to be known to read it when the page that says so is damaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlcipher3 import dbapi2 as sqlcipher


@dataclass(frozen=True, slots=True)
class Shape:
    """The salt of its keys, in hex, and the page at which each table begins. Neither changes while a schema stands."""

    salt: str = ""
    roots: Mapping[str, int] = field(default_factory=dict)


def shape_of(connection: sqlcipher.Connection) -> Shape:
    """Of a file that is open and sound."""
    rows = connection.execute("PRAGMA cipher_salt").fetchall()
    roots = connection.execute("SELECT name, rootpage FROM sqlite_master WHERE type = 'table'").fetchall()
    return Shape(rows[0][0] if rows else "", dict(roots))
