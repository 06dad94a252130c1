"""A container on which packages can be installed: this machine's own Debian, as its dpkg knows it, that may be changed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.appliance.nspawn import CannotNspawn, Container


class Debian(Container):
    """What is written to its /usr lies beside it and is gone with it."""

    def dpkg(self, *arguments: object, **environ: str) -> str:
        """A run of dpkg in there; what it said."""
        variables = [f"{name}={value}" for name, value in environ.items()]
        done = self.run("env", "DEBIAN_FRONTEND=noninteractive", *variables, "dpkg", *arguments)
        return done.stdout + done.stderr

    def is_enabled(self, unit: str) -> bool:
        return self.run("systemctl", "is-enabled", unit, check=False).stdout.strip() == "enabled"

    def left_behind(self) -> list[str]:
        """Whatever is still there of a package, by name."""
        found = self.run("find", "/etc", "/usr", "/var", "-xdev", "-name", "*medxz*", "-print").stdout
        return [path for path in found.splitlines() if not path.startswith("/var/log")]

    def _mounts(self) -> list[str]:
        return [f"--overlay=/usr:{self.overlay}:/usr"]

    def _install(self) -> None:
        if not Path("/usr/bin/python3.11").exists() or not Path("/var/lib/dpkg/status").exists():
            raise CannotNspawn("the package is for a Debian with Python 3.11")
        # a machine that is a container itself may have it say that nothing is to be started
        (self.overlay / "sbin").mkdir(parents=True)
        (self.overlay / "sbin/policy-rc.d").write_text("")
        for folder in ("var/lib/dpkg", "etc/alternatives", "etc/dpkg"):
            shutil.copytree(f"/{folder}", self.root / folder, symlinks=True, dirs_exist_ok=True)
        (self.root / "var/lib/dpkg/statoverride").write_text("")  # of users that are not in there
        (self.root / "var/log").mkdir(parents=True, exist_ok=True)


def next_version(deb: Path, version: str, folder: Path) -> Path:
    """The same package, as if it were a newer one."""
    unpacked, made = folder / "unpacked", folder / f"{version}.deb"
    subprocess.run(["dpkg-deb", "--raw-extract", deb, unpacked], check=True)
    control = unpacked / "DEBIAN/control"
    lines = control.read_text().splitlines(keepends=True)
    control.write_text(
        "".join(f"Version: {version}\n" if line.startswith("Version:") else line for line in lines)
    )
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Znone", "--build", unpacked, made],
        check=True,
        capture_output=True,
    )
    return made
