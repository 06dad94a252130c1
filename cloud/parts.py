"""Everything of a running cloud that stands behind HTTP: put together here, and taken apart in the right order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from cloud.backups import CloudBackups
from cloud.clinics import Clinics
from cloud.doors import Doors, open_doors
from cloud.epoch import WATCH_S, Epoch
from cloud.fleet.fleet import CloudFleet
from cloud.followers import Following
from cloud.health import cloud_gauges, cloud_health
from cloud.logs import FILES_PER_CLINIC, Folders, Logs, PostgresLogs, SqliteLogs, ViewsFiles
from cloud.opening import Shared, open_clinic
from cloud.releases import CloudReleases, Shelf
from medxz import limits
from medxz.accounts.successors import Successors
from medxz.errors import MedxzError
from medxz.program.running import open_files_max
from medxz.service import Rates, ServerParts, Services, Throttle, assemble
from medxz.store.authority.known import Directories
from medxz.store.dictionaries import shipped_dictionary
from medxz.wire import CloudPlace, Target
from medxz.work import ThreadWorker

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from cloud.config import Settings
    from cloud.store import CloudStore
    from medxz.clock import Clock

VERSION: Final = version("medxz-hub")
# when requests have ended: closing the logs, in which everything that was answered is durable already
CLOSING_S_MAX: Final = limits.SHUTDOWN_S_MAX * 0.3


@dataclass(frozen=True, slots=True)
class Parts:
    """What a test or the program asks of it."""

    services: Services
    clinics: Clinics
    directories: Directories


@asynccontextmanager
async def open_parts(
    settings: Settings, store: CloudStore, url: str, log: FilteringBoundLogger
) -> AsyncIterator[Parts]:
    """Open it all; on leaving, close it in the opposite order."""
    epoch = Epoch(store.transactions, store.server)
    clock, place = (
        store.authority.clock,
        CloudPlace(server_id=epoch.server_id, url=settings.public_url or url),
    )
    async with AsyncExitStack() as stack:
        directories = Directories(
            store.transactions, clock, Target(kind="cloud", url=place.url, server_id=place.server_id)
        )
        directories.open()
        stack.push_async_callback(directories.close)
        doors = await stack.enter_async_context(open_doors(store, directories, place))
        shared = await _shared(settings, store, doors, epoch, log, stack)
        clinics: Clinics = Clinics(
            lambda clinic_id: open_clinic(shared, clinics.begin_epoch, clinic_id),
            epoch,
            clock,
            _open_max(settings, log),
        )
        stack.push_async_callback(_close_in_time, clinics, log)
        directories.on_change(lambda clinic_id: clinics.wake([clinic_id]))
        watching = asyncio.create_task(_watch(epoch, clinics, clock), name="epoch")
        stack.callback(watching.cancel)
        shelf, releases = ThreadWorker("releases"), Shelf(settings.places.data)
        stack.callback(shelf.close)
        fleet = CloudFleet(store.authority, lambda: shelf.run(releases.all))
        rolling_out = asyncio.create_task(fleet.run(), name="fleet")
        stack.callback(rolling_out.cancel)
        services = assemble(
            ServerParts(
                kind="cloud",
                version=VERSION,
                server_id=epoch.server_id,
                epoch=epoch.now,
                gate=doors.gate,
                throttle=shared.throttle,
                accounts=doors.accounts,
                clinic=clinics.services_of,
                health=cloud_health(clinics, store.transactions, settings.places.data),
                gauges=cloud_gauges(clinics, shared.following, shared.counts, fleet.figures),
                dictionaries=[shipped_dictionary()],
                clock=clock,
                releases=CloudReleases(releases, shelf, fleet),
                fleet=fleet,
                backups=CloudBackups(settings.places.data / "backups", shelf, Successors(store.authority)),
            )
        )
        yield Parts(services, clinics, directories)


def _open_max(settings: Settings, log: FilteringBoundLogger) -> int:
    """How many clinics may be open. Each takes files where it lies in files, and half of all are for connections."""
    if settings.database is not None:
        return settings.clinics_open
    there_is_room_for = max(1, open_files_max() // 2 // FILES_PER_CLINIC)
    if there_is_room_for < settings.clinics_open:
        detail = "the limit of open files leaves room for no more (LimitNOFILE= in the unit)"
        log.warning("fewer clinics than set may be open", clinics=there_is_room_for, detail=detail)
    return min(settings.clinics_open, there_is_room_for)


async def _shared(
    settings: Settings,
    store: CloudStore,
    doors: Doors,
    epoch: Epoch,
    log: FilteringBoundLogger,
    stack: AsyncExitStack,
) -> Shared:
    """What every clinic is served with."""
    folders = Folders(settings.places, store.key)
    views, hashing, reading = ViewsFiles(folders), ThreadWorker("hashing"), ThreadWorker("entities")
    for worker in (views, hashing, reading):
        stack.callback(worker.close)
    logs = await _logs(folders, store, epoch, doors.clock)
    stack.push_async_callback(logs.close)

    def tell(what: str) -> None:
        log.info("views", why=what)

    rates = Rates(
        requests_per_s=settings.requests_per_s,
        requests_burst=2 * settings.requests_per_s,
        ops_per_s=settings.ops_per_s,
        ops_burst=2 * settings.ops_per_s,
    )
    return Shared(
        logs=logs,
        views=views,
        following=Following(),
        doors=doors,
        throttle=Throttle(rates, doors.clock),
        hashing=hashing,
        reading=reading,
        tell=tell,
    )


async def _logs(folders: Folders, store: CloudStore, epoch: Epoch, clock: Clock) -> Logs:
    if store.pool is None:
        return SqliteLogs(folders, epoch, clock)
    logs = PostgresLogs(store.pool, epoch, clock)
    await logs.begin()
    return logs


async def _close_in_time(clinics: Clinics, log: FilteringBoundLogger) -> None:
    """Close the logs; a database that does not answer does not keep the program from its end."""
    try:
        async with asyncio.timeout(CLOSING_S_MAX):
            await clinics.close()
    except TimeoutError:
        log.warning("logs were not closed in time", detail="what was answered is durable")


async def _watch(epoch: Epoch, clinics: Clinics, clock: Clock) -> None:
    """Hear of an epoch that another relay has begun."""
    while True:
        await clock.sleep(WATCH_S)
        with suppress(MedxzError):  # the next look finds it
            if await epoch.look():
                await clinics.take_epoch()
