"""The mutants: what mutmut's operators make of the lines that changed.

Left out are texts that people read (a refusal's code is a promise, its words are not), SQL in other letters, functions that mutmut leaves out
(decorated ones), and what needs a PostgreSQL to run.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
TARGETS: Final = ("medxz/merge", "medxz/service", "medxz/store")
LEFT_OUT: Final = ("medxz/store/postgres/", "/authority/postgres.py")
_SQL: Final = re.compile(
    r"\s*(SELECT|INSERT|UPDATE|DELETE|CREATE|PRAGMA|WITH|AND|WHERE|ORDER|BEGIN|COMMIT|ON|VALUES)\b"
)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one file: a node of its syntax tree in the place of another."""

    file: str
    line: int
    module: Any
    node: Any
    other: Any

    def source(self) -> str:
        """The whole file with it."""
        from mutmut.mutation.file_mutation import deep_replace

        changed: str = deep_replace(self.module, self.node, self.other).code  # type: ignore[union-attr]
        return changed

    def told(self) -> str:
        """What was there, and what is."""
        lines = zip(self.module.code.splitlines(), self.source().splitlines(), strict=False)
        before, after = next((pair for pair in lines if pair[0] != pair[1]), ("", ""))
        return f"  - {before.strip()}\n  + {after.strip()}"


def changed_lines(since: str | None) -> dict[str, set[int] | None]:
    """The files to change, each with its lines; None: all of them."""
    files = sorted(
        path.relative_to(ROOT).as_posix() for folder in TARGETS for path in (ROOT / folder).rglob("*.py")
    )
    files = [file for file in files if not any(part in file for part in LEFT_OUT)]
    if since is None:
        return dict.fromkeys(files)
    command = ["git", "diff", "-U0", "--no-color", since, "--", *TARGETS]
    diff = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    found: dict[str, set[int] | None] = {}
    file = ""
    for line in diff.splitlines():
        if line.startswith("+++ "):
            file = line.removeprefix("+++ b/")
        elif line.startswith("@@ ") and file in files:
            first, _, count = line.split("+")[1].split(" ")[0].partition(",")
            lines = found.setdefault(file, set())
            assert lines is not None
            lines.update(range(int(first), int(first) + int(count or 1)))
    return found


def mutants_of(file: str, lines: set[int] | None) -> Iterator[Mutant]:
    """All that mutmut makes of these lines, but those that only change what people read."""
    import libcst
    from libcst.metadata import MetadataWrapper, PositionProvider
    from mutmut.mutation.file_mutation import MutationVisitor
    from mutmut.mutation.mutators import mutation_operators
    from mutmut.mutation.pragma_handling import IgnoredCode

    wrapper = MetadataWrapper(libcst.parse_module((ROOT / file).read_text("utf-8")))
    visitor = MutationVisitor(mutation_operators, IgnoredCode(set(), set(), set()), lines)
    wrapper.visit(visitor)
    places = wrapper.resolve(PositionProvider)
    for one in visitor.mutations:
        if (
            one.contained_by_top_level_function is not None
            and not _is_prose(wrapper.module, one.original_node)
            and not _is_same_sql(wrapper.module, one.original_node, one.mutated_node)
        ):
            line = places[one.original_node].start.line
            yield Mutant(file, line, wrapper.module, one.original_node, one.mutated_node)


def _is_same_sql(module: Any, node: Any, other: Any) -> bool:
    """The same statement in letters of another case says the same."""
    before, after = module.code_for_node(node), module.code_for_node(other)
    inner = before.strip("rbfuRBFU").strip("\"'")
    return _SQL.match(inner) is not None and before.casefold() == after.casefold()


def _is_prose(module: Any, node: Any) -> bool:
    """A text with blanks that is no SQL, and a docstring."""
    import libcst

    if not isinstance(node, libcst.BaseString):
        return False
    text = module.code_for_node(node)
    inner = text.strip("rbfuRBFU").strip("\"'")
    return text.startswith('"""') or (" " in inner.strip() and _SQL.match(inner) is None)
