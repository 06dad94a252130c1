"""Settings that came from the fleet's operator: kept beside the store, in effect from the next start.

Whatever the hub's own file, environment, credentials or flags say stands above them, so that who is on the spot is right.
Refused: every setting but those that are named in `RingSettings`, within its bounds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from hub.notefile import read_note_file, write_note_file
from medxz.wire import RingSettings

if TYPE_CHECKING:
    from pathlib import Path

    from hub.config import Settings


class Remote(BaseModel):
    """What the cloud said last. `revision`: 0 where it never said anything."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    revision: int = 0
    settings: RingSettings = RingSettings()


def read_remote(file: Path) -> Remote:
    """What counts from this start on."""
    return read_note_file(file, Remote)


def keep_remote(file: Path, remote: Remote) -> None:
    """For the next start; OSError where it can't be kept."""
    if read_remote(file) != remote:
        write_note_file(file, remote)


def with_remote(settings: Settings, remote: Remote) -> Settings:
    """The hub's settings, with the operator's where it has none of its own."""
    told = remote.settings.model_dump(exclude_none=True)
    own = settings.model_fields_set
    return settings.model_copy(update={name: value for name, value in told.items() if name not in own})
