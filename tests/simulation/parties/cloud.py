"""The cloud as a party: `open_cloud` on files, and the decisions that its operator takes while it runs or does not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Final

import cloud.config
from cloud.app import Cloud, open_cloud
from cloud.store import CloudStore, make_store, open_store
from medxz.accounts.cloud import Administration, assemble
from medxz.accounts.passwords import Passwords
from medxz.op import Operation
from medxz.service.audit import verified
from medxz.store.authority.known import Directories
from medxz.web import make_log
from medxz.wire import AuditVerifyAnswer, CloudPlace
from medxz.work import InlineWorker
from tests.simulation.parties import stored
from tests.simulation.parties.party import PORT, Conflicts, Party, States
from tests.simulation.parties.standing import Machine


class CloudParty(Party[Cloud]):
    """One cloud, for all clinics of a world."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self.url: Final = f"http://{machine.ip}:{PORT}"
        self.said: Final = BytesIO()
        self._passwords: Final = Passwords([InlineWorker()])

    @property
    def settings(self) -> cloud.config.Settings:
        flags = {
            "data": self.machine.directory / "cloud",
            "plain_http": True,
            "host": self.machine.ip,
            "port": PORT,
            "log_level": "warning",
        }
        return cloud.config.load_settings(flags, {})

    @property
    def server_id(self) -> str:
        return self.running.store.server.server_id

    @property
    def admin(self) -> Administration:
        """What an operator decides beside the running cloud."""
        return self._administration(self.running.store, self.running.parts.directories)

    async def make(self) -> None:
        """A cloud without clinics yet, where there was none."""
        await self.machine.call(self._make())

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Cloud]:
        machine = self.machine
        log = make_log(self.said, machine.clock, "warning")
        async with open_cloud(self.settings, {}, log=log, clock=machine.clock, ids=machine.ids) as cloud:
            yield cloud

    # ------------------------------------------------------------------------------------------- the disk

    async def restore(self, place: Path, *, new_epoch: bool) -> None:
        """A backup takes the place of what is there, and the cloud runs on it.

        `new_epoch`: the operator says so. Otherwise the cloud finds out by itself that its logs went back.
        """
        self.put_back(place)
        self.machine.boot()
        if new_epoch:
            await self.machine.call(self._begin_epoch())
        await self.start()

    # ---------------------------------------------------------------------------------------- what it has

    async def epoch(self, clinic_id: str) -> str:
        return (await self.running.parts.clinics.get(clinic_id)).log.epoch

    async def ops(self, clinic_id: str) -> list[Operation]:
        clinic = await self.machine.call(self.running.parts.clinics.get(clinic_id))
        return await self.machine.call(stored.ops_of(clinic.log))

    async def states(self, clinic_id: str) -> States:
        clinic = await self.machine.call(self.running.parts.clinics.get(clinic_id))
        return await self.machine.call(stored.states_of(clinic.log, clinic.follower))

    async def conflicts(self, clinic_id: str) -> Conflicts:
        clinic = await self.machine.call(self.running.parts.clinics.get(clinic_id))
        return await self.machine.call(stored.conflicts_of(clinic.follower))

    async def audit_verify(self, clinic_id: str) -> AuditVerifyAnswer:
        return await self.machine.call(verified(self.running.store.transactions, clinic_id))

    # ------------------------------------------------------------------------------------------------ how

    async def _make(self) -> None:
        async with make_store(self.settings, {}, self.machine.clock, self.machine.ids):
            pass

    async def _begin_epoch(self) -> None:
        async with open_store(self.settings, {}, self.machine.clock, self.machine.ids) as store:
            directories = Directories(store.transactions, store.authority.clock)
            await self._administration(store, directories).server.begin_epoch()

    def _administration(self, store: CloudStore, directories: Directories) -> Administration:
        place = CloudPlace(server_id=store.server.server_id, url=self.url)
        return assemble(store.authority, self._passwords, directories, place).administration
