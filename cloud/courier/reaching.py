"""The cloud of this directory, as a command asks it over HTTP: the one that runs, or one opened for the command alone.

A clinic's log has one writer. So what a courier brings goes in by the door of who has the log open, which judges it as
it judges what comes over the internet. The running cloud writes down where this machine finds it, and by which
certificates it is known; that file is gone when it stops.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from medxz.clock import SystemClock
from medxz.errors import MedxzError
from medxz.peer import Peer

if TYPE_CHECKING:
    from cloud.config import CloudPlaces, Settings


class Running(BaseModel):
    """Where a running cloud is found on its machine, and the certificates (PEM) that it is known by; none without TLS."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    url: str
    certificates: str | None

    def context(self) -> ssl.SSLContext | None:
        """Trusts these certificates, whatever address they are met at: the address is this machine's own."""
        if self.certificates is None:
            return None
        context = ssl.create_default_context(cadata=self.certificates)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return context


@dataclass(frozen=True, slots=True)
class Reached:
    """A cloud that answers."""

    url: str
    context: ssl.SSLContext | None


@asynccontextmanager
async def reached_cloud(
    settings: Settings, environ: Mapping[str, str], server_id: str
) -> AsyncIterator[Reached]:
    """The one that runs; else one on a free port of the loopback, for as long as it is needed."""
    found = await _running(settings.places, server_id)
    if found is not None:
        yield found
        return
    from cloud.app import open_cloud
    from cloud.office import url_of
    from medxz.web import make_log

    on_loopback = {"host": "127.0.0.1", "port": 0, "plain_http": True, "tls_cert": None, "tls_key": None}
    # what devices are told of the cloud is where they find it, and not where this command does
    alone = settings.model_copy(update={**on_loopback, "public_url": url_of(settings)})
    log = make_log(BytesIO(), SystemClock(), "error")  # what goes wrong the command says itself
    async with open_cloud(alone, environ, log=log) as opened:
        yield Reached(opened.url, None)


async def _running(places: CloudPlaces, server_id: str) -> Reached | None:
    try:
        told = Running.model_validate_json(places.running_file.read_bytes())
    except (OSError, ValidationError):
        return None
    reached = Reached(told.url, told.context())
    peer = Peer(reached.url, ssl_context=reached.context)
    try:
        info = await peer.info()
    except MedxzError:
        return None
    finally:
        await peer.aclose()
    return reached if info.server_id == server_id else None
