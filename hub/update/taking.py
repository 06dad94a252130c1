"""A bundle taken from where others can write to where root alone can: what is proved there is what is installed.

Whoever broke into the hub that fetched it, or has had the stick, must not choose another file of root's for it, nor change it
behind the proof. So it is copied and never moved: who has a file open goes on writing to it wherever it is moved. Refused:
what is no plain file, a link in the hub's folder, and more than a bundle can be or than there is room for.
"""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from medxz import limits
from medxz.program.errors import CommandFailed

# the hub serves meanwhile, and refuses nothing for it
_SPARE_BYTES: Final = 2 * limits.DISK_RESERVED_BYTES
_PIECE_BYTES: Final = limits.MIB
_HOW: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # of a pipe nobody waits for the other end


def take_brought(bundle: Path, place: Path) -> None:
    """A copy of what an operator or a stick brought."""
    try:
        _copied(os.open(bundle, _HOW), bundle.name, place)
    except OSError as error:
        raise _unreadable(bundle, place, error) from None


def take_fetched(folder: Path, name: str, place: Path) -> None:
    """A copy of what the hub fetched into its folder, and the hub's is gone."""
    try:
        where = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            _copied(os.open(name, _HOW | os.O_NOFOLLOW, dir_fd=where), name, place)
            os.unlink(name, dir_fd=where)
        finally:
            os.close(where)
    except OSError as error:
        raise _unreadable(folder / name, place, error) from None


def _copied(descriptor: int, name: str, place: Path) -> None:
    with os.fdopen(descriptor, "rb") as reading:
        held = os.fstat(descriptor)
        if not stat.S_ISREG(held.st_mode) or held.st_size > limits.RELEASE_BYTES_MAX:
            raise CommandFailed(
                f"{name} can't be a bundle", "take it again from where it comes", "bundle_refused"
            )
        free = shutil.disk_usage(place.parent).free
        if free < held.st_size + _SPARE_BYTES:
            raise CommandFailed(
                f"the update needs {(held.st_size + _SPARE_BYTES) >> 20} MiB of room, and {free >> 20} MiB are free",
                "make room on the hub's disk",
                "no_room",
            )
        place.unlink(missing_ok=True)
        target = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(target, "wb") as writing:
            _pieces(reading, writing, held.st_size)


def _pieces(reading: BinaryIO, writing: BinaryIO, size: int) -> None:
    """No more than it had when there was room for it."""
    while size > 0 and (piece := reading.read(min(_PIECE_BYTES, size))):
        writing.write(piece)
        size -= len(piece)


def _unreadable(bundle: Path, place: Path, error: OSError) -> CommandFailed:
    with suppress(OSError):
        place.unlink(missing_ok=True)
    return CommandFailed(f"{bundle} can't be read: {error.strerror}", "is the stick whole, is there room?")
