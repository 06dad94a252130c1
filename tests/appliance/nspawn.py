"""A small machine of its own for tests: a real systemd as PID 1, in a container by systemd-nspawn.

Its /usr is this machine's, read-only, with the package's files laid over it; /etc and /var are its own, and its network is
its loopback. The program is the tree's. Nothing is registered anywhere, and nothing of this machine is written to.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

TREE: Final = Path(__file__).resolve().parents[2]
UNITS: Final = TREE / "systemd"
# progress, not deadlines: far above what it takes on a busy machine
BOOT_S_MAX: Final = 120.0
COMMAND_S_MAX: Final = 120.0
_POLL_S: Final = 0.05  # nothing outside tells what happens in there; each wait has its deadline
# where the program lies in there; what it is run by, if that is not in /usr
_PROGRAM: Final = "usr/lib/medxz-hub"
_PYTHON: Final = "usr/lib/medxz-python"
_NAME: Final = f"bin/python3.{sys.version_info.minor}"

TARGET: Final = """[Unit]
Description=what a test needs of a machine
Requires=basic.target
After=basic.target
AllowIsolate=yes
"""
# what asks the machine below for things that a container has not, or costs time
MASKED: Final = (
    "systemd-udevd.service",
    "systemd-udev-trigger.service",
    "systemd-networkd.service",
    "systemd-resolved.service",
    "systemd-timesyncd.service",
    "ldconfig.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
)


class CannotNspawn(Exception):
    """This machine has no containers for us; it says why."""


class Container:
    """One that runs, until it is left."""

    def __init__(self, folder: Path) -> None:
        self.root: Final = folder / "root"
        self.overlay: Final = folder / "overlay"
        self.console: Final = folder / "console"
        self._process: subprocess.Popen[bytes] | None = None
        self._leader: int | None = None

    def make(self) -> Container:
        """An empty machine with the package installed, as the package's own scripts would leave it."""
        for name in ("usr", "etc", "var", "run", "tmp", "root", "proc", "sys", "dev", "srv"):
            (self.root / name).mkdir(parents=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            (self.root / name).symlink_to(f"usr/{name}")
        etc = self.root / "etc"
        (etc / "systemd/system").mkdir(parents=True)
        (etc / "systemd/system/test.target").write_text(TARGET)
        for unit in MASKED:
            (etc / "systemd/system" / unit).symlink_to("/dev/null")
        shutil.copy("/etc/os-release", etc)
        (etc / "machine-id").write_text("")
        (etc / "passwd").write_text(
            "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
        )
        (etc / "group").write_text("root:x:0:\nnogroup:x:65534:\n")
        (etc / "hostname").write_text("box\n")
        (etc / "hosts").write_text("127.0.0.1 localhost\n")
        if Path("/etc/ld.so.cache").exists():
            shutil.copy("/etc/ld.so.cache", etc)
        self._install()
        return self

    def start(self) -> Container:
        """Boot it; CannotNspawn says what kept it from that."""
        with self.console.open("wb") as console:
            self._process = subprocess.Popen(
                [
                    *self._before(),
                    # it ends with whoever runs the tests, however that ends
                    "setpriv", "--pdeathsig=KILL", "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--console=pipe", self._network(),
                    f"--directory={self.root}", *self._mounts(), *self._may(),
                    "--boot", "--", "--unit=test.target", "--show-status=no",
                ],
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + BOOT_S_MAX
        while not self._is_up():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise CannotNspawn(
                    f"systemd-nspawn: {self.console.read_text(errors='replace').strip()[-500:]}"
                )
            time.sleep(_POLL_S)
        return self

    def stop(self) -> None:
        """End it, and whatever runs in it."""
        process, self._process = self._process, None
        leader, self._leader = self._leader, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            # with its PID 1 everything in it ends; an orderly shutdown would take seconds that nobody looks at
            os.kill(process.pid if leader is None else leader, signal.SIGKILL)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def run(self, *command: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A command in there, by root."""
        done = subprocess.run(
            ["nsenter", f"--target={self._leader}", "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd",
             "env", "-i", "PATH=/usr/sbin:/usr/bin", "LANG=C.UTF-8", *map(str, command)],
            capture_output=True, text=True, timeout=COMMAND_S_MAX, check=False,
        )  # fmt: skip
        if check and done.returncode != 0:
            journal = self.run("journalctl", "--no-pager", "--lines=20", check=False).stdout
            raise AssertionError(f"{command}: {done.stdout}{done.stderr}\n{journal}")
        return done

    def show(self, unit: str, name: str) -> str:
        """What systemd says of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).stdout.strip()

    def until(self, holds: Callable[[], bool], what: str, within_s: float = COMMAND_S_MAX) -> None:
        """Wait for it; what failed tells with the end of the journal."""
        deadline = time.monotonic() + within_s
        while not holds():
            if time.monotonic() > deadline:
                journal = self.run("journalctl", "--no-pager", "--lines=30", check=False).stdout
                raise AssertionError(f"waited in vain: {what}\n{journal}")
            time.sleep(_POLL_S)

    def path(self, inside: str) -> Path:
        """A file of /etc or /var as it is called out here."""
        return self.root / inside.removeprefix("/")

    def _before(self) -> list[str]:
        """What the command line begins with."""
        return []

    def _network(self) -> str:
        """Its own loopback and nothing else."""
        return "--private-network"

    def _may(self) -> list[str]:
        """What it is let do beyond what any container is."""
        return []

    def _mounts(self) -> list[str]:
        """What its /usr is made of."""
        mounts = [
            f"--overlay-ro=/usr:{self.overlay}:/usr",
            f"--bind-ro={TREE}:/{_PROGRAM}/tree",
            f"--bind-ro={_site_packages()}:/{_PROGRAM}/site-packages",
        ]
        if not _base().is_relative_to("/usr"):
            mounts.append(f"--bind-ro={_base()}:/{_PYTHON}")
        return mounts

    def _install(self) -> None:
        """The package's files, as far as they are ready without being built."""
        lib = self.overlay / "lib"
        for kind in ("systemd/system", "sysusers.d", "tmpfiles.d"):
            (lib / kind).mkdir(parents=True)
        for unit in sorted(UNITS.iterdir()):
            match unit.suffix:
                case ".service" | ".timer":
                    shutil.copy(unit, lib / "systemd/system")
                case ".sysusers" | ".tmpfiles":
                    shutil.copy(unit, lib / f"{unit.suffix[1:]}.d" / f"{unit.stem}.conf")
        for place in (_PROGRAM, _PYTHON):
            (self.overlay / place.removeprefix("usr/")).mkdir(parents=True, exist_ok=True)
        for name in ("tree", "site-packages"):
            (lib / "medxz-hub" / name).mkdir()
        (self.overlay / "bin").mkdir()
        for program, module in {"medxz-hub": "hub", "medxz-cloud": "cloud"}.items():
            script = self.overlay / "bin" / program
            script.write_text(
                f'#!/bin/sh\nPYTHONPATH=/{_PROGRAM}/tree:/{_PROGRAM}/site-packages exec {_python()} -m {module} "$@"\n'
            )
            script.chmod(0o755)

    def _is_up(self) -> bool:
        """Whether its systemd answers, with everything started that it starts."""
        if self._leader is None:
            self._leader = self._find_leader()
        if self._leader is None:
            return False
        told = self.run("systemctl", "is-active", "test.target", check=False)
        return told.stdout.strip() == "active"

    def _find_leader(self) -> int | None:
        """Its PID 1, as it is called out here: the grandchild of systemd-nspawn, or its child."""
        assert self._process is not None
        for child in _children(self._process.pid):
            for leader in (*_children(child), child):
                if _is_first(leader):
                    return leader
        return None


def _is_first(pid: int) -> bool:
    """Whether it is the PID 1 of a container; what systemd forks is called like it for a moment."""
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text()
        numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()
        return len(numbers) > 2 and numbers[-1] == "1" and status.startswith("Name:\tsystemd\n")
    return False


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _base() -> Path:
    """What runs the program in there: the system's Python of this version, else this very one."""
    return Path("/usr") if Path(f"/usr/{_NAME}").exists() else Path(sys.base_prefix)


def _python() -> str:
    return str(_base() / _NAME) if _base().is_relative_to("/usr") else f"/{_PYTHON}/{_NAME}"


def _site_packages() -> Path:
    return Path(sys.prefix) / f"lib/python3.{sys.version_info.minor}/site-packages"


def check_that_it_can() -> None:
    """CannotNspawn says what this machine lacks; that it boots is seen when it does."""
    missing = [tool for tool in ("systemd-nspawn", "nsenter", "setpriv") if shutil.which(tool) is None]
    if missing:
        raise CannotNspawn(f"{', '.join(missing)} not found (scripts/system-packages)")
    if os.geteuid() != 0:
        raise CannotNspawn("only root may run one")
