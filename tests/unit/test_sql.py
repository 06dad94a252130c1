"""Every table and every statement of a database that many clinics share names the clinic, and names it first."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHARED = ("medxz/store/postgres", "medxz/store/authority")
NO_SQL = ("medxz/accounts", "medxz/service", "medxz/web", "cloud")

TABLES_OF_NO_CLINIC = {
    "server": "who the cloud is: one row",
    "server_secret": "the cloud's own secrets",
    "server_key": "the keys that sign the tokens of all clinics",
    "migration": "how far the tables themselves are",
    "device_clinic": "finds the clinic of a device that logs in",
    "hub_clinic": "finds the clinic of a hub that shows its assertion",
    "code_clinic": "finds the clinic of a code",
    "fleet_operator": "who keeps the fleet of all clinics",
    "fleet_token": "hashes of their tokens",
    "fleet_ring": "what the hubs of a ring are to run, whatever clinic each is of",
    "fleet_rollout": "how far a release has come, in all clinics",
}
STATEMENTS_OF_ALL_CLINICS = {
    "medxz.store.authority.clinics._ALL": "the operator's list of clinics",
    "medxz.store.authority.clinics._NONCES": "which directories changed: ids and random numbers",
    "medxz.store.authority.clinics._TOTAL": "whether any directory changed: two numbers",
    "medxz.store.authority.fleet._PAGE": "the operator's list of hubs: nothing that a clinic's people wrote",
    "medxz.store.authority.fleet._ONE": "one hub, by its id",
    "medxz.store.authority.fleet._FAILED": "the hubs on which a rollout failed",
    "medxz.store.authority.fleet._ALL": "what a rollout goes by: rings, versions, how hubs are",
    "medxz.store.authority.fleet._RINGS": "how many hubs each ring has",
    "medxz.store.authority.fleet._COUNTS": "how many hubs there are, by ring, health and version",
    "medxz.store.authority.fleet._FORGET_STEPS": "the hubs of a ring, which spans clinics",
    "medxz.store.postgres.statements.COUNTS": "which of a relay's logs grew: ids, counters and random numbers",
}

STATEMENT = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH|TRUNCATE|MERGE|COPY)\s")
TABLE = re.compile(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+) \((.*?)\n\)", re.DOTALL)
KEY = re.compile(r"(?:PRIMARY KEY|UNIQUE) \((\w+)")
COLUMN_KEY = re.compile(r"^\s*(\w+) [^,\n]*\b(?:PRIMARY KEY|UNIQUE)\b(?! \()", re.MULTILINE)
INDEX = re.compile(r"CREATE (?:UNIQUE )?INDEX (\w+)\s+ON (\w+) \((\w+)")
USE = re.compile(r"\b(FROM|JOIN|UPDATE|INTO)\s+(\w+)(?!\s*\(\$|\w)(?:\s+AS\s+(\w+))?")
CONDITION = {"JOIN": re.compile(r"\bON\s+(?!CONFLICT)")}
WHERE = re.compile(r"\bWHERE\s+")


def keys_and_columns() -> Iterator[tuple[str, str, str]]:
    """(what it is, its table, its first column) of every key, every index and every table."""
    for folder in SHARED:
        for path in sorted((ROOT / folder).rglob("*.sql")):
            text = re.sub(r"--[^\n]*", "", path.read_text("utf-8"))
            name = path.relative_to(ROOT).as_posix()
            for table, body in TABLE.findall(text):
                yield f"{name}: the first column of {table}", table, body.split()[0]
                for column in [*KEY.findall(body), *COLUMN_KEY.findall(body)]:
                    yield f"{name}: a key of {table}", table, column
            for index, table, column in INDEX.findall(text):
                yield f"{name}: {index}", table, column


def tables() -> set[str]:
    return {table for what, table, _ in keys_and_columns() if "first column" in what} - set(
        TABLES_OF_NO_CLINIC
    )


def statements() -> Iterator[tuple[str, str]]:
    """Every constant of these modules that is a statement, as it is run, and every statement inside a function."""
    for folder in SHARED:
        for path in sorted((ROOT / folder).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            for name, value in vars(importlib.import_module(module)).items():
                for text in value.values() if isinstance(value, Mapping) else [value]:
                    if isinstance(text, str) and STATEMENT.match(text):
                        yield f"{module}.{name}", text
            for function in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield from ((f"{module}.{function.name}", text) for text in literals(function))


def literals(tree: ast.AST) -> Iterator[str]:
    """The statements that are written in a piece of code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and STATEMENT.match(node.value):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            text = "".join(
                str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values
            )
            if STATEMENT.match(text):
                yield text


