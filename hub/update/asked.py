"""What the running hub does for an update, as it is asked over its socket: it asks its cloud, fetches, and finds a moment
in which nobody pushes. Installing is another process's, which may do what a hub must not.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field

from hub.arguments import Arguments
from hub.update.machine import Machine
from hub.update.remote import read_remote
from medxz.errors import CloudRequired
from medxz.versions import VERSION_PATTERN
from medxz.wire import UpdateAnswer

if TYPE_CHECKING:
    from hub.ask import Json
    from hub.config import HubPlaces, Settings
    from hub.control import Handler
    from hub.doors import Doors
    from hub.update.fetching import Fetched, Fetching
    from hub.update.reporting import Reporting
    from medxz.clock import Clock
    from medxz.service import Services
    from medxz.web.pushes import Pushes

_VERSION: Final = Field(pattern=f"^{VERSION_PATTERN}$", max_length=64)


class _Wanted(Arguments):
    compatible: Annotated[str, Field(max_length=64)]
    version: Annotated[str, _VERSION] | None = None


class _Fetch(Arguments):
    version: Annotated[str, _VERSION]
    compatible: Annotated[str, Field(max_length=64)]
    size: Annotated[int, Field(gt=0)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    added_at: Annotated[str, Field(max_length=64)]
    go_back: bool = False


class _Hold(Arguments):
    seconds: Annotated[float, Field(ge=0, strict=False)]
    quiet_s: Annotated[float, Field(ge=0, strict=False)]


@dataclass(frozen=True, slots=True)
class UpdateDesk:
    """Those commands. `fetching`: none on a hub that has no cloud."""

    fetching: Fetching | None
    pushes: Pushes

    def table(self) -> dict[str, Handler]:
        return {"update_wanted": self.wanted, "update_fetch": self.fetch, "update_hold": self.hold}

    async def wanted(self, arguments: Json) -> Json:
        """`{"wanted": …}`: what the cloud wants it to run; null where that is what runs."""
        asked = _Wanted.read(arguments)
        found = await self._with_cloud().wanted(asked.compatible, asked.version)
        return {"wanted": None if found is None else found.model_dump()}

    async def fetch(self, arguments: Json) -> Json:
        """Begin to fetch a release, or tell how far that is: asked again and again until it is done."""
        release = UpdateAnswer(**_Fetch.read(arguments).model_dump())
        return _told(await self._with_cloud().fetch(release))

    async def hold(self, arguments: Json) -> Json:
        """Put pushes off for so long, if nobody is pushing; with 0 seconds, let them in again."""
        asked = _Hold.read(arguments)
        if not asked.seconds:
            self.pushes.let_go()
            return {"held": False, "pushing": self.pushes.under_way}
        return {"held": self.pushes.hold(asked.seconds, asked.quiet_s), "pushing": self.pushes.under_way}

    def _with_cloud(self) -> Fetching:
        if self.fetching is None:
            raise CloudRequired("this hub has no cloud to take updates from; bring a bundle on a stick")
        return self.fetching


@asynccontextmanager
async def update_desk(
    places: HubPlaces, doors: Doors, pushes: Pushes, clock: Clock
) -> AsyncIterator[UpdateDesk]:
    """That of a running hub; on leaving, what is being fetched stays as far as it is."""
    if doors.cloud is None:
        yield UpdateDesk(None, pushes)
        return
    from hub.update.fetching import Fetching
    from medxz.work import ThreadWorker

    worker = ThreadWorker("update")
    fetching = Fetching(
        places.beside(".update"), doors.cloud, clock, worker, lambda: doors.link().backlog or 0
    )
    try:
        yield UpdateDesk(fetching, pushes)
    finally:
        await fetching.close()
        worker.close()


def reporting_of(
    doors: Doors, services: Services, settings: Settings, clock: Clock, version: str
) -> Reporting | None:
    """That of a running hub; None where it has no cloud."""
    if doors.cloud is None:
        return None
    from hub.update.reporting import Reporting, Told

    file = settings.places.remote
    root = Path(os.environ.get("MEDXZ_MACHINE_ROOT", "/"))  # as `medxz-hub update --root`, for trying
    told = Told(Machine(root), version, services.health.full, doors.link, read_remote(file).revision)
    return Reporting(doors.cloud, told, file, clock)


def _told(fetched: Fetched) -> Json:
    return {
        "state": fetched.state,
        "done": fetched.done,
        "size": fetched.size,
        "file": str(fetched.file),
        "why": fetched.why,
        "needs_cloud": fetched.needs_cloud,
    }
