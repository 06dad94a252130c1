"""What is known of the backups of a hub: when the last one was made, when one was last carried off the machine, and what
went wrong last. A small file in the hub's directory; without it nothing is lost but the answer to when that was.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from hub.notefile import read_note_file


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
    return read_note_file(file, BackupNote)
