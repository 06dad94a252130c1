"""The tables of what is derived: made where they are missing, thrown away and made anew where they are another's.

They may lie in a file of their own or in somebody else's: all their names begin with `view_`.
"""

from __future__ import annotations

import zlib
from functools import cache
from importlib import resources
from typing import Final

from sqlcipher3 import dbapi2 as sqlcipher

from medxz.store.migrate import statements

# Raise it when what is derived from a state changes (folding, dates, what makes a duplicate): tables that an older
# version has filled are thrown away then. A change of the schema is noticed without it.
RULES: Final = 2


def prepare(connection: sqlcipher.Connection, source: str = "") -> bool:
    """Make the tables, unless they are here and hold what comes of that source; whether they were made.

    `source` says whose ops they are filled from, and must be another when those ops may be others.
    """
    if is_current(connection, source):
        return False
    make(connection, source)
    return True


def is_current(connection: sqlcipher.Connection, source: str = "") -> bool:
    """Whether the tables are here, filled by these rules from that source."""
    return bool(
        connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'view_about'").fetchall()
        and connection.execute(
            "SELECT 1 FROM view_about WHERE made_by = ? AND source = ?", (_version(), source)
        ).fetchall()
    )


def make(connection: sqlcipher.Connection, source: str = "") -> None:
    """Throw away what is there and make the tables, empty; in one transaction, or in the one that is on."""
    connection.execute("SAVEPOINT view_schema")
    try:
        _drop(connection)
        for statement in statements(_schema()):
            connection.execute(statement)
        connection.execute(
            "INSERT INTO view_about (only_row, made_by, source) VALUES (1, ?, ?)", (_version(), source)
        )
    except BaseException:
        connection.execute("ROLLBACK TO view_schema")
        connection.execute("RELEASE view_schema")
        raise
    connection.execute("RELEASE view_schema")


def _drop(connection: sqlcipher.Connection) -> None:
    """Virtual tables first: they take their shadows with them."""
    tables = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name GLOB 'view_*'"
        " ORDER BY sql LIKE 'CREATE VIRTUAL%' DESC"
    ).fetchall()
    for (name,) in tables:
        connection.execute(f"DROP TABLE IF EXISTS {name}")


@cache
def _schema() -> str:
    return (resources.files("medxz.store.views") / "sql" / "schema.sql").read_text(encoding="utf-8")


@cache
def _version() -> str:
    return f"{RULES}.{zlib.crc32(_schema().encode()):08x}"
