"""The tree's own tidiness, checked as a test: sizes, docstrings, orphans, words, links.

What ruff, mypy and import-linter can say they say; here stands what only the project knows of itself.
"""

import ast
import os
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("medxz", "hub", "cloud")
SOURCE = (*PACKAGES, "bench")
DECISIONS = ROOT / "docs" / "decisions"

FILE_LINES_MAX = 400
TEST_FILE_LINES_MAX = 500  # cases of one subject stay together
FUNCTION_LINES_MAX = 60

# path -> why this one may be longer
LONG_FILES_ALLOWED: dict[str, str] = {}

# "path:function" -> why this one may be longer
LONG_FUNCTIONS_ALLOWED: dict[str, str] = {}

# module -> why nothing in the tree imports it
ORPHANS_ALLOWED: dict[str, str] = {}

NAMES_THAT_SAY_NOTHING = {"util", "utils", "helper", "helpers", "common", "misc"}

NOT_OURS = {"build", "dist", "htmlcov", "node_modules", "__pycache__"}
DOT_FOLDERS_OURS = {".ci"}

# written in pieces, so that this file does not find itself
REGISTRY = re.compile(
    r"(?:py" + r"pi|python" + r"hosted|np" + r"mjs)\.(?:org|com)"
    r"|https?://[^\s/]*(?:artifactory|nexus|devpi|verdaccio)"
    r"|index" + r"[-_]url\s*=?\s*[\"']?https?:"
    r"|https?://[^\s/@:]+:[^\s/@]{6,}@"
    r"|\bpypi-[A-Za-z0-9_-]{16,}|\bnpm_[A-Za-z0-9]{30,}|_auth" + r"Token"
)

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
WORD_PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


