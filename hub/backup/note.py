"""What is known of the backups of a hub: when the last one was made, when one was last carried off the machine, and what
went wrong last. A small file in the hub's directory; without it nothing is lost but the answer to when that was.
"""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from medxz.store.durable import sync

_BYTES_MAX = 64 * 1024


class Trouble(BaseModel):
    """What went wrong, and when. Gone with the next backup that goes well."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    at: str
    message: str
    hint: str = ""


class BackupNote(BaseModel):
    """Times are of backups, not of notes: what was carried is as old as the backup is.

    `owed`: the last one was to be in the cloud, which could not be reached; it is tried again.
    `key_shown`: somebody has seen the recovery key, and can have written it down.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    made_at: str | None = None
    bytes: int = 0
    ops: int = 0
    took_s: float = 0.0
    lies_in: str | None = None
    carried_at: str | None = None
    carried_to: str | None = None
    owed: bool = False
    key_shown: bool = False
    trouble: Trouble | None = None


def read_note(file: Path) -> BackupNote:
    try:
        with file.open("rb") as opened:
            return BackupNote.model_validate_json(opened.read(_BYTES_MAX))
    except (OSError, ValidationError):
        return BackupNote()


def write_note(file: Path, note: BackupNote) -> None:
    """In one step; OSError where it can't be."""
    unfinished = file.with_name(file.name + ".new")
    with unfinished.open("wb") as opened:
        opened.write(note.model_dump_json(indent=1).encode())
        opened.flush()
        os.fsync(opened.fileno())
    unfinished.rename(file)
    sync(file.parent)
