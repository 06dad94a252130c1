"""`medxz-hub run`: puts the parts together, serves until it is told to stop, and stops with nothing lost.

Refused: a directory that another process uses.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from structlog.typing import FilteringBoundLogger

from hub.ask import check_path
from hub.commands import Commands
from hub.config import Settings
from hub.control import ControlServer
from hub.desk import Desk
from hub.doors import Doors, Surroundings, open_doors
from hub.identity import HubIdentity, current_certificate, load_identity
from hub.issue import TokenDesk
from hub.services import hub_services
from hub.storage import Storage, open_storage
from medxz.clock import Clock, SystemClock
from medxz.ids import Ids, RandomIds
from medxz.program import memory
from medxz.program.addresses import host_names, machine_addresses
from medxz.program.keys import read_key
from medxz.program.notify import Notifier, Probe
from medxz.program.running import (
    SERVING_STOP_S,
    announce,
    bound_socket,
    local_url,
    operators_context,
    run_loop,
    stop_signals,
    tell_of_broken_tasks,
)
from medxz.program.settings import is_loopback
from medxz.store.views.follower import Follower
from medxz.trust.certificates import Credential, load_credential, server_context
from medxz.web import App, Serving, make_log, serve
from medxz.work import ThreadWorker

VERSION: Final = version("medxz-hub")
_RENEWAL_CHECK_S: Final = 3_600.0


def run_hub(settings: Settings, *, announce_json: bool) -> None:
    """Serve until SIGTERM or SIGINT."""
    check_path(settings.places.socket)
    run_loop(_Hub(settings, announce_json=announce_json).run())


@dataclass(frozen=True, slots=True)
class _Ground:
    """What everything stands on."""

    storage: Storage
    identity: HubIdentity
    bound: socket.socket
    url: str


class _Hub:
    """One run of the program."""

    def __init__(self, settings: Settings, *, announce_json: bool) -> None:
        self._settings = settings
        self._announce_json = announce_json
        self._clock: Clock = SystemClock()
        self._ids: Ids = RandomIds()
        self._log: FilteringBoundLogger = make_log(sys.stderr.buffer, self._clock, settings.log_level)
        self._notifier = Notifier(os.environ, self._log)

    async def run(self) -> None:
        started_ms = self._clock.now_ms()
        places = self._settings.places
        tell_of_broken_tasks(self._log)
        with stop_signals() as stop:
            async with open_storage(
                places, lambda: read_key(places.key_file, os.environ), self._clock
            ) as storage:
                identity = await load_identity(storage)
                with bound_socket(self._settings) as bound:
                    ground = _Ground(storage, identity, bound, local_url(self._settings, bound))
                    async with self._serving(ground, started_ms):
                        self._announce(ground)
                        await stop.wait()
                        self._notifier.stopping()
                        self._log.info("hub stopping")
        self._log.info("hub stopped")
        self._notifier.close()

    @asynccontextmanager
    async def _serving(self, ground: _Ground, started_ms: int) -> AsyncIterator[None]:
        """HTTP and the control socket, up; on leaving, what is being answered is answered."""
        around = Surroundings(self._settings, ground.url, self._clock, self._ids, self._log)
        async with (
            open_doors(ground.storage, ground.identity, around) as doors,
            self._open(ground, around, doors, started_ms),
        ):
            yield

    @asynccontextmanager
    async def _open(
        self,
        ground: _Ground,
        around: Surroundings,
        doors: Doors,
        started_ms: int,
    ) -> AsyncIterator[None]:
        context = await self._tls(ground, doors)
        follower = Follower(ground.storage.log, ground.storage.views, self._clock, self._tell_of_views)
        services, clinic = hub_services(ground.storage, follower, doors, around, VERSION)
        codec = ThreadWorker("web-codec")
        app = App(services, self._log, ids=self._ids, clock=self._clock, worker=codec)
        tokens = TokenDesk(ground.identity, ground.storage.registry, self._clock, self._ids)
        desk = Desk(ground.identity, tokens)
        commands = Commands(
            ground.storage,
            services,
            clinic,
            doors.link,
            ground.identity,
            desk,
            ground.url,
            VERSION,
            started_ms,
        )
        control = ControlServer(self._settings.places.socket, commands.table(), self._log)
        await control.start()
        serving: Serving | None = None
        background: list[asyncio.Task[None]] = []
        try:
            follower.start()
            serving = await serve(app, sockets=[ground.bound], ssl_context=context)
            memory.settle()
            background = [
                asyncio.create_task(self._notifier.keep_alive(_writer_probe(ground.storage), self._clock)),
                asyncio.create_task(self._renew(ground, doors, context)),
                asyncio.create_task(memory.give_back(self._clock)),
            ]
            yield
        finally:
            services.health.is_stopping = True
            if serving is not None:
                await serving.stop(SERVING_STOP_S)
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            await control.close()
            await follower.close()
            codec.close()

    def _tell_of_views(self, what: str) -> None:
        self._log.info("views", why=what)

    async def _tls(self, ground: _Ground, doors: Doors) -> ssl.SSLContext | None:
        settings = self._settings
        if settings.plain_http:
            return None
        if settings.tls_cert is not None:
            return operators_context(settings)
        if doors.certificate is not None and doors.certificate.serves:
            return server_context(doors.certificate.credential)
        credential, _ = await self._own_certificate(ground)
        return server_context(credential)

    async def _renew(self, ground: _Ground, doors: Doors, context: ssl.SSLContext | None) -> None:
        """Serve with a new certificate once two thirds of the old one's life are over, or the machine has moved."""
        while True:
            credential, is_new = await self._newest(ground, doors)
            if is_new and context is not None and self._settings.tls_cert is None:
                load_credential(context, credential)
                self._log.info("certificate renewed")
            await self._clock.sleep(_RENEWAL_CHECK_S)

    async def _newest(self, ground: _Ground, doors: Doors) -> tuple[Credential, bool]:
        """What to serve with, and whether it is new; the cloud is asked where that is due."""
        cloud = doors.certificate
        if cloud is not None:
            is_new = await cloud.renew(host_names(), self._addresses())
            if cloud.serves:
                return cloud.credential, is_new
        return await self._own_certificate(ground)

    async def _own_certificate(self, ground: _Ground) -> tuple[Credential, bool]:
        return await current_certificate(
            ground.storage.registry,
            ground.identity,
            self._clock,
            names=host_names(),
            addresses=self._addresses(),
        )

    def _addresses(self) -> list[str]:
        return [] if is_loopback(self._settings.bind_host) else machine_addresses()

    def _announce(self, ground: _Ground) -> None:
        log = ground.storage.log
        self._log.info(
            "hub ready", url=ground.url, server_id=log.server_id, epoch=log.epoch, ops=log.last_seq
        )
        announce("hub", ground.url, self._notifier, as_json=self._announce_json)


def _writer_probe(storage: Storage) -> Probe:
    async def probe() -> bool:
        await storage.workers.writer.run(lambda: None)
        return True

    return probe
