"""A hub's backup on its way to the cloud, piece by piece: sealed by the hub, and opened by nobody on the way."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medxz import limits
from medxz.wire.forms import Answer, Count, Message

BackupStamp = Annotated[str, Field(pattern="^[0-9]{8}T[0-9]{6}Z$")]


class BackupPiece(Message):
    """What stands in a file of a backup from `offset` on, in base64url; empty to ask how much of it there is."""

    backup: BackupStamp
    file: Literal["hub.db", "audit.db", "manifest.json"]
    offset: Count
    content: Annotated[str, Field(max_length=limits.BACKUP_PIECE_CHARS_MAX, pattern="^[A-Za-z0-9_-]*$")] = ""


class BackupAnswer(Answer):
    """How much of that file there is now, and whether the backup is whole."""

    size: int
    whole: bool
