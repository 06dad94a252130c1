"""A machine whose clock of the day is set by a test: libfaketime gives each process one of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medxz.clock import SystemClock

LIBRARIES = ("/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib/faketime/libfaketime.so.1")


def library() -> str:
    found = [str(path) for pattern in LIBRARIES for path in Path("/").glob(pattern.lstrip("/"))]
    assert found, "libfaketime is not here: scripts/system-packages"
    return found[0]


class Machine:
    """A machine's clock of the day, which is set while programs run on it. Nothing else of time is touched."""

    def __init__(self, folder: Path, name: str) -> None:
        self._file = folder / f"{name}.time"
        self.set(0)

    def set(self, off_s: int) -> None:
        """Off by so much from now on."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{off_s:+d}\n")
        new.rename(self._file)

    def boot_in_1970(self) -> None:
        self.set(60 - SystemClock().now_ms() // 1_000)

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            "LD_PRELOAD": library(),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
