"""What a backup says of itself: `manifest.json`, written last, without which a directory is none.

In clear it says which hub it is of, when it was made, with which recovery key it opens, and which files it has, so
that who carries it can see that it is whole. The rest is sealed, once by the recovery key and once by the store's own:
the key of the store, the same list, and what else a new box needs. Refused: a manifest that was altered, or whose
clear part is another's, or names files elsewhere.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hub.backup.recovery_key import name_of, sealing_key
from hub.recovery.keepsake import KeptShape
from medxz.errors import StoreKeyWrong
from medxz.ids import UUID_PATTERN
from medxz.program.backup_files import MANIFEST, File
from medxz.program.errors import CommandFailed
from medxz.store.authority.secrets import Seal

_BYTES_MAX: Final = 4 * 1024 * 1024


class Contents(BaseModel):
    """What is sealed. `store_key` in hex; `shapes`: how the hub's own files are laid out, for where they are damaged."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    hub_id: str
    clinic_id: str
    at: str
    epoch: str
    last_seq: int
    version: str
    store_key: str
    files: Sequence[File]
    settings: str | None = None
    shapes: Mapping[str, KeptShape] = {}

    @property
    def key(self) -> bytes:
        return bytes.fromhex(self.store_key)


class Sealed(BaseModel):
    """The same twice, in base64."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    recovery: str
    store: str


class Manifest(BaseModel):
    """`recovery_key` is its name alone (recovery_key.name_of)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: Literal[1] = 1
    hub_id: str = Field(pattern=f"^{UUID_PATTERN}$")
    at: str
    recovery_key: str
    files: Sequence[File]
    sealed: Sealed

    @classmethod
    def of(cls, contents: Contents, recovery_key: str) -> Self:
        return cls(
            hub_id=contents.hub_id,
            at=contents.at,
            recovery_key=name_of(recovery_key),
            files=contents.files,
            sealed=Sealed(
                recovery=_seal(sealing_key(recovery_key), contents),
                store=_seal(contents.key, contents),
            ),
        )

    @property
    def size(self) -> int:
        return sum(file.bytes for file in self.files)

    def open(self, recovery_key: str) -> Contents:
        """By the recovery key, wherever the box is."""
        if name_of(recovery_key) != self.recovery_key:
            raise CommandFailed(
                f"this backup opens with another recovery key: {self.recovery_key}, not {name_of(recovery_key)}",
                "each hub has its own: look for that of this hub",
                "recovery_key",
            )
        return self._opened(sealing_key(recovery_key), self.sealed.recovery)

    def open_by_store_key(self, key: bytes) -> Contents | None:
        """On the box that it was made on; None where this is another store's key."""
        try:
            return self._opened(key, self.sealed.store)
        except CommandFailed:
            return None

    def _opened(self, key: bytes, sealed: str) -> Contents:
        try:
            text = Seal(key).open(self.hub_id, MANIFEST, base64.b64decode(sealed, validate=True))
            contents = Contents.model_validate_json(text)
        except (StoreKeyWrong, ValueError):
            contents = None
        if contents is None or (contents.at, contents.files) != (self.at, self.files):
            raise CommandFailed("this backup's manifest was altered", "take another backup", "altered")
        return contents


def read_manifest(backup: Path) -> Manifest:
    """CommandFailed where there is none, or none of ours."""
    try:
        with (backup / MANIFEST).open("rb") as opened:
            return Manifest.model_validate_json(opened.read(_BYTES_MAX))
    except OSError as error:
        raise CommandFailed(
            f"there is no backup in {backup}: {MANIFEST}: {error.strerror}", "name the folder of a backup"
        ) from None
    except ValidationError:
        raise CommandFailed(
            f"{backup / MANIFEST} is no manifest of a backup", "take another backup"
        ) from None


def _seal(key: bytes, contents: Contents) -> str:
    return base64.b64encode(
        Seal(key).seal(contents.hub_id, MANIFEST, contents.model_dump_json().encode())
    ).decode()
