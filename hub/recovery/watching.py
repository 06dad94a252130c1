"""While a hub runs: its files' pages are read now and then and held against their MACs, and damage ends the serving.

What nobody asks for would rot unseen until the last copy elsewhere is gone. Reading is paced, and begins a while after
the start: whoever comes in the morning goes first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from structlog.typing import FilteringBoundLogger

from hub.recovery.incidents import Incidents
from medxz.clock import Clock, parse_time
from medxz.store.rescue.pages import PageCheck

if TYPE_CHECKING:
    from hub.storage import Storage

FIRST_AFTER_S: Final = 60.0
EVERY_S: Final = 86_400.0
PAGES_AT_ONCE: Final = 256
PAUSE_S: Final = 0.05
# a page that is being written just then is whole after this
AGAIN_S: Final = 1.0
# so long it goes on once damage is known: who asked for a check hears what it found
LINGER_S: Final = 1.0
# no file is set aside sooner than this after the one before: what is found again at once is no chance
APART_S: Final = 600.0


class PageWatch:
    """Over one hub's files."""

    def __init__(self, storage: Storage) -> None:
        self._storage: Final = storage
        self._clock: Final[Clock] = storage.clock

    async def run(self) -> None:
        """Until it is cancelled."""
        await self._clock.sleep(FIRST_AFTER_S)
        while True:
            await self.look()
            await self._clock.sleep(EVERY_S)

    async def look(self) -> None:
        """At every page once; damage is met."""
        for check in self._storage.page_checks():
            await self._look(check)

    async def _look(self, check: PageCheck) -> None:
        suspects: list[int] = []
        run, last = self._storage.workers.checkpointer.run, check.count
        for first in range(1, last + 1, PAGES_AT_ONCE):
            suspects += await run(check.damaged, range(first, min(first + PAGES_AT_ONCE, last + 1)))
            await self._clock.sleep(PAUSE_S)
        if suspects:
            await self._clock.sleep(AGAIN_S)
            suspects = await run(check.damaged, suspects)
        if suspects:
            told = f"the check of every page: {len(suspects)} damaged, first page {suspects[0]}"
            self._storage.damage.meet(check.path, told)


async def damage_to_mend(storage: Storage, say: FilteringBoundLogger) -> None:
    """Wait until a file is known to be damaged, and it is time to begin again."""
    found = await storage.damage.met()
    say.error("damage found", file=found.file, found=found.found)
    last_ms = max((parse_time(incident.at) for incident in Incidents(storage.places.data).all()), default=0)
    apart_s = (last_ms - storage.clock.now_ms()) / 1_000 + APART_S
    await storage.clock.sleep(min(APART_S, max(LINGER_S, apart_s)))


def note_damage(storage: Storage, say: FilteringBoundLogger) -> None:
    """At the end of the serving: what was found damaged is set aside by the next start."""
    found = storage.damage.found
    if found is not None:
        incidents = Incidents(storage.places.data)
        incident = incidents.begin(found.file, found.found, storage.clock.now_ms())
        say.error("file is set aside", file=found.file, lies_in=str(incidents.folder_of(incident)))
