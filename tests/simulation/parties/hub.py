"""A hub as a party: `open_hub` on its directory; claimed by a cloud's code, or made alone and adopted later."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import hub.config
from hub.app import Hub, open_hub
from hub.claim import Order, claim_hub
from hub.desk import desk_of
from hub.making import make_hub
from hub.pairing import PairRequest
from hub.storage import open_storage
from medxz.op import Operation
from medxz.program.keys import read_key
from medxz.scope import Scope
from medxz.service.audit import verified
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
        self.site = ""
        self.server_id = ""
        self.is_claimed = False
        self.is_revoked = False
        self._renewals = 0

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
        machine = self.machine
        made = await machine.call(make_hub(self.settings.places, clinic_id, machine.clock, machine.ids, None))
        self.server_id, self.clinic_id, self.site_id = made["server_id"], clinic_id, made["site_id"]

    async def claim(self, cloud_url: str, code: str) -> None:
        """Become a hub of the clinic that the code is of; one that began alone brings what it has. It must not run.

        Interrupted, the same code is good for the same directory again.
        """
        machine, order = self.machine, Order(cloud_url, code, self.name)
        told = await machine.call(claim_hub(self.settings.places, order, {}, machine.clock, machine.ids))
        self.server_id, self.clinic_id, self.site_id = told["hub_id"], told["clinic_id"], told["site_id"]
        self.is_claimed = True

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Hub]:
        machine = self.machine
        log = make_log(self.said, machine.clock, "warning")
        async with open_hub(self.settings, {}, log=log, clock=machine.clock, ids=machine.ids) as running:
            yield running

    # -------------------------------------------------------------------------------------- what is decided

    async def pair(self, scope: Scope | None = None) -> str:
        """A code for one device, from the box itself: what `medxz-hub pair` does."""
        asked = PairRequest(name=None, scope=scope)
        return (await self.machine.call(self.running.doors.pairing.pair(asked))).code

    async def decide(self, command: str, **arguments: Any) -> dict[str, Any]:
        """What the operator of a hub alone decides: `user_add`, `user_disable`, `device_revoke` …"""
        hub = self.running
        table = desk_of(hub.storage, hub.identity, hub.doors.office).table()
        return dict(await self.machine.call(_decided(table[command], arguments)))

    async def renew_certificate(self) -> bool:
        """A new certificate from the cloud, as when the box is met under another address; whether there is one."""
        held = self.running.doors.certificate
        if held is None:
            return False
        self._renewals += 1
        return await self.machine.call(held.renew([], [f"10.0.0.{self._renewals % 250 + 1}"]))

    # ------------------------------------------------------------------------------------------- the disk

    async def restore(self, place: Path, *, new_epoch: bool) -> None:
        """An older copy takes the place of what is there, and the hub runs on it.

        `new_epoch`: the operator says so. Otherwise the hub finds out by itself that its log went back.
        """
        self.put_back(place)
        self.machine.boot()
        if new_epoch:
            await self.machine.call(self._begin_epoch())
        await self.start()

    async def become_copy_of(self, other: HubParty) -> None:
        """This box gets the card of another one: from here there are two of one hub. It is off afterwards."""
        self.put_back(await other.copied())
        self.clinic_id, self.site_id, self.site = other.clinic_id, other.site_id, other.site
        self.server_id, self.is_claimed = other.server_id, other.is_claimed

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
        """The whole log. A hub has one clinic, so that none need be named."""
        return await self.machine.call(stored.ops_of(self.running.storage.log))

    async def states(self, clinic_id: str | None = None) -> States:
        follower = stored.follower_of(self.running.clinic)
        return await self.machine.call(stored.states_of(self.running.storage.log, follower))

    async def conflicts(self, clinic_id: str | None = None) -> Conflicts:
        return await self.machine.call(stored.conflicts_of(stored.follower_of(self.running.clinic)))

    async def audit_verify(self, clinic_id: str | None = None) -> AuditVerifyAnswer:
        return await self.machine.call(self._audit_verified(self.running))

    # ------------------------------------------------------------------------------------------------ how

    async def _begin_epoch(self) -> None:
        places, machine = self.settings.places, self.machine
        async with open_storage(places, lambda: read_key(places.key_file, {}), machine.clock) as storage:
            await storage.log.begin_epoch(machine.ids.uuid7())

    async def _audit_verified(self, hub: Hub) -> AuditVerifyAnswer:
        transactions = await hub.storage.open_audit()
        try:
            return await verified(transactions, hub.identity.clinic_id)
        finally:
            await transactions.close()


async def _decided(handler: Any, arguments: dict[str, Any]) -> Any:
    return await handler(arguments)
