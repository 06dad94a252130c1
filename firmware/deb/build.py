"""Builds a .deb: the program with its locked dependencies in a virtual environment, its units, its manual pages.

The machine's Python is never run for the other architecture: wheels of dependencies are taken by their platform, and
bytecode is the same everywhere. Two builds of one commit are the same file. Refused: a dependency without a wheel.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from firmware.deb.manual import page
from firmware.deb.packages import Package
from hub.update.schemas import told as schemas

TREE: Final = Path(__file__).resolve().parents[2]
HERE: Final = Path(__file__).parent
PYTHON: Final = "3.11"
# architecture of Debian -> whose wheels; every Debian since 10 has that glibc
PLATFORMS: Final = {"amd64": "x86_64-manylinux_2_28", "arm64": "aarch64-manylinux_2_28"}
TRIPLETS: Final = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}
DEPENDS: Final = (
    f"python{PYTHON}",
    "libc6 (>= 2.28)",
    "libgcc-s1",
    "libstdc++6",
    "ca-certificates",
    "systemd (>= 250)",
    "init-system-helpers (>= 1.54)",
)
MAINTAINER: Final = "maintainers@medxz.invalid"
# what installers leave behind that tells of this machine
_TRACES: Final = ("direct_url.json", "uv_cache.json", "uv_build.json", "REQUESTED", "INSTALLER")

# what compilers and type checkers read of a library, and no program that runs
_SOURCES: Final = frozenset({".pyi", ".pyx", ".pxd", ".pxi", ".c", ".h", ".cpp", ".hpp"})


@dataclass(frozen=True, slots=True)
class Build:
    """One package for one architecture."""

    package: Package
    arch: str
    version: str
    folder: Path
    epoch: int

    @property
    def root(self) -> Path:
        """What lies in the package."""
        return self.folder / f"{self.package.name}_{self.arch}"

    @property
    def site(self) -> Path:
        return self.root / self.package.home / f"lib/python{PYTHON}/site-packages"

    @property
    def file(self) -> Path:
        return self.folder / f"{self.package.name}_{self.version}_{self.arch}.deb"

    def run(self) -> Path:
        """The finished file."""
        shutil.rmtree(self.root, ignore_errors=True)
        self.site.mkdir(parents=True)
        self._install_libraries()
        self._make_environment()
        self._compile()
        units = self._install_units()
        self._tell_updates()
        self._document()
        self._control(units)
        self._settle_modes()
        # one thread: with several the file depends on how many there were
        done = [
            "dpkg-deb",
            "--root-owner-group",
            "--threads-max=1",
            "-Zxz",
            "-z3",
            "--build",
            self.root,
            self.file,
        ]
        _run(*done, SOURCE_DATE_EPOCH=str(self.epoch))
        return self.file

    def _install_libraries(self) -> None:
        """Every one that is locked, by its hash; then the tree itself."""
        into = ["--target", self.site, "--python-platform", PLATFORMS[self.arch], "--python-version", PYTHON]
        uv = [
            Path(sys.executable).with_name("uv"),
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--link-mode=copy",
            *into,
        ]
        _run(*uv, "--only-binary=:all:", "--require-hashes", "-r", TREE / "requirements/run.txt")
        wheels = self.folder / "wheels"
        shutil.rmtree(wheels, ignore_errors=True)
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", wheels]
        _run(*build, SOURCE_DATE_EPOCH=str(self.epoch))
        [wheel] = wheels.iterdir()
        _run(*uv, wheel)
        shutil.rmtree(self.site / "bin", ignore_errors=True)
        for info in self.site.glob("*.dist-info"):
            for name in _TRACES:
                (info / name).unlink(missing_ok=True)
        for path in [path for path in self.site.rglob("*") if path.suffix in _SOURCES]:
            path.unlink()
        for info in self.site.glob("*.dist-info"):
            _forget(info / "RECORD")
        # half of what the wheels weigh are symbols for debuggers
        _run(f"{TRIPLETS[self.arch]}-strip", "--strip-unneeded", *sorted(self.site.rglob("*.so*")))

    def _make_environment(self) -> None:
        """As `python3 -m venv` lays it out, of a Python that need not be here."""
        home = self.root / self.package.home
        (home / "bin").mkdir()
        (home / "bin/python").symlink_to(f"../../../bin/python{PYTHON}")
        (home / "pyvenv.cfg").write_text(
            f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {PYTHON}\n"
        )
        commands = self.root / "usr/bin"
        commands.mkdir(parents=True)
        for name, module in self.package.programs.items():
            script = home / "bin" / name
            script.write_text(
                f"#!/bin/sh\n# -I: neither the caller's folder nor PYTHON… of the environment is looked into\n"
                f'exec /{self.package.home}/bin/python -I -m {module} "$@"\n'
            )
            (commands / name).symlink_to(f"../lib/{self.package.name}/bin/{name}")

    def _compile(self) -> None:
        """Bytecode that is taken as it is: the image's /usr is read-only, and a small box would compile for a minute."""
        compiling = ["-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash"]
        _run(sys.executable, *compiling, "-s", self.root, "-p", "/", self.site, PYTHONHASHSEED="0")

    def _install_units(self) -> list[str]:
        """The units, and those among them that are enabled; who they run as, and the directory."""
        enabled = []
        for source in sorted((TREE / "systemd").glob(f"{self.package.units}*")):
            kind = source.suffix[1:]
            if kind in {"service", "timer", "target", "path", "mount"}:
                _copy(source, self.root / "usr/lib/systemd/system" / source.name)
                if "[Install]" in source.read_text("utf-8"):
                    enabled.append(source.name)
            elif kind in {"sysusers", "tmpfiles"}:
                _copy(source, self.root / f"usr/lib/{kind}.d" / f"{source.stem}.conf")
            elif kind == "rules":
                _copy(source, self.root / "usr/lib/udev/rules.d" / f"90-{source.name}")
        return enabled

    def _tell_updates(self) -> None:
        """What an update of the package is known by, and what exchanges it for the next one (hub/update/debian.py)."""
        home = self.root / self.package.home
        if self.package.exchange:
            _copy(HERE / "exchange", home / "exchange")
            told = {"version": self.version, "arch": self.arch, "is_package": True, "schemas": schemas()}
            (home / "package.json").write_text(json.dumps(told) + "\n")

    def _document(self) -> None:
        doc = self.root / "usr/share/doc" / self.package.name
        libraries = "\n".join(
            f" {info.stem.replace('-', ' ')}" for info in sorted(self.site.glob("*.dist-info"))
        )
        doc.mkdir(parents=True)
        (doc / "copyright").write_text(self.filled("copyright.in", LIBRARIES=libraries))
        moment = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(self.epoch))
        self._packed(
            doc / "changelog.gz",
            f"{self.package.name} ({self.version}) stable; urgency=medium\n\n  * Changes: CHANGELOG.md of the source.\n\n"
            f" -- medxz hub <{MAINTAINER}>  {moment}\n",
        )
        date = time.strftime("%Y-%m-%d", time.gmtime(self.epoch))
        for program, module in self.package.programs.items():
            man = self.root / "usr/share/man/man1" / f"{program}.1.gz"
            self._packed(man, page(program, module, self.package.files, date, self.version))
        overrides = HERE / "lintian-overrides.in"
        target = self.root / "usr/share/lintian/overrides" / self.package.name
        target.parent.mkdir(parents=True)
        target.write_text(self.filled(overrides.name))

    def _control(self, units: list[str]) -> None:
        control = self.root / "DEBIAN"
        control.mkdir()
        files = sorted(path for path in self.root.rglob("*") if path.is_file() and not path.is_symlink())
        sums = [
            f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  {path.relative_to(self.root)}\n"
            for path in files
        ]
        (control / "md5sums").write_text("".join(sums))
        more = {
            "UNITS": " ".join(units),
            "INSTALLED_KIB": str(sum(-(-path.stat().st_size // 1024) for path in files)),
        }
        for name in ("control", "postinst", "prerm", "postrm"):
            (control / name).write_text(self.filled(f"{name}.in", **more))

    def filled(self, template: str, **more: str) -> str:
        """A template of this folder, with the names that it asks for."""
        package = self.package
        description = "\n".join(f" {line or '.'}" for line in package.description.splitlines())
        values = {
            "PACKAGE": package.name, "VERSION": self.version, "ARCH": self.arch, "MAINTAINER": MAINTAINER,
            "DEPENDS": ", ".join(DEPENDS), "SYNOPSIS": package.synopsis, "DESCRIPTION": description,
            "SUGGESTS": f"Suggests: {package.suggests}\n" if package.suggests else "", "STATE": package.state, "KEY": package.key, "ETC": package.etc, **more,
        }  # fmt: skip
        return re.sub(r"@([A-Z_]+)@", lambda name: values[name[1]], (HERE / template).read_text("utf-8"))

    def _packed(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))

    def _settle_modes(self) -> None:
        """Nothing of this machine's umask or of its time is left."""
        run = {self.root / self.package.home / "bin", self.root / "DEBIAN"}
        for path in [*self.root.rglob("*"), self.root]:
            if not path.is_symlink():
                is_run = path.name == "exchange" or (
                    path.parent in run and path.name not in {"control", "md5sums"}
                )
                path.chmod(0o755 if path.is_dir() or is_run else 0o644)
            os.utime(path, (self.epoch, self.epoch), follow_symlinks=False)


def version_of_tree() -> str:
    """As pyproject.toml has it."""
    project = tomllib.loads((TREE / "pyproject.toml").read_text("utf-8"))["project"]
    return str(project["version"])


def epoch_of_tree() -> int:
    """SOURCE_DATE_EPOCH where it is set, else when the last commit was made."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    told = subprocess.run(
        ["git", "-C", TREE, "log", "-1", "--format=%ct"], capture_output=True, text=True, check=False
    )
    return int(told.stdout) if told.returncode == 0 else int((TREE / "pyproject.toml").stat().st_mtime)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _forget(record: Path) -> None:
    """What was taken away, out of the list of what was installed."""
    lines = record.read_text("utf-8").splitlines(keepends=True)
    here = record.parent.parent
    record.write_text("".join(line for line in lines if (here / line.split(",")[0]).exists()))


def _run(*command: object, **environ: str) -> None:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=TREE, env={**os.environ, **environ}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
