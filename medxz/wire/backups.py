"""A hub's backup on its way to the cloud, piece by piece, and back: sealed by the hub, and opened by nobody else."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from medxz import limits
from medxz.ids import UUID_PATTERN
from medxz.wire.forms import Answer, Count, Message

BACKUP_STAMP_PATTERN: Final = "[0-9]{8}T[0-9]{6}Z"
BACKUP_ID_PATTERN: Final = f"{BACKUP_STAMP_PATTERN}-{UUID_PATTERN}"
"""When it was made, and by which hub."""

BACKUP_FILES: Final = ("hub.db", "audit.db", "manifest.json")

BackupStamp = Annotated[str, Field(pattern=f"^{BACKUP_STAMP_PATTERN}$")]


class BackupPiece(Message):
    """What stands in a file of a backup from `offset` on, in base64url; empty to ask how much of it there is."""

    backup: BackupStamp
    file: Literal["hub.db", "audit.db", "manifest.json"]
    offset: Count
    content: Annotated[str, Field(max_length=limits.BACKUP_PIECE_CHARS_MAX, pattern="^[A-Za-z0-9_-]*$")] = ""


class BackupFile(Answer):
    """A file of a backup, as its manifest lists it."""

    name: str
    bytes: int
    sha256: str


class LaidDown(Answer):
    """A whole backup: of which hub, and when it was made. Its manifest is a file of it that is listed nowhere."""

    id: str
    hub_id: str
    made_at: str
    files: list[BackupFile]


class BackupsAnswer(Answer):
    """The newest first."""

    backups: list[LaidDown]
    next_cursor: str | None


class BackupAnswer(Answer):
    """How much of that file there is now, and whether the backup is whole."""

    size: int
    whole: bool
