"""Files that are no databases, and the names of those that are: on the disk before anybody relies on them.

A new file appears under its name whole or not at all, and never in place of another. Refused: to put a database in its
place that has a part of itself in a write-ahead log beside it.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from medxz.errors import StoreError


def write_new(file: Path, content: bytes) -> None:
    """A new file for its owner alone; OSError (FileExistsError where there is one), and then nothing has changed."""
    unfinished = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            os.fchmod(opened.fileno(), 0o600)  # whatever the umask is
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        os.link(unfinished, file)  # a rename would take the place of what is there
    finally:
        unfinished.unlink()
    sync(file.parent)


def put_in_place(unfinished: Path, place: Path) -> None:
    """Give a database that was made and closed its name, which survives a power cut from now on."""
    log = unfinished.with_name(unfinished.name + "-wal")
    if log.exists() and log.stat().st_size:
        raise StoreError(f"{unfinished} was not written to its end: is the disk full?")
    try:
        unfinished.rename(place)
        sync(place.parent)
    except OSError as error:
        raise StoreError(f"{place} can't be put in its place: {error.strerror}") from None


def make_directory(folder: Path) -> None:
    """A directory for its owner alone where there is none, and those above it that are missing."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(mode=0o700, exist_ok=True)
        sync(one.parent)


def sync(place: Path) -> None:
    """Bring to the disk what was written to a file, or which names a directory has."""
    descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
