"""What `medxz-hub restore` does: a backup found on a medium or fetched from the cloud, opened, and brought back or taken in.

Refused: a backup without what opens it, and one that the cloud says is another hub's than it is.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hub.backup.folder import find_backup
from hub.backup.from_cloud import all_backups, choose, claim_of, cloud_of, fetch, forget
from hub.backup.noting import note_restored
from hub.backup.recovery_key import read_recovery_key
from hub.backup.restoring import Opened, open_backup, restore
from hub.backup.taking_in import take_in
from hub.backup.uploading import CLOUD
from hub.storage import locked
from medxz.clock import Clock, SystemClock
from medxz.ids import Ids, RandomIds
from medxz.program.errors import CommandFailed
from medxz.wire import LaidDown

if TYPE_CHECKING:
    from hub.ask import Json
    from hub.backup.checking import Stage
    from hub.config import HubPlaces

_KEY_BYTES_MAX: Final = 4_096


@dataclass(frozen=True, slots=True)
class Bringing:
    """One command's. `typed` is the recovery key, where it was given; else `ask` for it, which may give none."""

    places: HubPlaces
    typed: str | None
    ask: Callable[[str], str | None]
    progress: Callable[[], AbstractContextManager[Stage]]
    clock: Clock = field(default_factory=SystemClock)
    ids: Ids = field(default_factory=RandomIds)

    def from_medium(self, place: Path) -> Json:
        """The backup that is meant by this folder."""
        return self._brought_back(self._opened(find_backup(place)))

    def from_cloud(self, wanted: str | None) -> Json:
        """That one of the cloud's, or its newest: brought back where it is this hub's, else taken in."""
        if self.places.data.is_dir():
            with locked(self.places):  # before anything is fetched: a hub that runs is let be
                pass
        fetched, told, own = asyncio.run(self._fetched(wanted))
        opened = self._opened(fetched)
        if opened.contents.hub_id != told.hub_id:
            raise CommandFailed(
                "the cloud gave the backup of another hub than it said", "ask whoever runs the cloud"
            )
        answer = self._brought_back(opened) if told.hub_id == own else self._taken_in(opened)
        forget(fetched)
        return {**answer, "from": CLOUD}

    def listed(self) -> Sequence[LaidDown]:
        """Those that the cloud has for this hub, the newest first."""
        return asyncio.run(self._listed())

    def _brought_back(self, opened: Opened) -> Json:
        """In the place of whatever store there is; noted in its audit."""
        with self.progress() as stage:
            told = restore(self.places, opened, os.environ, self.clock, self.ids, stage)
        key = opened.contents.key
        told["noted"] = asyncio.run(note_restored(self.places, key, told, self.clock, self.ids))
        return told

    def _taken_in(self, opened: Opened) -> Json:
        with self.progress() as stage:
            taking = take_in(self.places, opened, os.environ, self.clock, self.ids, stage)
            return {**asyncio.run(taking), "noted": True}

    async def _listed(self) -> Sequence[LaidDown]:
        claim = await claim_of(self.places, os.environ)
        async with cloud_of(claim, self.clock, self.ids) as cloud:
            return await all_backups(cloud)

    async def _fetched(self, wanted: str | None) -> tuple[Path, LaidDown, str]:
        """Where it lies on this machine now, what the cloud says of it, and which hub this is."""
        claim = await claim_of(self.places, os.environ)
        with self.progress() as stage:
            async with cloud_of(claim, self.clock, self.ids) as cloud:
                chosen = choose(await all_backups(cloud), wanted)
                return await fetch(cloud, chosen, self.places, self.clock, stage), chosen, claim.hub_id

    def _opened(self, found: Path) -> Opened:
        """By what was given, else by the box's own key, else by what is typed now."""
        try:
            return open_backup(found, self.places, os.environ, self.typed)
        except CommandFailed as refused:
            if self.typed is not None or refused.code != "recovery_key":
                raise
            typed = self.ask(str(refused))
            if typed is None:
                raise
            return open_backup(found, self.places, os.environ, read_recovery_key(typed))


def key_in(file: Path) -> str:
    """The recovery key that stands in a file."""
    try:
        text = file.read_bytes()[:_KEY_BYTES_MAX].decode("ascii")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "no text"
        raise CommandFailed(f"{file}: {reason}", "give a file with the recovery key alone in it") from None
    return read_recovery_key(text)
