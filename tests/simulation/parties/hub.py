"""A hub as a party: `open_hub` on its directory; claimed by a cloud's code, or made alone and adopted later."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import hub.config
from hub.app import Hub, open_hub
from medxz.op import Operation
from medxz.scope import Scope
from medxz.web import make_log
from medxz.wire import AuditVerifyAnswer
from tests.simulation.parties import stored
from tests.simulation.parties.party import PORT, Conflicts, Party, States
from tests.simulation.parties.standing import Machine


class HubParty(Party[Hub]):
    """One box."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self.url: Final = f"http://{machine.ip}:{PORT}"
        self.said: Final = BytesIO()
        self.clinic_id = ""
        self.site_id = ""
        self.server_id = ""

    @property
    def settings(self) -> hub.config.Settings:
        flags = {
            "data": self.machine.directory / "hub",
            "plain_http": True,
            "host": self.machine.ip,
            "port": PORT,
            "mdns": False,
            "log_level": "warning",
        }
        return hub.config.load_settings(flags, {})

    # --------------------------------------------------------------------------------------- how it begins

    async def make_alone(self, clinic_id: str) -> None:
        """A hub of a clinic that has no cloud."""
        raise NotImplementedError

    async def claim(self, cloud_url: str, code: str) -> None:
        """Become a hub of the clinic that the code is of; one that began alone brings what it has. It must not run."""
        raise NotImplementedError

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Hub]:
        machine = self.machine
        log = make_log(self.said, machine.clock, "warning")
        async with open_hub(self.settings, {}, log=log, clock=machine.clock, ids=machine.ids) as running:
            yield running

    # -------------------------------------------------------------------------------------- what is decided

    async def pair(self, scope: Scope | None = None) -> str:
        """A code for one device, from the box itself: what `medxz-hub pair` does."""
        raise NotImplementedError

    async def decide(self, command: str, **arguments: Any) -> dict[str, Any]:
        """What the operator of a hub alone decides: `user_add`, `user_disable`, `device_revoke` …"""
        raise NotImplementedError

    async def renew_certificate(self) -> None:
        """A new key and certificate from the cloud, now."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------- the disk

    async def restore(self, place: Path, *, new_epoch: bool) -> None:
        """An older copy takes the place of what is there, and the hub runs on it.

        `new_epoch`: the operator says so. Otherwise the hub finds out by itself that its log went back.
        """
        raise NotImplementedError

    # ---------------------------------------------------------------------------------------- what it has

    @property
    def is_online(self) -> bool:
        """Whether it has its cloud."""
        return self.running.doors.link().is_online

    @property
    def backlog(self) -> int:
        """How many numbers the cloud has not settled yet, as the hub knows it."""
        return self.running.doors.link().backlog or 0

    @property
    def epoch(self) -> str:
        return self.running.storage.log.epoch

    async def ops(self, clinic_id: str | None = None) -> list[Operation]:
        """The whole log. A hub has one clinic: of any other it has nothing."""
        return await self.machine.call(stored.ops_of(self.running.storage.log))

    async def states(self, clinic_id: str | None = None) -> States:
        raise NotImplementedError

    async def conflicts(self, clinic_id: str | None = None) -> Conflicts:
        raise NotImplementedError

    async def audit_verify(self, clinic_id: str | None = None) -> AuditVerifyAnswer:
        raise NotImplementedError
