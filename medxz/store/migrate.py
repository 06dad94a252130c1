"""Numbered migrations: `0001_name.sql`, `0002_name.sql`, … run once each, in order, never backwards.

The number reached stands in `PRAGMA user_version`. A file that a newer version has written is refused, untouched.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlcipher3 import dbapi2 as sqlcipher

from medxz.errors import SchemaTooNew, StoreError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_NAME = re.compile(r"(\d{4})_[a-z_]+\.sql")


def migrate(connection: sqlcipher.Connection, folder: Traversable) -> int:
    """Bring the database up to the newest migration in the folder; each runs in a transaction of its own.

    Returns the number of migrations that ran.
    """
    migrations = _read(folder)
    version = schema_version(connection)
    if version > len(migrations):
        raise SchemaTooNew(
            f"the store has schema {version}, and this version of medxz knows schemas up to {len(migrations)}"
        )
    for number, script in enumerate(migrations[version:], start=version + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in statements(script):
                connection.execute(statement).fetchall()
            connection.execute(f"PRAGMA user_version = {number}").fetchall()
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
    return len(migrations) - version


def schema_version(connection: sqlcipher.Connection) -> int:
    [(version,)] = connection.execute("PRAGMA user_version").fetchall()
    return int(version)


def _read(folder: Traversable) -> list[str]:
    found = {}
    for entry in folder.iterdir():
        if match := _NAME.fullmatch(entry.name):
            found[int(match[1])] = entry.read_text(encoding="utf-8")
    if sorted(found) != list(range(1, len(found) + 1)):
        raise StoreError(
            f"the migrations in {folder} are not numbered 1, 2, 3 … without gaps: {sorted(found)}"
        )
    return [found[number] for number in sorted(found)]


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
