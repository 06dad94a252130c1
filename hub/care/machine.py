"""What can be read of the machine without rights and without a tool: temperature, memory, wear of an eMMC.

What a machine does not tell is None, which is no reason to be unwell: a virtual one has no temperature.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from medxz import limits

_KELVIN_LIKE_MAX: Final = 150.0  # what a sensor says that is not connected
_WEAR_STEP: Final = 10  # eMMC tells its wear in tenths


@dataclass(frozen=True, slots=True)
class Memory:
    """In bytes: what programs can still have, and what there is."""

    available: int
    total: int


@dataclass(frozen=True, slots=True)
class Wear:
    """Of a card or a disk: how much of its life is used up, where it tells that, and whether it says that it ends soon."""

    device: str
    percent: int | None
    is_ending: bool

    def how_bad(self) -> tuple[bool, int]:
        """By which the worst is found."""
        return self.is_ending, self.percent or 0


class Machine:
    """This one; `root` is another place for tests."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root: Final = root

    def temperature_c(self) -> float | None:
        """The hottest sensor's."""
        found = [
            int(text) / 1_000
            for path in self._root.glob("sys/class/thermal/thermal_zone*/temp")
            if (text := _read(path)) is not None and text.lstrip("-").isdecimal()
        ]
        return max((value for value in found if 0 < value < _KELVIN_LIKE_MAX), default=None)

    def memory(self) -> Memory | None:
        text = _read(self._root / "proc/meminfo") or ""
        values = {
            name: int(words[0]) * limits.KIB
            for name, _, rest in (line.partition(":") for line in text.splitlines())
            if (words := rest.split()) and words[0].isdecimal()
        }
        if "MemAvailable" not in values or "MemTotal" not in values:
            return None
        return Memory(values["MemAvailable"], values["MemTotal"])

    def wear(self) -> Wear | None:
        """Of the card that is worn most, of those that tell: eMMC does, an SD card does not."""
        found = [wear for path in self._root.glob("sys/block/mmcblk*/device") if (wear := _wear(path))]
        return max(found, key=Wear.how_bad, default=None)


def _wear(device: Path) -> Wear | None:
    """JEDEC eMMC 5: life_time has two estimates in tenths, 0x0b for "over"; pre_eol_info is 2 or 3 near the end."""
    try:
        tenths = [int(word, 16) for word in (_read(device / "life_time") or "").split()]
        ending = int(_read(device / "pre_eol_info") or "0", 16)
    except ValueError:
        return None
    if not any(tenths):
        return None
    return Wear(device.parent.name, max(tenths) * _WEAR_STEP, ending >= 2)


def _read(path: Path) -> str | None:
    try:
        return path.read_text("ascii").strip()
    except (OSError, ValueError):
        return None
