"""`medxz-cloud run`: puts the parts together, serves until it is told to stop, and stops with nothing lost.

Refused: a directory that another process serves. Several relays may serve one PostgreSQL, each from a directory of its
own: they share everything but what is derived from the logs.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cloud.config import Settings
from cloud.courier.reaching import Running
from cloud.parts import Parts, open_parts
from cloud.store import CloudStore, open_store
from cloud.tls import Tls
from medxz.clock import Clock, SystemClock
from medxz.ids import Ids, RandomIds
from medxz.program import memory
from medxz.program.lock import LOCK_WAIT_S, lock_held
from medxz.program.notify import Notifier
from medxz.program.running import (
    SERVING_STOP_S,
    STOP_S_MAX,
    announce,
    bound_socket,
    end_in_time,
    local_url,
    raise_open_files,
    run_loop,
    stop_signals,
    tell_of_broken_tasks,
)
from medxz.trust.certificates import ca_fingerprint
from medxz.web import App, Serving, make_log, serve
from medxz.work import ThreadWorker

if TYPE_CHECKING:
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

_IN_USE: Final = "stop that one first, or give another --data; commands work beside it"


@dataclass(frozen=True, slots=True)
class Cloud:
    """A cloud that serves. `url` is where this machine finds it."""

    url: str
    store: CloudStore
    parts: Parts
    tls: Tls
    serving: Serving


def run_cloud(settings: Settings, *, announce_json: bool) -> None:
    """Serve until SIGTERM or SIGINT."""
    run_loop(_run(settings, announce_json=announce_json))


async def _run(settings: Settings, *, announce_json: bool) -> None:
    clock = SystemClock()
    log = make_log(sys.stderr.buffer, clock, settings.log_level)
    notifier = Notifier(os.environ, log)
    tell_of_broken_tasks(log)
    raise_open_files()
    with stop_signals() as stop:
        async with open_cloud(settings, os.environ, log=log, clock=clock) as cloud:
            memory.settle()
            background = [
                asyncio.create_task(notifier.keep_alive(_loop_answers, clock)),
                asyncio.create_task(memory.give_back(clock)),
            ]
            _tell(cloud, log)
            announce("cloud", cloud.url, notifier, as_json=announce_json)
            await stop.wait()
            end_in_time(STOP_S_MAX, log)
            notifier.stopping()
            log.info("cloud stopping")
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
    log.info("cloud stopped")
    notifier.close()


@asynccontextmanager
async def open_cloud(
    settings: Settings,
    environ: Mapping[str, str],
    *,
    log: FilteringBoundLogger,
    clock: Clock | None = None,
    ids: Ids | None = None,
) -> AsyncIterator[Cloud]:
    """A cloud that was made, serving; on leaving, what is being answered is answered, and everything is closed."""
    places, clock, ids = settings.places, clock or SystemClock(), ids or RandomIds()
    if settings.database is not None:
        places.make_directory()  # a further relay of a cloud that was made elsewhere
    async with (
        open_store(settings, environ, clock, ids) as store,
        lock_held(places.lock, clock, wait_s=LOCK_WAIT_S, hint=_IN_USE),
    ):
        with bound_socket(settings) as bound:
            url, tls = local_url(settings, bound), Tls(settings, store, clock)
            async with open_parts(settings, store, url, log) as parts:
                codec = ThreadWorker("web-codec")
                app = App(
                    parts.services,
                    log,
                    ids=ids,
                    clock=clock,
                    worker=codec,
                    cors_origins=frozenset(settings.cors_origins),
                    streams_max=settings.streams,
                )
                renewing = asyncio.create_task(tls.renew(), name="certificate")
                running = Running(url=url, certificates=tls.known_by())
                serving = await serve(
                    app, sockets=[bound], ssl_context=tls.context, connections_max=settings.connections
                )
                try:
                    with (
                        _written(places.url_file, settings.public_url or url),
                        _written(places.running_file, running.model_dump_json()),
                    ):
                        yield Cloud(url, store, parts, tls, serving)
                finally:
                    parts.services.health.is_stopping = True
                    await serving.stop(SERVING_STOP_S)
                    renewing.cancel()
                    codec.close()


def _tell(cloud: Cloud, log: FilteringBoundLogger) -> None:
    server = cloud.store.server
    log.info("cloud ready", url=cloud.url, server_id=server.server_id, epoch=server.epoch)
    if cloud.tls.is_own:
        log.info(
            "clients have to trust the cloud's own root, which `medxz-cloud ca show` prints",
            fingerprint=ca_fingerprint(cloud.store.root.certificate),
        )


async def _loop_answers() -> bool:
    """The loop runs: a database that does not answer is no reason to be started anew."""
    await asyncio.sleep(0)
    return True


@contextmanager
def _written(file: Path, text: str) -> Iterator[None]:
    """Where it serves, for the commands beside it, as long as it does."""
    file.write_text(text + "\n", "utf-8")
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
