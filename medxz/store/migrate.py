"""Numbered migrations of a SQLite file: run once each, in order, never backwards.

The number reached stands in `PRAGMA user_version`, and in `PRAGMA application_id` the oldest one whose versions can use
the file (medxz/store/migrations.py). One that a newer version has written so that this one can't read it is refused,
untouched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlcipher3 import dbapi2 as sqlcipher

from medxz.errors import StoreError
from medxz.store.migrations import read_migrations, readable_from, refuse_newer

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


def migrate(connection: sqlcipher.Connection, folder: Traversable) -> int:
    """Bring the database up to the newest migration in the folder; each runs in a transaction of its own.

    Returns the number of migrations that ran.
    """
    migrations = read_migrations(folder)
    version = schema_version(connection)
    refuse_newer(version, len(migrations), _pragma(connection, "application_id"))
    return sum(
        _run(connection, number, script, readable_from(migrations[:number]))
        for number, script in enumerate(migrations[version:], start=version + 1)
    )


def _run(connection: sqlcipher.Connection, number: int, script: str, oldest: int) -> bool:
    """False where another process has run it meanwhile."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        if schema_version(connection) >= number:
            connection.execute("ROLLBACK")
            return False
        for statement in statements(script):
            connection.execute(statement).fetchall()
        connection.execute(f"PRAGMA user_version = {number}").fetchall()
        connection.execute(f"PRAGMA application_id = {oldest}").fetchall()
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return True


def schema_version(connection: sqlcipher.Connection) -> int:
    return _pragma(connection, "user_version")


def _pragma(connection: sqlcipher.Connection, name: str) -> int:
    [(value,)] = connection.execute(f"PRAGMA {name}").fetchall()
    return int(value)


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
