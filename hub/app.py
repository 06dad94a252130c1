"""`medxz-hub run`: puts the parts together, serves until it is told to stop, and stops with nothing lost.

Refused: a directory that another process uses.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final
from urllib.parse import urlsplit

from structlog.typing import FilteringBoundLogger

from hub.advertise.presence import OFF, Presence, served_alone
from hub.ask import check_path
from hub.backup.backups import Backups
from hub.care.care import Care, Cared
from hub.care.parts import OF_A_CLAIMED_ONE, OF_EVERY_HUB, Parts, Restarts, ending_in_time
from hub.clock import HubClock
from hub.commands import Commands
from hub.config import Settings
from hub.control import ControlServer
from hub.courier.opening import running_desk, standing_of
from hub.desk import desk_of
from hub.doors import Doors, Surroundings, open_doors
from hub.identity import HubIdentity, load_identity
from hub.pairing import pairing_commands
from hub.recovery.refilling import Refilling
from hub.recovery.watching import PageWatch, damage_to_mend, note_damage
from hub.services import hub_services
from hub.storage import Storage, open_storage
from hub.tls import Tls, renewal_commands, shown_fingerprint
from hub.update.asked import UpdateDesk, reporting_of, update_desk
from hub.update.remote import read_remote, with_remote
from hub.update.reporting import Reporting
from medxz.clock import Clock, SystemClock
from medxz.ids import Ids, RandomIds
from medxz.lan.multicast import Multicast
from medxz.program import memory
from medxz.program.keys import read_key
from medxz.program.notify import Notifier, Probe
from medxz.program.running import (
    SERVING_STOP_S,
    announce,
    bound_socket,
    local_url,
    run_loop,
    stop_signals,
    tell_of_broken_tasks,
)
from medxz.service import ClinicServices, Services
from medxz.store.views.follower import Follower
from medxz.waiting import first_of
from medxz.web import App, Serving, make_log, serve
from medxz.web.pushes import Pushes
from medxz.work import ThreadWorker

VERSION: Final = version("medxz-hub")


def run_hub(settings: Settings, *, announce_json: bool) -> None:
    """Serve until SIGTERM or SIGINT."""
    check_path(settings.places.socket)
    settings = with_remote(settings, read_remote(settings.places.remote))
    run_loop(_run(settings, announce_json=announce_json))


@dataclass(frozen=True, slots=True)
class Process:
    """What lasts from one serving to the next."""

    clock: HubClock
    log: FilteringBoundLogger
    notifier: Notifier
    stop: asyncio.Event
    restarts: Restarts
    announce_json: bool


async def _run(settings: Settings, *, announce_json: bool) -> None:
    clock = HubClock(SystemClock())
    log = make_log(sys.stderr.buffer, clock, settings.log_level)
    notifier = Notifier(os.environ, log)
    tell_of_broken_tasks(log)
    with stop_signals() as stop:
        process = Process(clock, log, notifier, stop, Restarts(), announce_json)
        while not stop.is_set():
            settings = await _serve(settings, process)
    log.info("hub stopped")
    notifier.close()


async def _serve(settings: Settings, process: Process) -> Settings:
    """Until it is told to stop, or has to begin again: a file of the store is damaged, or a part of it is broken.

    With these settings it is begun again: on the same port, wherever that was.
    """
    clock, log, stop = process.clock, process.log, process.stop
    with ending_in_time(log) as ending:
        async with open_hub(settings, os.environ, log=log, clock=clock, restarts=process.restarts) as hub:
            memory.settle()
            background = [
                asyncio.create_task(process.notifier.keep_alive(_writer_probe(hub.storage), clock)),
                asyncio.create_task(memory.give_back(clock)),
                asyncio.create_task(PageWatch(hub.storage).run(), name="pages"),
                asyncio.create_task(hub.care.run(), name="care"),
                *([asyncio.create_task(hub.reporting.run(), name="report")] if hub.reporting else []),
            ]
            stored = hub.storage.log
            log.info(
                "hub ready", url=hub.url, server_id=stored.server_id, epoch=stored.epoch, ops=stored.last_seq
            )
            announce("hub", hub.url, process.notifier, as_json=process.announce_json)
            background.append(asyncio.create_task(_advertise(hub, settings, clock, log), name="mdns"))
            await first_of(stop.wait(), damage_to_mend(hub.storage, log), hub.care.broken())
            ending.set()
            note_damage(hub.storage, log)
            if stop.is_set():
                process.notifier.stopping()
                log.info("hub stopping")
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
    return settings.model_copy(update={"port": urlsplit(hub.url).port})


@dataclass(frozen=True, slots=True)
class Hub:
    """A hub that serves."""

    url: str
    storage: Storage
    identity: HubIdentity
    doors: Doors
    services: Services
    clinic: ClinicServices
    presence: Presence
    multicast: Multicast
    refilling: Refilling
    backups: Backups
    care: Care
    updates: UpdateDesk
    reporting: Reporting | None = None


@asynccontextmanager
async def open_hub(
    settings: Settings,
    environ: Mapping[str, str],
    *,
    log: FilteringBoundLogger,
    clock: Clock | None = None,
    ids: Ids | None = None,
    restarts: Restarts | None = None,
) -> AsyncIterator[Hub]:
    """A hub that was made, serving; on leaving, what is being answered is answered, and everything is closed."""
    places, ids = settings.places, ids or RandomIds()
    machine = clock or SystemClock()
    opening = open_storage(places, lambda: read_key(places.key_file, environ), machine, mending=ids)
    async with opening as storage, storage.clock.watched(log):
        identity, clock, refilling = await load_identity(storage), storage.clock, Refilling(storage, log)
        started_ms = clock.now_ms()
        with bound_socket(settings) as bound:
            url = local_url(settings, bound)
            multicast = Multicast(served_alone(settings, url))
            around = Surroundings(
                settings, url, clock, ids, log, multicast=multicast, salvaged=refilling.salvaged
            )
            async with (
                open_doors(storage, identity, around) as doors,
                update_desk(places, doors, Pushes(clock.monotonic), clock) as updates,
            ):
                follower = Follower(
                    storage.log, storage.views, clock, lambda what: log.info("views", why=what)
                )
                tls = Tls(storage, identity, doors, around)
                expected = OF_EVERY_HUB if identity.claim is None else OF_A_CLAIMED_ONE
                parts = Parts(storage.log, follower, clock, expected)
                care = _care_of(storage, identity, doors, tls, parts, around, restarts=restarts)
                services, clinic = hub_services(
                    storage, follower, doors, around, refilling, care=care, version=VERSION
                )
                hub = Hub(
                    around.url, storage, identity, doors, services, clinic, around.presence, multicast, refilling,
                    care.backups, care, updates, reporting_of(doors, services, settings, clock, VERSION),
                )  # fmt: skip
                async with AsyncExitStack() as stack:
                    stack.push_async_callback(hub.backups.close)
                    await stack.enter_async_context(_controlled(hub, around, tls, started_ms))
                    await stack.enter_async_context(_served(hub, around, tls, follower, bound))
                    if doors.neighbours is not None:
                        await stack.enter_async_context(doors.neighbours.running())
                    await stack.enter_async_context(
                        refilling.running(doors.in_step, lambda: doors.link().backlog)
                    )
                    yield hub


def _care_of(
    storage: Storage,
    identity: HubIdentity,
    doors: Doors,
    tls: Tls,
    parts: Parts,
    around: Surroundings,
    *,
    restarts: Restarts | None,
) -> Care:
    backups = Backups(storage, VERSION, around.say, doors.cloud, lambda: doors.link().is_online)
    has_cloud = doors.cloud is not None
    cared = Cared(
        storage,
        backups,
        parts,
        restarts or Restarts(),
        has_cloud,
        tls.serves_until_ms,
        courier=standing_of(storage, identity, doors),
    )
    return Care(cared, around.say)


@asynccontextmanager
async def _controlled(hub: Hub, around: Surroundings, tls: Tls, started_ms: int) -> AsyncIterator[None]:
    """The control socket, up."""
    storage, identity = hub.storage, hub.identity
    desk = desk_of(storage, identity, hub.doors.office)
    commands = Commands(
        storage,
        hub.services,
        hub.clinic,
        hub.doors.link,
        identity,
        desk,
        hub.url,
        VERSION,
        started_ms,
        hub.presence.told,
        hub.doors.neighbours.states if hub.doors.neighbours is not None else list,
        hub.refilling.told,
        hub.care.courier,
    )
    courier = running_desk(storage, hub.doors, around, tls)
    control = ControlServer(
        around.settings.places.socket,
        {**commands.table(), **pairing_commands(hub.doors.pairing), **renewal_commands(tls)}
        | hub.backups.table()
        | hub.updates.table()
        | hub.doors.operators.table()
        | courier.table(),
        around.say,
    )
    await control.start()
    try:
        yield
    finally:
        await control.close()
        await courier.close()


@asynccontextmanager
async def _served(
    hub: Hub, around: Surroundings, tls: Tls, follower: Follower, bound: socket.socket
) -> AsyncIterator[None]:
    """HTTP, up; on leaving, what is being answered is answered."""
    codec = ThreadWorker("web-codec")
    app = App(
        hub.services, around.say, ids=around.ids, clock=around.clock, worker=codec,
        cors_origins=frozenset(around.settings.cors_origins), pushes=hub.updates.pushes,
    )  # fmt: skip
    serving: Serving | None = None
    renewing: asyncio.Task[None] | None = None
    try:
        context = await tls.context()
        follower.start()
        serving = await serve(app, sockets=[bound], ssl_context=context)
        renewing = asyncio.create_task(tls.keep_renewed(), name="certificate")
        yield
    finally:
        hub.services.health.is_stopping = True
        if serving is not None:
            await serving.stop(SERVING_STOP_S)
        if renewing is not None:
            renewing.cancel()
            await asyncio.wait([renewing])
        await follower.close()
        codec.close()


async def _advertise(hub: Hub, settings: Settings, clock: Clock, log: FilteringBoundLogger) -> None:
    """Make the hub known on its LAN, now that it serves: what does so is loaded here."""
    if not settings.mdns:
        hub.presence.silent(OFF)
        return
    # in a thread: it takes a while on a small machine
    await asyncio.to_thread(importlib.import_module, "hub.advertise.advertiser")
    from hub.advertise.advertiser import Advertiser, Placed

    placed = Placed.of(settings, hub.url, hub.identity, lambda: shown_fingerprint(hub.identity, hub.doors))
    await Advertiser(placed, hub.multicast, hub.presence, clock, log).run()


def _writer_probe(storage: Storage) -> Probe:
    async def probe() -> bool:
        await storage.workers.writer.run(lambda: None)
        return True

    return probe
