"""Numbered migrations as files: `0001_name.sql`, `0002_name.sql`, … in one folder, run once each, in order.

Whatever database they are for: how they are run, and where the number that was reached stands, is its runner's.

A hub that was updated may have to go back to the version before, on the database that the newer one has had. So a
migration that only adds says in a line of its own from which schema on it can be read and written all the same:

    -- readable from: 5

Without that line a version that does not know the migration refuses the database, and an update makes a backup before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medxz.errors import SchemaTooNew, StoreError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_NAME = re.compile(r"(\d{4})_[a-z_]+\.sql")
_READABLE = re.compile(r"^-- readable from: (\d{1,4})$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Schema:
    """The newest one that a version knows, and the oldest whose versions can use what it writes."""

    newest: int
    readable_from: int


def read_migrations(folder: Traversable) -> list[str]:
    """The scripts of a folder in their order; StoreError where a number is missing."""
    found = {}
    for entry in folder.iterdir():
        if match := _NAME.fullmatch(entry.name):
            found[int(match[1])] = entry.read_text(encoding="utf-8")
    if sorted(found) != list(range(1, len(found) + 1)):
        raise StoreError(
            f"the migrations in {folder} are not numbered 1, 2, 3 … without gaps: {sorted(found)}"
        )
    return [found[number] for number in sorted(found)]


def readable_from(migrations: list[str]) -> int:
    """The oldest schema whose versions can use a database that all of these have run on."""
    oldest = 0
    for number, script in enumerate(migrations, start=1):
        told = _READABLE.search(script)
        oldest = max(oldest, number if told is None else min(number, int(told[1])))
    return oldest


def schema_of(folder: Traversable) -> Schema:
    migrations = read_migrations(folder)
    return Schema(len(migrations), readable_from(migrations))


def refuse_newer(reached: int, known: int, oldest: int | None = None) -> None:
    """SchemaTooNew where a newer version has written the store, and not so that this one can read it.

    `oldest` is what the store itself says of that.
    """
    if reached > known and (not oldest or oldest > known):
        raise SchemaTooNew(
            f"the store has schema {reached}, and this version of medxz knows schemas up to {known}"
        )
