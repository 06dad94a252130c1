"""A machine with a disk for its records: a file that the kernel shows as one, which can be pulled out."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from tests.appliance.nspawn import CannotNspawn
from tests.fleet.boxes import Box
from tests.lan.hosts import Host

DISK: Final = "/dev/records"
_BYTES: Final = 1 << 30


class DiskBox(Box):
    """It sees the disk as DISK, from its next start on only while it is plugged in."""

    def __init__(self, folder: Path, host: Host, key: Path) -> None:
        super().__init__(folder, host, key)
        self.is_plugged_in = True
        self._image: Final = folder / "records.img"
        self._device = ""

    def start(self) -> DiskBox:
        if self.is_plugged_in:
            if not self._image.exists():
                with self._image.open("xb") as disk:
                    disk.truncate(_BYTES)
                _done("mkfs.ext4", "-q", "-F", self._image)
            self._device = _done("losetup", "--find", "--show", self._image)
        super().start()
        return self

    def stop(self) -> None:
        super().stop()
        device, self._device = self._device, ""
        if device:
            _done("losetup", "--detach", device)

    def _may(self) -> list[str]:
        bound = [f"--bind={self._device}:{DISK}"] if self._device else []
        return [*super()._may(), *bound]


def _done(*command: object) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode:
        raise CannotNspawn(f"{words[0]}: {done.stderr.strip()}")
    return done.stdout.strip()