@cache
def files() -> tuple[Path, ...]:
    found: list[Path] = []
    for folder, subfolders, names in os.walk(ROOT):
        subfolders[:] = [
            name
            for name in subfolders
            if name not in NOT_OURS and (not name.startswith(".") or name in DOT_FOLDERS_OURS)
        ]
        found += [Path(folder, name) for name in names if not name.endswith(".pyc")]
    return tuple(sorted(found))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def python_files(*folders: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in files():
        if path.suffix == ".py" and (not folders or path.relative_to(ROOT).parts[0] in folders):
            yield path, parsed(path)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_names(tree: ast.Module) -> Iterator[str]:
    """Every dotted name that a module may be imported by: `from a.b import c` gives a.b and a.b.c."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def bound_names(tree: ast.Module) -> Iterator[str]:
    """The names that this file gives to things; what other libraries named is not ours to change."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case ast.alias(asname=str(name)):
                yield name


def words_not_ours() -> dict[str, str]:
    """word -> the one we use, from the column "not" of the glossary in docs/protocol.md."""
    table: dict[str, str] = {}
    columns: list[str] = []
    for line in (ROOT / "docs" / "protocol.md").read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if "not" in cells and "word" in cells:
            columns = cells
        elif not cells:
            columns = []
        elif columns and not set(line) <= set("|- :"):
            row = dict(zip(columns, cells, strict=True))
            ours = row["word"].split(",")[0]
            table |= {word.strip(): ours for word in row["not"].split(",") if word.strip(" –")}
    return table


def strangers(text: str, table: dict[str, str]) -> Iterator[str]:
    for part in WORD_PARTS.findall(text):
        word = part.lower()
        for candidate in (word, word.removesuffix("s")):
            if candidate in table:
                yield f"{word!r}: our word is {table[candidate]!r}"
                break


def test_files_are_short() -> None:
    """No Python file is longer than the limit, and the list of exceptions names only files that need it."""
    long = {
        relative(path): lines
        for path, _ in python_files()
        if (lines := len(path.read_text("utf-8").splitlines()))
        > (TEST_FILE_LINES_MAX if relative(path).startswith("tests/") else FILE_LINES_MAX)
    }
    assert long.keys() == LONG_FILES_ALLOWED.keys(), long


def test_functions_fit_on_a_screen() -> None:
    """No function of the source is longer than the limit."""
    long = {
        f"{relative(path)}:{node.name}": lines
        for path, tree in python_files(*SOURCE)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    }
    assert long.keys() == LONG_FUNCTIONS_ALLOWED.keys(), long


def test_every_module_says_what_it_owns() -> None:
    """Every module of the packages has a docstring."""
    silent = [relative(path) for path, tree in python_files(*SOURCE) if not ast.get_docstring(tree)]
    assert silent == []


def test_every_test_says_what_must_hold() -> None:
    """Every test has a docstring, and it is a sentence."""
    silent = [
        f"{relative(path)}:{node.name}"
        for path, tree in python_files("tests")
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and " " not in (ast.get_docstring(node) or "")
    ]
    assert silent == []


def test_no_orphans() -> None:
    """Every module is imported by another one outside the tests, or is an entry point."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    used = {target.partition(":")[0] for target in project["scripts"].values()}
    used |= set(re.findall(r"-m ([a-z_.]+)", (ROOT / "Makefile").read_text("utf-8")))
    for path, tree in python_files(*SOURCE):
        used |= set(imported_names(tree)) - {module_name(path)}
        if '__name__ == "__main__"' in path.read_text("utf-8"):
            used.add(module_name(path))
    orphans = {
        module_name(path)
        for path, _ in python_files(*SOURCE)
        if path.stem not in {"__init__", "__main__"} and module_name(path) not in used
    }
    assert orphans == ORPHANS_ALLOWED.keys()


def test_no_file_is_named_for_nothing() -> None:
    """A file is named after what it owns; a drawer for odds and ends owns nothing."""
    vague = [
        relative(path)
        for path, _ in python_files()
        if NAMES_THAT_SAY_NOTHING & {part.strip("_") for part in path.relative_to(ROOT).with_suffix("").parts}
    ]
    assert vague == []


def test_one_sqlite_library_in_a_process() -> None:
    """Nothing imports the standard library's SQLite, under which sqlcipher3 loses acknowledged commits."""
    guilty = [
        relative(path)
        for path, tree in python_files()
        if any(name.partition(".")[0] in {"sqlite3", "_sqlite3"} for name in imported_names(tree))
    ]
    assert guilty == []


def test_no_registry_is_named() -> None:
    """No file names a package registry or carries a token of one."""
    named = []
    for path in files():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue  # a dictionary or another binary
        named += [f"{relative(path)}: {match.group()[:30]}" for match in REGISTRY.finditer(text)]
    assert named == []


def test_the_glossary_has_words_to_keep_out() -> None:
    """The glossary's column of unwanted words is found, or the tests below would check nothing."""
    assert len(words_not_ours()) >= 10


def test_identifiers_use_our_words() -> None:
    """One thing has one name: no identifier or file of the source uses a word that the glossary replaces."""
    table = words_not_ours()
    found = []
    for path, tree in python_files(*SOURCE):
        names = {path.stem, *bound_names(tree)}
        found += [
            f"{relative(path)}: {name}: {why}" for name in sorted(names) for why in strangers(name, table)
        ]
    assert found == []


def test_documents_use_our_words() -> None:
    """The documents speak as the code does; only code spans and the glossary itself are left out."""
    table = words_not_ours()
    found = []
    for path in files():
        if path.suffix == ".md":
            prose = CODE.sub("", path.read_text("utf-8"))
            lines = [line for line in prose.splitlines() if not line.startswith("|")]
            found += [f"{relative(path)}: {why}" for line in lines for why in strangers(line, table)]
    assert found == []


def test_every_decision_is_listed() -> None:
    """docs/decisions/README.md links every decision, and each number stands for one."""
    listed = set(LINK.findall((DECISIONS / "README.md").read_text("utf-8")))
    records = [path.name for path in sorted(DECISIONS.glob("*.md")) if path.name != "README.md"]
    assert [name for name in records if name not in listed] == []
    assert [name for name in records if not re.match(r"\d{4}-[a-z0-9-]+\.md$", name)] == []
    numbers = [name[:4] for name in records]
    assert sorted(set(numbers)) == numbers


def test_links_resolve() -> None:
    """Every relative link in a document leads to something that is there."""
    broken = []
    for path in files():
        if path.suffix == ".md":
            for target in LINK.findall(path.read_text("utf-8")):
                place = target.partition("#")[0]
                if place and "://" not in target and not (path.parent / place).exists():
                    broken.append(f"{relative(path)}: {target}")
    assert broken == []


def test_packages_are_where_the_contract_looks() -> None:
    """The import contract and this file look at the same packages."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]
    assert settings["importlinter"]["root_packages"] == list(PACKAGES)
    assert settings["hatch"]["build"]["targets"]["wheel"]["packages"] == list(PACKAGES)
