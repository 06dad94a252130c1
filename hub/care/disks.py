"""How worn the disks of a PC are, as smartmontools tells it: SATA, NVMe and what of USB answers.

`smartctl` needs rights that the hub does not have. With the package a nightly unit asks it as root and lays its answers
down; whoever runs a hub without the package may have those rights, and then it is asked here. No tool, no right, no
answer or one that is not understood: the disk does not tell, which is no error.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from hub.care.machine import Wear
from medxz import limits

ANSWER_S_MAX: Final = 10.0
DISKS_MAX: Final = 8
LAID_DOWN: Final = "run/medxz-wear"
_ANSWER_BYTES_MAX: Final = limits.MIB
_DISK: Final = re.compile(r"sd[a-z]{1,3}|nvme[0-9]{1,3}n[0-9]{1,3}")
# attributes of SATA disks whose normalised value goes from 100 down to what is left of its life
_LIFE_LEFT: Final = (231, 233, 202, 169, 177, 173)
_PERCENT: Final = 100


class _Status(msgspec.Struct):
    passed: bool


class _Used(msgspec.Struct):
    current_percent: int


class _Nvme(msgspec.Struct):
    percentage_used: int | None = None


class _Attribute(msgspec.Struct):
    id: int
    value: int


class _Attributes(msgspec.Struct):
    table: list[_Attribute] = []


class _Told(msgspec.Struct):
    """What we read of `smartctl --json -A -H`."""

    smart_status: _Status | None = None
    endurance_used: _Used | None = None
    nvme_smart_health_information_log: _Nvme | None = None
    ata_smart_attributes: _Attributes | None = None


def disks_worn(root: Path = Path("/")) -> Wear | None:
    """Of the disk that is worn most, of those that tell. It may take a while: not for the loop."""
    found = [wear for name in _disks(root) if (wear := wear_of(name, _answer(root, name))) is not None]
    return max(found, key=Wear.how_bad, default=None)


def wear_of(name: str, answer: bytes) -> Wear | None:
    """What an answer comes to."""
    try:
        told = msgspec.json.decode(answer, type=_Told)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    percent, status = _percent(told), told.smart_status
    if percent is None and status is None:
        return None
    return Wear(name, percent, status is not None and not status.passed)


def _percent(told: _Told) -> int | None:
    if told.endurance_used is not None:
        return told.endurance_used.current_percent
    if told.nvme_smart_health_information_log is not None:
        return told.nvme_smart_health_information_log.percentage_used
    attributes = told.ata_smart_attributes
    values = {each.id: each.value for each in attributes.table} if attributes is not None else {}
    left = next((values[number] for number in _LIFE_LEFT if 0 <= values.get(number, -1) <= _PERCENT), None)
    return None if left is None else _PERCENT - left


def _disks(root: Path) -> Iterator[str]:
    """Those that are built in: a stick comes and goes."""
    names = sorted(path.name for path in root.glob("sys/block/*") if _DISK.fullmatch(path.name))
    for name in names[:DISKS_MAX]:
        try:
            removable = (root / "sys/block" / name / "removable").read_text("ascii").strip()
        except (OSError, ValueError):
            removable = "0"
        if removable != "1":
            yield name


def _answer(root: Path, name: str) -> bytes:
    try:
        with (root / LAID_DOWN / f"{name}.json").open("rb") as opened:
            return opened.read(_ANSWER_BYTES_MAX)
    except OSError:
        return _asked(root / "dev" / name)


def _asked(device: Path) -> bytes:
    program = shutil.which("smartctl")
    if program is None:
        return b""
    try:  # its status has a bit for each thing that is not well: what it says counts
        done = subprocess.run(  # noqa: S603  a program of the system's, and a name that the kernel gave
            [program, "--json", "-A", "-H", str(device)],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=ANSWER_S_MAX, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stdout[:_ANSWER_BYTES_MAX]
