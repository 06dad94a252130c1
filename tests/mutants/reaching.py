"""Which tests reach which line, measured once and kept in build/mutants until somebody asks for it anew."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from tests.mutants.making import ROOT, TARGETS, Mutant

TESTS: Final = (
    "tests/unit/merge",
    "tests/unit/service",
    "tests/unit/accounts",
    "tests/unit/web",
    "tests/unit/test_rules.py",
    "tests/store",
    "tests/protocol",
    "tests/unit/hub/test_mending.py",
    "tests/unit/hub/test_restoring.py",
    "tests/unit/hub/test_backup.py",
)
# one backend of the three that are files; the cloud's program runs the same services
_AGAIN: Final = re.compile(r"cloud|postgres|sqlite-(plain|encrypted)")
WORK: Final = ROOT / "build" / "mutants"
PYTEST: Final = (
    "-q",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:xdist",
    "-p",
    "no:schemathesis",
    "-W",
    "ignore::pytest.PytestAssertRewriteWarning",
)
TESTS_MAX: Final = 150
# as they took while they were watched, which is three times as long as they take
TESTS_S_MAX: Final = 45.0


class Coverage:
    """Which tests reach which line, and how long each takes."""

    def __init__(self, told: dict[str, Any]) -> None:
        self._seconds: dict[str, float] = told["tests"]
        self._lines: dict[str, dict[str, list[str]]] = told["lines"]

    def tests_of(self, mutant: Mutant) -> list[str]:
        """Each test in one of its forms, then in another, quickest first, as many as there is time for; of a line that
        begins nothing, those of the one above it.
        """
        lines = self._lines.get(mutant.file, {})
        near = next(
            (lines[str(at)] for at in range(mutant.line, max(0, mutant.line - 15), -1) if lines.get(str(at))),
            [],
        )
        forms: dict[str, int] = defaultdict(int)
        turns: list[tuple[int, float, str]] = []
        for seconds, test in sorted((self._seconds.get(test, 1.0), test) for test in near):
            function = test.partition("[")[0]
            turns.append((forms[function], seconds, test))
            forms[function] += 1
        chosen: list[str] = []
        left = TESTS_S_MAX
        for _, _, test in sorted(turns):
            left -= self._seconds.get(test, 1.0)
            if (left < 0 and chosen) or len(chosen) == TESTS_MAX:
                break
            chosen.append(test)
        return chosen

    def seconds(self, tests: Sequence[str]) -> float:
        return sum(self._seconds.get(test, 1.0) for test in tests)


def coverage_map(*, remap: bool) -> Coverage:
    """What is kept, or measured anew: each group of tests in a process of its own, since none is to see another's."""
    WORK.mkdir(parents=True, exist_ok=True)
    stamp = _stamp()
    told: dict[str, Any] = {"tests": {}, "lines": {}}
    files = {group: WORK / f"{group.replace('/', '-')}.json" for group in TESTS}
    children = []
    for group, file in files.items():
        if remap or not file.exists():
            child = os.fork()
            if not child:
                _measure(group, file, stamp)
                os._exit(0)
            children.append(child)
    for child in children:
        os.waitpid(child, 0)
    for file in files.values():
        part = json.loads(file.read_text("utf-8"))
        if part["stamp"] != stamp:
            print(
                f"mutants: files have changed since {file.name} was measured; --remap does it again",
                file=sys.stderr,
            )
        told["tests"] |= part["tests"]
        for name, lines in part["lines"].items():
            here = told["lines"].setdefault(name, {})
            for line, tests in lines.items():
                here[line] = here.get(line, []) + tests
    return Coverage(told)


def _stamp() -> str:
    texts = [
        path.read_bytes() for folder in (*TARGETS, *TESTS) for path in sorted((ROOT / folder).rglob("*.py"))
    ]
    return hashlib.sha256(b"".join(texts)).hexdigest()


def _is_said_elsewhere(item: Any) -> bool:
    """A test in a form that says the same of this code as another does, or of code that is left out."""
    form = getattr(item, "callspec", None)
    return "postgres_url" in item.fixturenames or (form is not None and bool(_AGAIN.search(form.id)))


def _measure(group: str, kept: Path, stamp: str) -> None:
    """Every test of these once, under coverage.py, told which of them runs."""
    import coverage
    import pytest

    measured = coverage.Coverage(
        source=[str(ROOT / one) for one in TARGETS], data_file=None, config_file=False
    )
    seconds: dict[str, float] = defaultdict(float)
    failed: set[str] = set()

    class Telling:
        """Tells coverage which test runs."""

        def pytest_collection_modifyitems(self, items: list[Any]) -> None:
            items[:] = [item for item in items if not _is_said_elsewhere(item)]

        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_protocol(self, item: Any) -> Iterator[None]:
            measured.switch_context(item.nodeid)
            result = yield
            measured.switch_context("")
            return result

        def pytest_runtest_logreport(self, report: Any) -> None:
            seconds[report.nodeid] += report.duration
            if not report.passed:
                failed.add(report.nodeid)

    with (kept.with_suffix(".log")).open("wb") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        measured.start()
        pytest.main([*PYTEST, group], plugins=[Telling()])
        measured.stop()
    data = measured.get_data()
    lines: dict[str, dict[int, list[str]]] = {}
    for file in data.measured_files():
        by_line = data.contexts_by_lineno(file)
        lines[Path(file).relative_to(ROOT).as_posix()] = {
            line: [one for one in contexts if one and one not in failed] for line, contexts in by_line.items()
        }
    kept.write_text(json.dumps({"stamp": stamp, "tests": seconds, "lines": lines}), "utf-8")
