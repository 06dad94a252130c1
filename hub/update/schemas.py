"""Which schemas this version's databases have, and from which on an older version can still read what it writes.

A bundle carries it in its `build` (`python -m hub.update.schemas` prints it), so that a version which runs knows before
it installs another whether it could still read its database after going back: where not, it makes a backup first.
"""

from __future__ import annotations

import re
import sys
from importlib import resources
from typing import Final

from medxz.store.migrations import Schema, schema_of

_ONE: Final = re.compile(r"([a-z]+)=([0-9]{1,4})/([0-9]{1,4})")


def schemas() -> dict[str, Schema]:
    """Those of a hub's files that an update has to keep readable."""
    store = resources.files("medxz.store")
    return {
        "log": schema_of(store / "sql"),
        "audit": schema_of(store / "authority" / "sql" / "sqlite"),
    }


def told() -> str:
    return " ".join(f"{name}={schema.newest}/{schema.readable_from}" for name, schema in schemas().items())


def needs_backup(build: str) -> bool:
    """Whether this version can't go back to its databases once the bundle's has had them, as far as that says."""
    theirs = {name: int(readable_from) for name, _, readable_from in _ONE.findall(build)}
    return any(name not in theirs or schema.newest < theirs[name] for name, schema in schemas().items())


if __name__ == "__main__":
    sys.stdout.write(told() + "\n")
