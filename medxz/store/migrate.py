"""Numbered migrations of a SQLite file: run once each, in order, never backwards.

The number reached stands in `PRAGMA user_version`. A file that a newer version has written is refused, untouched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlcipher3 import dbapi2 as sqlcipher

from medxz.errors import StoreError
from medxz.store.migrations import read_migrations, refuse_newer

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


def migrate(connection: sqlcipher.Connection, folder: Traversable) -> int:
    """Bring the database up to the newest migration in the folder; each runs in a transaction of its own.

    Returns the number of migrations that ran.
    """
    migrations = read_migrations(folder)
    version = schema_version(connection)
    refuse_newer(version, len(migrations))
    return sum(
        _run(connection, number, script)
        for number, script in enumerate(migrations[version:], start=version + 1)
    )


def _run(connection: sqlcipher.Connection, number: int, script: str) -> bool:
    """False where another process has run it meanwhile."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        if schema_version(connection) >= number:
            connection.execute("ROLLBACK")
            return False
        for statement in statements(script):
            connection.execute(statement).fetchall()
        connection.execute(f"PRAGMA user_version = {number}").fetchall()
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return True


def schema_version(connection: sqlcipher.Connection) -> int:
    [(version,)] = connection.execute("PRAGMA user_version").fetchall()
    return int(version)


def statements(script: str) -> list[str]:
    """The statements of a script; `executescript` would commit the transaction around it."""
    statements, pending = [], ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlcipher.complete_statement(pending):
            statements.append(pending)
            pending = ""
    if pending.strip():
        raise StoreError(f"a migration ends in the middle of a statement: {pending.strip()[:60]!r}")
    return statements
