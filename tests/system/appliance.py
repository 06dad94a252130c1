"""A hub on a machine with two slots: real RAUC with its service on a bus of its own, a real GRUB environment, real hubs.

Not real is the restart: who asks for one is written down, and `boot` does what grub.cfg does with the same variables.
"""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from hub.cli import cli
from medxz.program.outcome import outcome
from tests.system.hub_process import DEADLINE_S, PROGRAM, environment, wait_until

ROOT: Final = Path(__file__).resolve().parents[2]
RAUC: Final = ROOT / "firmware" / "rauc"
TRIES: Final = 3
SLOT_BYTES: Final = 4 << 20
ROOT_BYTES: Final = 1 << 20
_BUS: Final = """<busconfig><type>system</type><listen>unix:path={}</listen><policy context="default">
<allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_type="signal"/>
<allow send_type="method_return"/><allow send_type="error"/><allow receive_type="method_call"/>
<allow receive_type="signal"/><allow receive_type="method_return"/><allow receive_type="error"/></policy></busconfig>"""


def made(*words: object) -> str:
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False, timeout=DEADLINE_S)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


@cache
def why_not() -> str | None:
    """Why there can be no such machine here; None where there can."""
    missing = [
        tool
        for tool in ("rauc", "dbus-daemon", "mksquashfs", "grub-editenv", "openssl")
        if not shutil.which(tool)
    ]
    if missing:
        return f"not installed: {', '.join(missing)} (scripts/system-packages)"
    if os.geteuid() or not Path("/dev/loop-control").exists():
        return "RAUC mounts bundles, which needs root and loop devices"
    return None


