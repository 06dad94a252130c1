"""The keepsake: what makes a hub that hub, in a small file beside its store, so that damage of the log does not lose it.

Its ids, its secrets (the key of its certificate and its claim among them), and how its files are laid out. It is sealed
with the store's key: one that opens also tells that the key is right, which a damaged store can't. The store is what
counts; the keepsake is written anew whenever it says something else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from medxz.errors import StoreKeyWrong
from medxz.store.authority.secrets import Seal
from medxz.store.durable import sync
from medxz.store.shape import Shape

_ABOUT: Final = ("", "keepsake")
_BYTES_MAX: Final = 4 * 1024 * 1024


class KeptShape(BaseModel):
    """Of one file: the salt of its keys, and where each table begins."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    salt: str = ""
    roots: Mapping[str, int] = {}

    @classmethod
    def of(cls, shape: Shape) -> KeptShape:
        return cls(salt=shape.salt, roots=shape.roots)

    @property
    def salt_bytes(self) -> bytes | None:
        return bytes.fromhex(self.salt) or None


class Kept(BaseModel):
    """What is in it. `secrets` are in hex."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    server_id: str
    clinic_id: str
    secrets: Mapping[str, str]
    shapes: Mapping[str, KeptShape]

    def shape(self, file: str) -> KeptShape:
        return self.shapes.get(file, KeptShape())


def read_keepsake(file: Path, key: bytes) -> Kept | None:
    """None where there is none, or it does not open with this key, or is damaged."""
    try:
        with file.open("rb") as opened:
            sealed = opened.read(_BYTES_MAX)
        return Kept.model_validate_json(Seal(key).open(*_ABOUT, sealed))
    except (OSError, StoreKeyWrong, ValidationError):
        return None


def write_keepsake(file: Path, key: bytes, kept: Kept) -> None:
    """In one step: there is the one before or this one. What is there already is not written again."""
    if read_keepsake(file, key) == kept:
        return
    unfinished = file.with_name(file.name + ".new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(Seal(key).seal(*_ABOUT, kept.model_dump_json().encode()))
        opened.flush()
        os.fsync(opened.fileno())
    unfinished.rename(file)
    sync(file.parent)
