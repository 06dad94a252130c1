"""What installs a system image beside the one that runs, and says which of the two starts next.

One promise holds for every backend: what runs is never written to, and until an installation has ended well the next
start is into what runs now. RAUC (hub/update/rauc.py) keeps it for GRUB and U-Boot alike, dpkg (hub/update/debian.py) for
a machine on which the hub is a package; the Pi's own tryboot would be another backend.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from medxz.program.errors import CommandFailed

Progress = Callable[[int, int], None]


class BundleRefused(CommandFailed):
    """A file that is no bundle for this machine, or that nobody whom it trusts has signed."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message, hint, "bundle_refused")


@dataclass(frozen=True, slots=True)
class Slot:
    """One of the two. `name` is the bootloader's; `starts`: whether the bootloader would start it."""

    name: str
    starts: bool
    version: str | None


@dataclass(frozen=True, slots=True)
class Slots:
    """Which one runs, and which one it is exchanged with. `next` starts next."""

    booted: Slot
    other: Slot
    next: str


@dataclass(frozen=True, slots=True)
class BundleInfo:
    """What a bundle says of itself, once its signature was proved."""

    version: str
    compatible: str
    build: str


class Backend(Protocol):
    """One machine's. `pattern`: what its bundles are called."""

    @property
    def pattern(self) -> str: ...

    def slots(self) -> Slots: ...

    def inspect(self, bundle: Path) -> BundleInfo:
        """What it is; BundleRefused where its signature is not that of who this machine trusts."""
        ...

    def install(self, bundle: Path, progress: Progress) -> None:
        """Write it into the slot that does not run, and let that start next; BundleRefused, CommandFailed."""
        ...

    def confirm(self) -> None:
        """What runs is good: it starts from now on."""
        ...

    def reject(self) -> None:
        """What runs is not good: the other one starts next."""
        ...

    def disown(self) -> None:
        """What runs is good, and the other one is not: it starts no more."""
        ...

    def turn(self) -> None:
        """Let the other one start next, and nothing is said of which is good."""
        ...

    def restart(self) -> None:
        """Start the machine anew. Comes back before it does."""
        ...
