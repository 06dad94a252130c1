"""RAUC as the backend, by its command line, which hands on to its service; GRUB and U-Boot are its own affair.

What it says is read, and told in our words: who runs a clinic has no use for the names of its functions.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from hub.update.backend import BundleInfo, BundleRefused, Progress, Slot, Slots
from medxz.program.errors import CommandFailed

ASKING_S_MAX: Final = 60
INSTALLING_S_MAX: Final = 3_600
_PERCENT: Final = re.compile(r"^\s*(\d{1,3})%")
_SAID_CHARS_MAX: Final = 300
_UNTRUSTED: Final = re.compile(r"signature|certificate|verif|keyring|identity", re.IGNORECASE)
_DAMAGED: Final = re.compile(r"verity|truncat|squashfs|mount|hash|invalid|magic|size|read", re.IGNORECASE)


class Rauc:
    """The one of this machine."""

    pattern: Final = "*.raucb"

    def __init__(self, root: Path) -> None:
        self._configuration: Final = root / "etc/rauc/system.conf"

    def slots(self) -> Slots:
        told = self._json("status", "--detailed", "--output-format=json")
        found = {name: slot for each in told["slots"] for name, slot in each.items() if slot.get("bootname")}
        booted = told["booted"]
        if len(found) != 2 or booted not in {slot["bootname"] for slot in found.values()}:
            raise CommandFailed(
                "RAUC does not know which of two slots this machine runs from",
                "is this a hub's image? see docs/updates.md; `rauc status` shows what it knows",
            )
        here = next(_slot(slot) for slot in found.values() if slot["bootname"] == booted)
        other = next(_slot(slot) for slot in found.values() if slot["bootname"] != booted)
        primary = found.get(told.get("boot_primary") or "", {}).get("bootname")
        return Slots(here, other, primary or here.name)

    def inspect(self, bundle: Path) -> BundleInfo:
        asked = ("--conf", str(self._configuration), "info", "--output-format=json", str(bundle))
        ended = _run(asked)
        if ended.returncode:
            raise _refused(bundle, ended.stderr or ended.stdout)
        told = _document(ended.stdout)
        return BundleInfo(str(told["version"]), str(told["compatible"]), str(told.get("build") or ""))

    def install(self, bundle: Path, progress: Progress) -> None:
        said: list[str] = []
        with subprocess.Popen(  # noqa: S603  a fixed program, and a path that was looked at
            ["rauc", "install", str(bundle)],  # noqa: S607  found as the system finds it
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        ) as running:  # fmt: skip
            assert running.stdout is not None
            for line in running.stdout:
                said.append(line.strip())
                if found := _PERCENT.match(line):
                    progress(int(found[1]), 100)
            status = running.wait(INSTALLING_S_MAX)
        if status:
            raise _refused(bundle, "\n".join(said))

    def confirm(self) -> None:
        self._done("status", "mark-good", "booted")

    def reject(self) -> None:
        self._done("status", "mark-bad", "booted")
        self._done("status", "mark-active", "other")

    def disown(self) -> None:
        self._done("status", "mark-bad", "other")
        self._done("status", "mark-active", "booted")

    def turn(self) -> None:
        self._done("status", "mark-active", "other")

    def restart(self) -> None:
        ended = subprocess.run(["systemctl", "reboot"], check=False, capture_output=True, text=True)  # noqa: S607
        if ended.returncode:
            raise CommandFailed(f"the machine does not restart: {_short(ended.stderr)}", "restart it by hand")

    def _json(self, *arguments: str) -> dict[str, Any]:
        return _document(self._done(*arguments))

    def _done(self, *arguments: str) -> str:
        ended = _run(arguments)
        if ended.returncode:
            said = _short(ended.stderr or ended.stdout)
            raise CommandFailed(f"RAUC does not answer: {said}", "see `systemctl status rauc`")
        return ended.stdout


def _run(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603  a fixed program
            ["rauc", *arguments],  # noqa: S607  found as the system finds it
            check=False, capture_output=True, text=True, errors="replace", timeout=ASKING_S_MAX,
        )  # fmt: skip
    except FileNotFoundError:
        raise CommandFailed("there is no RAUC on this machine", "see docs/updates.md") from None
    except subprocess.TimeoutExpired:
        raise CommandFailed("RAUC does not answer", "see `systemctl status rauc`") from None


def _document(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        raise CommandFailed("RAUC says what is not understood here", "is it the image's own?") from None
    return dict(found)


def _slot(told: dict[str, Any]) -> Slot:
    status = told.get("slot_status") or {}
    version = (status.get("bundle") or {}).get("version")
    return Slot(str(told["bootname"]), told.get("boot_status") == "good", version)


def _refused(bundle: Path, said: str) -> BundleRefused:
    """The last line that says why, in our words where it is one of the usual."""
    lines = [line for line in said.splitlines() if line.strip() and not _PERCENT.match(line)]
    last = _short(
        next(
            (line for line in reversed(lines) if "rror" in line or "ailed" in line),
            lines[-1] if lines else "?",
        )
    )
    if "ompatible" in said and "match" in said:
        return BundleRefused(
            f"{bundle.name} is for another kind of machine: {last}", "take the bundle for this one"
        )
    if _UNTRUSTED.search(last):
        return BundleRefused(
            f"{bundle.name} is not signed by whom this hub trusts, or was altered: {last}",
            "take it again from where it comes; nothing was changed here",
        )
    if _DAMAGED.search(last):
        return BundleRefused(
            f"{bundle.name} is damaged or was altered: {last}",
            "take it again; what runs here was not touched",
        )
    return BundleRefused(f"{bundle.name} was not installed: {last}", "what runs here was not touched")


def _short(text: str) -> str:
    return " ".join(text.split())[-_SAID_CHARS_MAX:]
