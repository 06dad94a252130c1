"""Numbered migrations as files: `0001_name.sql`, `0002_name.sql`, … in one folder, run once each, in order.

Whatever database they are for: how they are run, and where the number that was reached stands, is its runner's.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from medxz.errors import SchemaTooNew, StoreError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_NAME = re.compile(r"(\d{4})_[a-z_]+\.sql")


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


def refuse_newer(reached: int, known: int) -> None:
    """SchemaTooNew where a newer version has written the store."""
    if reached > known:
        raise SchemaTooNew(
            f"the store has schema {reached}, and this version of medxz knows schemas up to {known}"
        )
