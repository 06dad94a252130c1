"""The damaged files of a hub, set aside: one directory each, with the time in its name and a note of what happened.

`damaged/20251121T083015Z-hub.db/` has the file, its write-ahead log, and `incident.json`. Nothing in it is ever
changed. SET_ASIDE_MAX says how many are kept; none of these is let go for it: the newest, one of which something is
still being read, and one of which something is not in the cloud yet. A hub that has no cloud lets none go.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from hub.recovery.keepsake import KeptShape
from medxz import limits
from medxz.clock import format_time
from medxz.store.durable import sync

SET_ASIDE_MAX: Final = 3
_NOTE: Final = "incident.json"

State = Literal["begun", "refilling", "done"]


class Incident(BaseModel):
    """What happened to one file.

    `begun`: it is to be set aside. `refilling`: a new one is in its place. `done`: everything that can be had is in
    that one. `ops` were read out of the damaged file, `through` is the greatest server_seq among them. `shape` is how
    that file was laid out when it was well.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    file: str
    found: str
    at: str
    state: State = "begun"
    shape: KeptShape = KeptShape()
    epoch: str | None = None
    rows: int = 0
    is_read: bool = False
    ops: int = 0
    through: int = 0
    pages_damaged: int = 0
    rows_damaged: int = 0
    done_at: str | None = None


class Incidents:
    """Those of one hub, oldest first."""

    def __init__(self, data: Path) -> None:
        self._folder: Final = data / "damaged"

    def folder_of(self, incident: Incident) -> Path:
        return self._folder / incident.name

    def all(self) -> list[Incident]:
        """A note that can't be read is nobody's: what lies beside it stays."""
        found: list[Incident] = []
        for note in sorted(self._folder.glob(f"*/{_NOTE}")):
            try:
                found.append(Incident.model_validate_json(note.read_bytes()))
            except (OSError, ValidationError):
                continue
        return sorted(found, key=lambda incident: incident.name)

    def begin(self, file: str, found: str, at_ms: int) -> Incident:
        """Note that this file is to be set aside: from here on it is nobody's store any more. One of a file at a time."""
        for incident in self.all():
            if incident.state == "begun" and incident.file == file:
                return incident
        at = format_time(at_ms)
        stamp = re.sub(r"[-:]|\.\d+", "", at)
        taken = {path.name for path in self._folder.glob("*")} if self._folder.is_dir() else set()
        names = (f"{stamp}-{file}" + (f".{again}" if again else "") for again in range(len(taken) + 1))
        incident = Incident(
            name=next(name for name in names if name not in taken), file=file, found=found, at=at
        )
        self.folder_of(incident).mkdir(parents=True, mode=0o700)
        sync(self._folder.parent)
        sync(self._folder)
        self.note(incident)
        return incident

    def note(self, incident: Incident) -> None:
        """Write down what is known of it now."""
        folder = self.folder_of(incident)
        unfinished = folder / f"{_NOTE}.new"
        with unfinished.open("wb") as opened:
            opened.write(incident.model_dump_json(indent=1).encode())
            opened.flush()
            os.fsync(opened.fileno())
        unfinished.rename(folder / _NOTE)
        sync(folder)

    def bytes_of(self, incident: Incident) -> int:
        """How much room it takes; none where somebody has taken it away."""
        try:
            return sum(path.stat().st_size for path in self.folder_of(incident).iterdir() if path.is_file())
        except OSError:
            return 0

    def let_go(self) -> list[Incident]:
        """Remove the oldest of more than SET_ASIDE_MAX that are done; to be asked for when the cloud has everything."""
        kept = self.all()
        gone: list[Incident] = []
        for incident in kept[:-1]:
            if len(kept) - len(gone) <= SET_ASIDE_MAX:
                break
            if incident.state == "done":
                shutil.rmtree(self.folder_of(incident))
                gone.append(incident)
        return gone

    def told(self, incident: Incident) -> dict[str, Any]:
        """As `medxz-hub status --json` says it."""
        return {
            **incident.model_dump(exclude={"name", "is_read", "shape"}),
            "lies_in": str(self.folder_of(incident)),
            "bytes": self.bytes_of(incident),
        }

    def in_words(self, incident: Incident) -> str:
        mib = self.bytes_of(incident) // limits.MIB
        return (
            f"{incident.file} was found damaged at {incident.at} ({incident.found});"
            f" it lies in {self.folder_of(incident)} ({mib} MiB)"
        )
