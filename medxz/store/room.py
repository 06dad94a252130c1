"""Room on the disk: refused in time, so that a disk that fills is never full.

What is kept back lets what was acknowledged be copied into its file, the audit be written and an operator be let in.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from medxz import limits
from medxz.errors import StorageFull


@dataclass(frozen=True, slots=True)
class Room:
    """Of the disk that a folder lies on, in bytes: what is free for this process, and what is kept back of it."""

    total: int
    free: int
    reserved: int

    @property
    def is_full(self) -> bool:
        return self.free < self.reserved


def room_of(folder: Path) -> Room:
    """A system call of a microsecond."""
    found = os.statvfs(folder)
    total = found.f_blocks * found.f_frsize
    reserved = min(limits.DISK_RESERVED_BYTES, total // limits.DISK_RESERVED_PART)
    return Room(total, found.f_bavail * found.f_frsize, reserved)


def refuse_without_room(folder: Path) -> None:
    """StorageFull where what is free is kept back."""
    if room_of(folder).is_full:
        raise StorageFull(
            "the server's disk is nearly full: nothing of this was stored",
            retry_after_s=limits.STORAGE_FULL_RETRY_S,
        )
