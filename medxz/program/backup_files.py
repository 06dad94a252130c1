"""A backup's files as they lie on a medium: how long each is, and its SHA-256 by what the medium gives back.

Where a backup lies they are held against the list in its manifest, which is in clear: nobody needs a key for that.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from medxz import limits
from medxz.program.errors import CommandFailed

MANIFEST: Final = "manifest.json"
_READ_BYTES: Final = limits.MIB


class File(BaseModel):
    """One file of a backup, as it lies there: in its folder and nowhere else."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,31}\.[a-z]{1,8}$")
    bytes: int
    sha256: str


class Listed(BaseModel):
    """What a manifest says in clear of what belongs to it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    hub_id: str
    files: Sequence[File]


def describe(path: Path, name: str) -> File:
    """A file as it lies on the medium, not as it was cached on the way there."""
    digest, size = hashlib.sha256(), 0
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb", buffering=0) as opened:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            while part := opened.read(_READ_BYTES):
                digest.update(part)
                size += len(part)
    except OSError as error:
        raise CommandFailed(f"{path} can't be read: {error.strerror}", "look at that disk") from None
    return File(name=name, bytes=size, sha256=digest.hexdigest())


def check_file(backup: Path, file: File) -> None:
    """CommandFailed where it is not what was written, by what the medium gives back."""
    if describe(backup / file.name, file.name) != file:
        raise CommandFailed(
            f"{backup / file.name} is not what was written there",
            "take another medium: this one forgets",
            "damaged",
        )