def misses(statement: str, of_clinics: set[str]) -> Iterator[str]:
    """Where a statement uses a clinic's table and the clinic does not come first."""
    for use in USE.finditer(statement):
        verb, table, rest = use[1], use[2], statement[use.end() :]
        if table not in of_clinics:
            continue
        if verb == "INTO":
            if not re.match(r"\s*\(\s*clinic_id\b", rest):
                yield f"INSERT INTO {table}"
            continue
        beside = same_level(rest)
        condition = CONDITION.get(verb, WHERE).search(beside)
        names = f"(?:(?:{table}|{use[3] or table})\\.)?"
        if condition is None or not re.match(f"{names}clinic_id = \\$1\\b", beside[condition.end() :]):
            yield f"{verb} {table}"


def same_level(text: str) -> str:
    """The text up to the parenthesis that closes what it stands in, without what stands in others."""
    kept, depth = [], 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0:
            break
        if depth == 0:
            kept.append(character)
    return "".join(kept)


def test_the_clinic_comes_first_in_every_key() -> None:
    """Each table that is a clinic's has clinic_id for its first column, and first in its keys and its indexes."""
    found = list(keys_and_columns())
    assert len(found) > 60
    wrong = [what for what, table, column in found if (table in tables()) and column != "clinic_id"]
    assert wrong == []


def test_the_clinic_stands_in_every_statement() -> None:
    """Each statement about a clinic's table begins its condition with the clinic; exceptions have names and reasons."""
    of_clinics, found = tables(), list(statements())
    assert len(found) > 100
    wrong: dict[str, list[str]] = {}
    for name, text in found:
        if missed := list(misses(text, of_clinics)):
            wrong.setdefault(name, []).extend(missed)
    assert wrong.keys() == STATEMENTS_OF_ALL_CLINICS.keys(), wrong


def test_exceptions_are_used() -> None:
    """A table that is excepted is there."""
    written = {table for _, table, _ in keys_and_columns()} | {"migration"}
    assert set(TABLES_OF_NO_CLINIC) <= written


def test_no_statement_stands_outside_the_stores() -> None:
    """The layers above the stores hold no SQL, in which a clinic could be forgotten."""
    found = [
        f"{path.relative_to(ROOT)}: {text.strip()[:40]}"
        for folder in NO_SQL
        for path in sorted((ROOT / folder).rglob("*.py"))
        for text in literals(ast.parse(path.read_text("utf-8")))
        if re.search(r"\b(FROM|INTO|SET)\s", text)
    ]
    assert found == []


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT name FROM site",
        "SELECT name FROM site WHERE site_id = $1",
        "SELECT name FROM site WHERE site_id = $1 AND clinic_id = $2",
        "SELECT name FROM site WHERE clinic_id <> $1",
        "SELECT name FROM site WHERE other.clinic_id = $1",
        "SELECT s.name FROM asked JOIN site AS s ON s.site_id = asked.site_id WHERE s.clinic_id = $1",
        "SELECT name FROM clinic WHERE clinic_id = $1 AND EXISTS (SELECT 1 FROM site WHERE site_id = $2)",
        "UPDATE site SET name = $2 WHERE site_id = $3",
        "DELETE FROM site WHERE site_id = $1 OR clinic_id = $2",
        "INSERT INTO site (site_id, clinic_id) VALUES ($1, $2)",
        "INSERT INTO site VALUES ($1, $2)",
        "SELECT name FROM site JOIN clinic ON clinic_id = $1",
        "WITH gone AS (DELETE FROM site RETURNING name) SELECT name FROM clinic WHERE clinic_id = $1",
    ],
)
def test_what_forgets_the_clinic_is_found(statement: str) -> None:
    """The check above finds statements in which the clinic is missing, comes second, or is somebody else's."""
    assert list(misses(statement, {"site", "clinic"}))


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT name FROM site WHERE clinic_id = $1",
        "SELECT s.name FROM asked JOIN site AS s ON s.clinic_id = $1 AND s.site_id = asked.site_id",
        "INSERT INTO site (clinic_id, site_id) VALUES ($1, $2) ON CONFLICT (clinic_id, site_id) DO UPDATE SET a = 1",
        "SELECT 1 FROM asked WHERE EXISTS (SELECT FROM site WHERE site.clinic_id = $1)",
    ],
)
def test_what_names_the_clinic_is_let_pass(statement: str) -> None:
    """The check above finds nothing where the clinic comes first."""
    assert not list(misses(statement, {"site", "clinic"}))
