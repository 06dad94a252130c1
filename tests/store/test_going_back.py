"""A version that goes back to what it was before finds databases that it can read: the rule, and every migration held to it."""

from __future__ import annotations

import importlib
import pkgutil
import re
from importlib import resources
from pathlib import Path

import pytest
from pydantic import BaseModel

import hub
from hub.arguments import Arguments
from hub.boot.file import _Section
from hub.claimed import Claimed
from hub.clock import Kept as ClockKept
from hub.update.schemas import needs_backup, schemas, told
from medxz.errors import SchemaTooNew
from medxz.program.settings import ServerSettings
from medxz.store.cipher import open_database
from medxz.store.migrate import migrate
from medxz.store.migrations import read_migrations, readable_from, schema_of

KEY = b"k" * 32
FOLDERS = [
    resources.files("medxz.store") / "sql",
    resources.files("medxz.store.authority") / "sql" / "sqlite",
    resources.files("medxz.device.store") / "sql",
]
_COMMENT = re.compile(r"--[^\n]*")
# what a version that does not know of it neither sees nor trips over
_ADDS = re.compile(
    r"CREATE (?:TABLE|INDEX) |"
    r"ALTER TABLE \w+ ADD (?:COLUMN )?\w+ \w+(?: NOT NULL DEFAULT [^,;]+| DEFAULT [^,;]+)?$"
)


def takes_away(script: str) -> list[str]:
    """The statements of a migration that do more than add."""
    bare = [" ".join(_COMMENT.sub("", part).split()) for part in script.split(";")]
    return [part for part in bare if part and not _ADDS.match(part)]


def lied(scripts: list[str]) -> list[str]:
    """Of migrations that say an older version can read what they leave, those statements that it could not."""
    return [
        statement
        for number, script in enumerate(scripts, start=1)
        if readable_from([*["-- readable from: 0"] * (number - 1), script]) < number
        for statement in takes_away(script)
    ]


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_every_migration_keeps_its_word(folder: Path) -> None:
    """A migration that says it only adds does only add."""
    assert lied(read_migrations(folder)) == []


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE op;",
        "ALTER TABLE op RENAME TO ops;",
        "ALTER TABLE op DROP COLUMN x;",
        "ALTER TABLE op ADD COLUMN x INTEGER NOT NULL;",
        "UPDATE op SET x = 1;",
        "CREATE UNIQUE INDEX i ON op (x);",
        "CREATE TRIGGER t AFTER INSERT ON op BEGIN SELECT 1; END;",
    ],
)
def test_the_test_can_fail(statement: str) -> None:
    """What takes something away, or asks for more than before, does not pass as an addition."""
    assert lied(["", f"-- readable from: 1\n{statement}"]) != []
    assert lied(["", statement]) == []
    assert (
        lied(["", "-- readable from: 1\nCREATE TABLE t (a);\nALTER TABLE op ADD COLUMN x INTEGER DEFAULT 0;"])
        == []
    )


def folder_of(place: Path, *scripts: str) -> Path:
    place.mkdir()
    for number, script in enumerate(scripts, start=1):
        (place / f"{number:04}_step.sql").write_text(script)
    return place


FIRST = "CREATE TABLE a (x INTEGER);"
ADDS = "-- readable from: 1\nCREATE TABLE b (x INTEGER);\nALTER TABLE a ADD COLUMN y INTEGER DEFAULT 7;"
TAKES = "DROP TABLE b;"


def test_a_version_goes_back(tmp_path: Path) -> None:
    """What only added is read and written by the version before, and by the newer one again; what did not is refused."""
    old = folder_of(tmp_path / "old", FIRST)
    new = folder_of(tmp_path / "new", FIRST, ADDS)
    newest = folder_of(tmp_path / "newest", FIRST, ADDS, TAKES)
    assert (schema_of(new).newest, schema_of(new).readable_from) == (2, 1)
    assert schema_of(newest).readable_from == 3
    connection = open_database(tmp_path / "file.db", KEY, create=True)
    assert [migrate(connection, folder) for folder in (old, new, old)] == [1, 1, 0]
    connection.execute("INSERT INTO a (x) VALUES (1)")
    assert connection.execute("SELECT x, y FROM a").fetchall() == [(1, 7)]
    assert [migrate(connection, folder) for folder in (new, newest)] == [0, 1]
    for before in (old, new):
        with pytest.raises(SchemaTooNew):
            migrate(connection, before)
    connection.close()


def test_a_bundle_says_what_it_leaves() -> None:
    """By what it says, a version knows whether it needs a backup first; a bundle that is silent is not trusted."""
    newest = {name: schema.newest for name, schema in schemas().items()}
    assert not needs_backup(told())
    further = " ".join(f"{name}={number + 1}/{number}" for name, number in newest.items())
    assert not needs_backup(further)
    assert needs_backup(
        further.replace(
            f"log={newest['log'] + 1}/{newest['log']}", f"log={newest['log'] + 1}/{newest['log'] + 1}"
        )
    )
    assert needs_backup("")


def kept_by_hubs() -> list[type[BaseModel]]:
    """The forms in which a hub keeps something for its next start; not what somebody asks of it or writes for it."""
    for module in pkgutil.walk_packages(hub.__path__, "hub."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found, left = [], [BaseModel]
    while left:
        kinds = left.pop().__subclasses__()
        left += kinds
        found += [kind for kind in kinds if kind.__module__.startswith("hub.")]
    asked = (Arguments, ServerSettings, _Section)
    return [kind for kind in found if not issubclass(kind, asked)]


def test_what_a_newer_version_keeps_is_read_by_an_older_one() -> None:
    """Of what a hub keeps for its next start, a member that it does not know is let pass: it may have gone back."""
    kinds = kept_by_hubs()
    assert {Claimed, ClockKept} <= set(kinds)
    assert [kind.__qualname__ for kind in kinds if kind.model_config.get("extra") == "forbid"] == []
