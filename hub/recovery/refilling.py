"""A hub whose store was damaged fills up again while it serves: out of the damaged file, then from its cloud.

Its ops are read page by page and put into the log of now, where each is kept once; the uplink waits until that is
done, so that the cloud is asked for what is missing and not for everything. What neither has comes from the devices,
which push again what a log of another epoch lacks. Done is what the cloud was read to the end for; a hub alone is done
once the file was read. Nothing of an op is ever told here: only how many.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from structlog.typing import FilteringBoundLogger

from hub.recovery.incidents import Incident, Incidents
from hub.recovery.salvage import salvage
from medxz.clock import Clock, format_time
from medxz.errors import MedxzError
from medxz.store.damage import Damage
from medxz.web.log import told
from medxz.wire import Check
from medxz.work import ThreadWorker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hub.storage import Storage

# how soon what could not be stored is tried again: the disk is full, mostly
AGAIN_S: Final = 60.0
# how often it is asked whether the cloud has everything, once a file may be let go for it
LOOK_S: Final = 600.0


class Refilling:
    """What one running hub has of damaged files. `run` it; `salvaged` is set once nothing is read of them any more."""

    def __init__(self, storage: Storage, say: FilteringBoundLogger) -> None:
        self._storage: Final = storage
        self._clock: Final[Clock] = storage.clock
        self._say: Final = say
        self._incidents: Final = Incidents(storage.places.data)
        self._known: list[Incident] = self._incidents.all()
        self.salvaged: Final = asyncio.Event()
        if all(incident.is_read for incident in self._open()):
            self.salvaged.set()

    @property
    def damage(self) -> Damage:
        return self._storage.damage

    def _open(self) -> list[Incident]:
        return [incident for incident in self._known if incident.state == "refilling"]

    @asynccontextmanager
    async def running(
        self, in_step: Callable[[], Awaitable[object]], backlog: Callable[[], int | None]
    ) -> AsyncIterator[None]:
        """Beside the serving. `in_step` waits until the cloud was read to its end; `backlog` is what it lacks still."""
        self._known = self._incidents.all()  # the audit's file was opened since
        task = asyncio.create_task(self._run(in_step, backlog), name="refilling")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self, in_step: Callable[[], Awaitable[object]], backlog: Callable[[], int | None]) -> None:
        for incident in self._open():
            await self._until_read(incident)
        self.salvaged.set()
        await in_step()
        for incident in self._open():
            self._note(incident, state="done", done_at=format_time(self._clock.now_ms()))
            self._say.info("refilled", file=incident.file, ops=self._storage.log.last_seq)
        while True:
            if backlog() == 0:
                gone = await asyncio.to_thread(self._incidents.let_go)
                self._known = [each for each in self._known if each not in gone]
                for incident in gone:
                    self._say.info("damaged file let go", found_at=incident.at, file=incident.file)
            await self._clock.sleep(LOOK_S)

    # ------------------------------------------------------------------------------------- what is read

    async def _until_read(self, incident: Incident) -> None:
        """Begun anew as often as it was interrupted: what is stored already is a duplicate.

        Where that goes on, or somebody has taken the file away, the cloud is asked all the same.
        """
        while not incident.is_read:
            if not self._incidents.folder_of(incident).is_dir():
                self._known.remove(incident)
                return
            worker = ThreadWorker("salvage")
            try:
                incident = await self._read(incident, worker)
            except (MedxzError, OSError) as error:
                self._say.error("refilling broke", **told(error))
                self.salvaged.set()
                await self._clock.sleep(AGAIN_S)
            finally:
                worker.close()

    async def _read(self, incident: Incident, worker: ThreadWorker) -> Incident:
        path = self._incidents.folder_of(incident) / incident.file
        found = await salvage(self._storage, path, self._storage.key, incident.shape, worker)
        self._say.info(
            "damaged file read", file=incident.file, ops=found.ops, through=found.through,
            pages_damaged=found.pages_damaged, rows_damaged=found.rows_damaged,
        )  # fmt: skip
        return self._note(
            incident, is_read=True, ops=found.ops, through=found.through, pages_damaged=found.pages_damaged,
            rows_damaged=found.rows_damaged,
        )  # fmt: skip

    def _note(self, incident: Incident, **changes: Any) -> Incident:
        changed = incident.model_copy(update=changes)
        with suppress(OSError):  # somebody has taken it away
            self._incidents.note(changed)
        self._known = [changed if each.name == incident.name else each for each in self._known]
        return changed

    # ------------------------------------------------------------------------------------- what is told

    async def check(self) -> Check:
        """For /health."""
        found, last = self.damage.found, self._known[-1] if self._known else None
        if found is not None:
            detail = f"{found.file} is damaged ({found.found}): the hub sets it aside and begins anew"
            return Check(name="recovery", ok=False, detail=detail)
        if last is None:
            return Check(name="recovery", ok=True, detail="no file of this hub was found damaged")
        what = self._incidents.in_words(last)
        waiting = self._open()
        if not waiting:
            return Check(name="recovery", ok=True, detail=f"{what}; everything is in step again")
        state = (
            "filling again from the cloud and the devices"
            if self.salvaged.is_set()
            else "what can be read of it is being put into a new one"
        )
        return Check(name="recovery", ok=False, detail=f"{self._incidents.in_words(waiting[-1])}; {state}")

    def told(self) -> list[dict[str, Any]]:
        return [self._incidents.told(incident) for incident in self._known]

    def gauges(self) -> Mapping[str, tuple[str, Callable[[], float]]]:
        return {
            "refilling": ("1 while the hub fills again after damage.", lambda: float(bool(self._open()))),
            "damaged_files": ("Damaged files that were set aside.", lambda: len(self._known)),
            "damaged_files_bytes": (
                "Room that they take.",
                lambda: sum(map(self._incidents.bytes_of, self._known)),
            ),
        }
