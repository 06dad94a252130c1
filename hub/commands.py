"""What a hub answers to its operator: token and ca, running or not; status and verify on the control socket."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from hub.config import Places
from hub.control import Handler, Json
from hub.identity import HubIdentity, load_identity
from hub.issue import TokenDesk, TokenRequest
from hub.keys import read_key
from hub.storage import Storage, open_storage
from medxz.clock import SystemClock, format_time
from medxz.ids import RandomIds
from medxz.service import Services
from medxz.store.base import Verification

_DAMAGED_TOLD_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Desk:
    """The commands that need the store alone, running or not."""

    identity: HubIdentity
    tokens: TokenDesk

    async def token(self, arguments: Json) -> Json:
        """A token, as `medxz-hub token` prints it."""
        return {"access_token": await self.tokens.issue(TokenRequest.read(arguments))}

    async def ca(self, _arguments: Json) -> Json:
        """What clients are to trust."""
        certificate = self.identity.root.certificate_pem.decode()
        return {"ca_certificate": certificate, "ca_fingerprint": self.identity.ca_fingerprint}

    def table(self) -> dict[str, Handler]:
        return {"token": self.token, "ca": self.ca}


def answer_stopped(places: Places, environ: Mapping[str, str], command: str, arguments: Json) -> Json:
    """The same answer without a running hub: the store is opened for it, under its lock."""

    async def answer() -> Json:
        clock = SystemClock()
        async with open_storage(places, lambda: read_key(places.key_file, environ), clock) as storage:
            identity = await load_identity(storage)
            desk = Desk(identity, TokenDesk(identity, storage.registry, clock, RandomIds()))
            return await desk.table()[command](arguments)

    return asyncio.run(answer())


@dataclass(frozen=True, slots=True)
class Commands:
    """The commands of one running hub."""

    storage: Storage
    services: Services
    identity: HubIdentity
    desk: Desk
    url: str
    version: str
    started_ms: int

    def table(self) -> dict[str, Handler]:
        return {**self.desk.table(), "status": self.status, "verify": self.verify}

    async def status(self, _arguments: Json) -> Json:
        """Who it is, where it serves, what it holds, and its health check by check."""
        log, health = self.storage.log, await self.services.health.full()
        settled, marks = log.settled(), self.storage.registry.directory.cloud_marks
        return {
            "running": True,
            "healthy": health.ok,
            "url": self.url,
            "version": self.version,
            "server_id": self.identity.server_id,
            "clinic_id": self.identity.clinic_id,
            "site_id": self.identity.site_id,
            "epoch": log.epoch,
            "ca_fingerprint": self.identity.ca_fingerprint,
            "started_at": format_time(self.started_ms),
            "ops": log.last_seq,
            "waiting_ops": log.waiting_ops,
            "devices": len(self.storage.registry.directory.devices),
            "streams": self.services.pull.streams_open,
            "backlog": sum(max(0, here - marks.get(device, 0)) for device, here in settled.items()),
            "checks": [check.model_dump() for check in health.checks],
        }

    async def verify(self, arguments: Json) -> Json:
        """How far the check of every row is; `{"begin": true}` starts one where none runs."""
        log = self.storage.log
        if arguments.get("begin") and (log.verification is None or log.verification.done):
            log.check_in_background()
            await asyncio.sleep(0)  # it begins with a report of its own
        found = log.verification or Verification(done=True)
        return {
            "checked": found.checked,
            "total": found.total,
            "damaged": found.damaged[:_DAMAGED_TOLD_MAX],
            "damaged_count": len(found.damaged),
            "done": found.done,
        }
