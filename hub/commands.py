"""What a running hub answers on its control socket: what the desk does (hub/desk.py), and status and verify."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hub.ask import Json
from hub.control import Handler
from hub.courier.standing import CourierStanding
from hub.desk import Desk
from hub.identity import HubIdentity
from hub.storage import Storage
from medxz.clock import format_time
from medxz.program.errors import CommandFailed
from medxz.program.keys import read_key
from medxz.service import ClinicServices, Link, Services
from medxz.store.base import Verification

if TYPE_CHECKING:
    from hub.neighbours.neighbour import LinkState

_DAMAGED_TOLD_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Commands:
    """The commands of one running hub."""

    storage: Storage
    services: Services
    clinic: ClinicServices
    link: Callable[[], Link]
    identity: HubIdentity
    desk: Desk
    url: str
    version: str
    started_ms: int
    mdns: Callable[[], Json]
    neighbours: Callable[[], Sequence[LinkState]] = list
    damaged: Callable[[], Sequence[Json]] = list
    courier: CourierStanding | None = None

    def table(self) -> dict[str, Handler]:
        return {**self.desk.table(), "status": self.status, "key": self.key, "verify": self.verify}

    async def status(self, _arguments: Json) -> Json:
        """Who it is, where it serves, what it holds, and its health check by check."""
        log, health = self.storage.log, await self.services.health.full()
        settled, marks = log.settled(), self.storage.registry.directory.cloud_marks
        link, claim = self.link(), self.identity.claim
        backlog = sum(max(0, here - marks.get(device, 0)) for device, here in settled.items())
        return {
            "running": True,
            "healthy": health.ok,
            "url": self.url,
            "version": self.version,
            "server_id": self.identity.server_id,
            "clinic_id": self.identity.clinic_id,
            "site_id": self.identity.site_id,
            "epoch": log.epoch,
            "ca_fingerprint": (await self.desk.ca({}))["ca_fingerprint"],
            "started_at": format_time(self.started_ms),
            "ops": log.last_seq,
            "waiting_ops": log.waiting_ops,
            "devices": len(self.storage.registry.directory.devices),
            "streams": self.clinic.pull.streams_open,
            "backlog": backlog if link.backlog is None else link.backlog,
            "cloud": claim.cloud_url if claim is not None else None,
            "upstream": "online" if link.is_online else "offline",
            "upstream_last_ok_at": link.last_ok_at,
            "upstream_last_error": link.last_error,
            "neighbours": [_told(state) for state in self.neighbours()],
            "mdns": self.mdns(),
            "courier": self.courier.told() if self.courier is not None else None,
            "damaged_files": list(self.damaged()),
            "clock": self.storage.clock.standing().told(),
            "checks": [check.model_dump() for check in health.checks],
        }

    async def key(self, _arguments: Json) -> Json:
        """The key file that the next start will need, and what is wrong with it."""
        file = self.storage.places.key_file
        try:
            read_key(file, os.environ)
        except CommandFailed as error:
            return {"key_file": str(file), "problem": str(error), "hint": error.hint}
        return {"key_file": str(file), "problem": None, "hint": ""}

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


def _told(neighbour: LinkState) -> Json:
    return {
        "hub_id": neighbour.hub_id,
        "url": neighbour.url,
        "state": "online" if neighbour.is_online else "offline",
        "last_ok_at": neighbour.last_ok_at,
        "last_error": neighbour.last_error,
    }
