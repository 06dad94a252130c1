"""One mutant: a forked process loads the one changed module in place of its file, and runs the tests that reach it."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import math
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any, Final

from tests.mutants.making import ROOT, Mutant
from tests.mutants.reaching import PYTEST, Coverage

CPU_S: Final = 20  # beyond what its tests took when they were measured, three times
WALL_S: Final = 240


@dataclass(frozen=True, slots=True)
class Verdict:
    """killed, timeout, survived, or uncovered."""

    mutant: Mutant
    outcome: str
    tests: int


class Changed(importlib.machinery.SourceFileLoader):
    """Loads one module out of a text in place of its file."""

    def __init__(self, name: str, path: str, text: str) -> None:
        super().__init__(name, path)
        self._text = text

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self._text.encode(), self.get_filename(fullname))


class Finder:
    """Finds that module before anybody else does."""

    def __init__(self, mutant: Mutant) -> None:
        parts = Path(mutant.file).with_suffix("").parts
        self._name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        self._path, self._text = str(ROOT / mutant.file), mutant.source()

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        if name != self._name:
            return None
        loader = Changed(name, self._path, self._text)
        return importlib.util.spec_from_file_location(name, self._path, loader=loader)


def judged(mutant: Mutant, coverage: Coverage) -> Verdict:
    """What becomes of it."""
    tests = coverage.tests_of(mutant)
    if not tests:
        return Verdict(mutant, "uncovered", 0)
    cpu_s = math.ceil(CPU_S + 3 * coverage.seconds(tests))
    child = os.fork()
    if not child:
        _run_child(mutant, tests, cpu_s)
    until = time.monotonic() + WALL_S + 3 * coverage.seconds(tests)
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > until:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return Verdict(mutant, "timeout", len(tests))
        time.sleep(0.02)
    if os.WIFSIGNALED(status):
        return Verdict(mutant, "timeout", len(tests))
    code = os.waitstatus_to_exitcode(status)
    if code in (4, 5):
        return Verdict(mutant, "uncovered", 0)
    return Verdict(mutant, "survived" if code == 0 else "killed", len(tests))


def _run_child(mutant: Mutant, tests: Sequence[str], cpu_s: int) -> None:
    code = 3
    try:
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 5))
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        sys.meta_path.insert(0, Finder(mutant))
        import pytest

        code = int(pytest.main([*PYTEST, "-x", "--no-header", *tests]))
    finally:
        os._exit(code)


def preload() -> None:
    """What every child would load, but nothing of ours: that is what changes."""
    for name in (
        "pytest", "_pytest.main", "aiohttp", "pydantic", "msgspec", "orjson", "zstandard",
        "cryptography.x509", "jwt", "httpx", "structlog", "uvloop", "sqlcipher3", "prometheus_client", "argon2",
    ):  # fmt: skip
        if importlib.util.find_spec(name.partition(".")[0]) is not None:
            __import__(name)
    assert not any(name.partition(".")[0] in ("medxz", "hub", "cloud") for name in sys.modules)
