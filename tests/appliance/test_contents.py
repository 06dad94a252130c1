"""What is written for the packages without building one: manual pages, maintainer scripts."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from firmware.deb.build import Build
from firmware.deb.manual import page
from firmware.deb.packages import PACKAGES

PAGES = [(package, program) for package in PACKAGES.values() for program in package.programs]


@pytest.mark.parametrize(("package", "program"), PAGES, ids=[program for _, program in PAGES])
def test_a_manual_page_tells_every_command(package, program: str, tmp_path: Path) -> None:
    """Each program's page has each of its commands, and groff has nothing to say against it."""
    module = package.programs[program]
    text = page(program, module, package.files, "2026-11-22", "1.0.0")
    told = set(re.findall(r"^\.SS (\S+ \S+)", text.replace(r"\-", "-"), re.MULTILINE))
    commands = importlib.import_module(f"{module}.cli").cli.commands
    assert told == {f"{program} {name}" for name in commands}
    if shutil.which("groff") is None:
        pytest.skip("no groff on this machine")
    file = tmp_path / "page.1"
    file.write_text(text, "utf-8")
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-K", "utf8", "-z", file],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("package", PACKAGES.values(), ids=PACKAGES)
def test_maintainer_scripts_are_lawful(package, tmp_path: Path) -> None:
    """Each script is filled in whole and is one that a POSIX shell can read; only a purge takes anything away."""
    build = Build(package, "amd64", "1.0.0", tmp_path, 0)
    for name in ("postinst", "prerm", "postrm"):
        text = build.filled(f"{name}.in", UNITS="a.service b.timer")
        assert re.search(r"@[A-Z_]+@", text) is None
        subprocess.run(["sh", "-n"], input=text, text=True, check=True)
        before_purge = text.partition("purge)\n")[0]
        assert "rm -" not in before_purge
