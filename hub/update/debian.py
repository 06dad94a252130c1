"""A Debian of somebody's own as the backend: the hub is a package there, and two packages take the place of two slots.

`A.deb` and `B.deb` lie in /var/lib/medxz-update: the one that is installed, and the one before or after it. A "restart" is
the exchange of the one for the other by dpkg, in a unit of its own (systemd/medxz-hub-exchange.service) that goes on after a
power cut. Refused: an update where the package that runs does not lie there, since nothing could be gone back to.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from email.parser import HeaderParser
from io import BytesIO
from pathlib import Path
from typing import Final

from hub.update.backend import BundleInfo, Progress, Slot, Slots
from hub.update.machine import Machine
from hub.update.package import read_signed
from medxz.program.errors import CommandFailed
from medxz.store.durable import sync

KEYRING: Final = "etc/medxz/updates.pem"
NAMES: Final = ("A", "B")
UNIT: Final = "medxz-hub-exchange.service"
_ASKING_S_MAX: Final = 60


class Debian:
    """The one of this machine."""

    pattern: Final = "*.deb"

    def __init__(self, root: Path) -> None:
        self._machine: Final = Machine(root)
        self._folder: Final = self._machine.folder
        self._keyring: Final = root / KEYRING

    def slots(self) -> Slots:
        runs = self._said("runs") or NAMES[0]
        here, other = (self._slot(name) for name in (runs, _other(runs)))
        here = Slot(here.name, here.starts, self._machine.image().version)
        return Slots(here, other, self._said("next") or runs)

    def inspect(self, bundle: Path) -> BundleInfo:
        return read_signed(bundle, self._keyring)

    def install(self, bundle: Path, progress: Progress) -> None:
        """Laid beside: nothing of what runs is touched before the exchange."""
        slots = self.slots()
        if (
            not self._deb(slots.booted.name).is_file()
            or _version_in(self._deb(slots.booted.name)) != slots.booted.version
        ):
            raise CommandFailed(
                f"the package of {slots.booted.version}, which runs, is not there to go back to",
                f"copy it to {self._deb(slots.booted.name)}, then update again",
                "no_way_back",
            )
        target = self._deb(slots.other.name)
        unfinished = target.with_suffix(".part")
        try:
            shutil.copyfile(bundle, unfinished)
            with unfinished.open("rb") as opened:
                os.fsync(opened.fileno())
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise CommandFailed(f"{target} can't be written: {error.strerror}", "make room there") from None
        unfinished.rename(target)
        self._bad(slots.other.name).unlink(missing_ok=True)
        self._say("next", slots.other.name)
        progress(100, 100)

    def confirm(self) -> None:
        self._bad(self.slots().booted.name).unlink(missing_ok=True)

    def reject(self) -> None:
        runs = self.slots().booted.name
        self._bad(runs).touch()
        self._say("next", _other(runs))

    def disown(self) -> None:
        runs = self.slots().booted.name
        self._bad(_other(runs)).touch()
        self._say("next", runs)

    def turn(self) -> None:
        self._say("next", _other(self.slots().booted.name))

    def restart(self) -> None:
        """Begin the exchange; it is another process's, since this program is what is exchanged."""
        self._say("exchanging", "")
        ended = subprocess.run(  # noqa: S603  a fixed program
            ["systemctl", "start", "--no-block", UNIT],  # noqa: S607  found as the system finds it
            check=False, capture_output=True, text=True, timeout=_ASKING_S_MAX,
        )  # fmt: skip
        if ended.returncode:
            (self._folder / "exchanging").unlink(missing_ok=True)
            raise CommandFailed(
                f"the packages are not exchanged: {ended.stderr.strip()}", f"see `systemctl status {UNIT}`"
            )

    def _slot(self, name: str) -> Slot:
        deb = self._deb(name)
        is_there = deb.is_file()
        return Slot(name, is_there and not self._bad(name).exists(), _version_in(deb) if is_there else None)

    def _deb(self, name: str) -> Path:
        return self._folder / f"{name}.deb"

    def _bad(self, name: str) -> Path:
        return self._folder / f"{name}.bad"

    def _said(self, name: str) -> str | None:
        try:
            text = (self._folder / name).read_text("ascii").strip()
        except OSError:
            return None
        return text if text in NAMES else None

    def _say(self, name: str, text: str) -> None:
        """It is on the disk when this ends: a script reads it after a power cut."""
        self._machine.make_folder()
        unfinished = self._folder / f".{name}"
        with unfinished.open("w", encoding="ascii") as opened:
            opened.write(f"{text}\n")
            opened.flush()
            os.fsync(opened.fileno())
        unfinished.rename(self._folder / name)
        sync(self._folder)


def _other(name: str) -> str:
    return NAMES[1 - NAMES.index(name)]


def _version_in(deb: Path) -> str | None:
    """Read out of what describes it, of which nothing is unpacked: dpkg-deb would give those files to root, and whoever
    takes updates may give no file to anybody.
    """
    told = subprocess.run(  # noqa: S603  a fixed program, and a file of root's
        ["dpkg-deb", "--ctrl-tarfile", str(deb)],  # noqa: S607  found as the system finds it
        check=False, capture_output=True, timeout=_ASKING_S_MAX,
    )  # fmt: skip
    if told.returncode:
        return None
    with tarfile.open(fileobj=BytesIO(told.stdout)) as described:
        control = described.extractfile("./control")
        assert control is not None, "dpkg-deb takes no package without one"
        return HeaderParser().parsestr(control.read().decode())["Version"]