class Keys:
    """Who signs bundles."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        made(RAUC / "make-keys", folder)

    @property
    def keyring(self) -> Path:
        return self.folder / "keyring.pem"

    def bundle(self, out: Path, version: str, *more: object, content: str = "") -> Path:
        """A release, whose root says its version."""
        root = out.with_name(f"{out.name}.img")
        root.write_bytes(f"{version} {content}".encode()[:ROOT_BYTES].ljust(ROOT_BYTES, b"\0"))
        wanted = (
            "--root",
            root,
            "--version",
            version,
            "--keys",
            self.folder,
            "--out",
            out,
            "--format",
            "plain",
        )
        made(RAUC / "make-bundle", *wanted, *(more or ("--arch", "amd64")))
        root.unlink()
        return out


class Appliance:
    """The machine. `data` is the hub's directory, which every version finds as the one before left it."""

    def __init__(self, folder: Path, keys: Keys, data: Path) -> None:
        self.folder, self.data, self.root = folder, data, folder / "root"
        for name in ("etc/rauc", "usr/lib/medxz-hub", "run", "var/lib/rauc", "bin", "slots"):
            (self.root / name).mkdir(parents=True)
        self.environment = self.root / "grubenv"
        made("grub-editenv", self.environment, "create")
        self.set(ORDER="A B", A_OK="1", A_TRY="0", B_OK="0", B_TRY="0")
        for slot in "AB":
            (self.root / "slots" / slot).write_bytes(b"0.1.0 ".ljust(SLOT_BYTES, b"\0"))
        self._configure(keys)
        self._bus_at = self.root / "bus"
        (self.root / "bus.conf").write_text(_BUS.format(self._bus_at))
        self._restarts = self.root / "restarts"
        systemctl = self.root / "bin/systemctl"
        systemctl.write_text(f'#!/bin/sh\n[ "$1" = reboot ] && echo >>{self._restarts}\n')
        systemctl.chmod(0o755)
        self._processes: list[subprocess.Popen[bytes]] = []
        self.boots = 0

    def _configure(self, keys: Keys) -> None:
        told = made(
            RAUC / "configure", "--arch", "amd64", "--options", f"grubenv={self.environment}",
            "--root-a", self.root / "slots/A", "--root-b", self.root / "slots/B", "--keyring", keys.keyring,
            "--formats", "plain verity",
        )  # fmt: skip
        told = told.replace("/var/lib/rauc", f"{self.root}/var/lib/rauc").replace(
            "/run/rauc", f"{self.root}/run/rauc"
        )
        (self.root / "etc/rauc/system.conf").write_text(told)

    # ------------------------------------------------------------------------------------- the machine

    def set(self, **variables: str) -> None:
        made(
            "grub-editenv", self.environment, "set", *(f"{name}={value}" for name, value in variables.items())
        )

    def variables(self) -> dict[str, str]:
        return dict(
            line.split("=", 1) for line in made("grub-editenv", self.environment, "list").splitlines()
        )

    def boot(self) -> str:
        """Start it as grub.cfg would; the version that runs then."""
        self.shut_down()
        told = self.variables()
        able = [slot for slot in told["ORDER"].split() if told[f"{slot}_OK"] == "1"]
        slot = next((slot for slot in able if int(told[f"{slot}_TRY"]) < TRIES), able[0])
        self.set(**{f"{slot}_TRY": str(min(TRIES, int(told[f"{slot}_TRY"]) + 1))})
        self.boots += 1
        (self.root / "run/medxz-boot-id").write_text(f"boot-{self.boots}\n")
        version = (self.root / "slots" / slot).read_bytes().split(b" ")[0].decode()
        image = {"version": version, "built": "2026-11-22", "arch": "amd64"}
        (self.root / "usr/lib/medxz-hub/image.json").write_text(json.dumps(image))
        self._launch(
            "dbus-daemon", f"--config-file={self.root}/bus.conf", "--nofork", "--nopidfile", "--nosyslog"
        )
        wait_until(self._bus_at.exists, "the bus")
        self._launch(
            "rauc", f"--conf={self.root}/etc/rauc/system.conf", f"--override-boot-slot={slot}", "service"
        )
        wait_until(lambda: self._rauc("status").returncode == 0, "RAUC's service")
        return version

    def shut_down(self) -> None:
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
            process.wait(DEADLINE_S)
        self._processes.clear()
        self._bus_at.unlink(missing_ok=True)

    def update_until_the_power_fails(self, offset: int, *arguments: object) -> None:
        """An update, until the machine has written so much of it into a slot: there RAUC ends, and nobody hears of it.

        The kernel ends who writes behind a limit; the updater is ended before it can be told how its RAUC fared.
        """
        service, ways = self._processes[-1], self.root / "bin/rauc"
        resource.prlimit(service.pid, resource.RLIMIT_CORE, (0, 0))
        resource.prlimit(service.pid, resource.RLIMIT_FSIZE, (offset, offset))
        real = shutil.which("rauc")
        ways.write_text(f'#!/bin/sh\n[ "$1" = install ] || exec {real} "$@"\n{real} "$@"\nkill -KILL $PPID\n')
        ways.chmod(0o755)
        with self.launch_update(*arguments) as running:
            running.communicate(timeout=DEADLINE_S)
        ways.unlink()
        assert running.returncode == -signal.SIGKILL
        assert self._processes.pop().wait(DEADLINE_S) == -signal.SIGXFSZ
        mounted = self.root / "run/rauc/bundle"
        if mounted.is_mount():
            made("umount", mounted)

    def slot(self, name: str) -> bytes:
        return (self.root / "slots" / name).read_bytes()

    @property
    def restarts(self) -> int:
        return len(self._restarts.read_text().splitlines()) if self._restarts.exists() else 0

    def _launch(self, *words: object) -> None:
        with (self.folder / "services.log").open("ab") as said:
            self._processes.append(
                subprocess.Popen([*map(str, words)], env=self._environment(), stdout=said, stderr=said)
            )

    def _rauc(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(["rauc", *words], env=self._environment(), capture_output=True, check=False)

    def _environment(self) -> dict[str, str]:
        path = f"{self.root}/bin:{os.environ['PATH']}:/usr/sbin:/sbin"
        return environment({"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={self._bus_at}", "PATH": path})

    # ------------------------------------------------------------------------------------- the command

    def launch_update(self, *arguments: object) -> subprocess.Popen[str]:
        words = [*PROGRAM, "update", "--data", self.data, "--root", self.root, "--json", *arguments]
        return subprocess.Popen(
            [*map(str, words)],
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def update(self, *arguments: object) -> tuple[int, dict[str, Any]]:
        """Its status, and what it answers or is refused with."""
        words = ["update", "--data", self.data, "--root", self.root, "--json", *arguments]
        said, told = io.StringIO(), io.StringIO()
        with self._as_its_own(), redirect_stdout(said), redirect_stderr(told):
            status = outcome(cli, "medxz-hub", [*map(str, words)], as_json=True)
        answer: dict[str, Any] = json.loads(said.getvalue() or told.getvalue().splitlines()[-1])
        return status, answer

    @contextmanager
    def _as_its_own(self) -> Iterator[None]:
        """With the environment of the machine, in this process: what it costs to start Python is not what is tested."""
        with pytest.MonkeyPatch.context() as patch:
            for name in ("PATH", "DBUS_SYSTEM_BUS_ADDRESS"):
                patch.setenv(name, self._environment()[name])
            yield

    def standing(self) -> dict[str, Any]:
        status, told = self.update("--status")
        assert status == 0, told
        return told
