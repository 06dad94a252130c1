"""A tablet as a party: `medxz.Device` with its real store and its real way through the clinic's servers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medxz.device.device import Device, Recorded, Status
from medxz.device.store.safety import Levels
from medxz.have import Have
from medxz.op import Operation
from medxz.scope import Scope
from tests.simulation.parties.party import Conflicts, Party, States
from tests.simulation.parties.standing import Machine


class TabletParty(Party[Device]):
    """One device. While it is up it stays in step as `medxz watch` does, unless it is told to rest."""

    scope: Scope = "full"

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self.clinic_id = ""
        self.device_id = ""
        self.email: str | None = None

    @property
    def device(self) -> Device:
        return self.running

    # --------------------------------------------------------------------------------------- how it begins

    async def enrol(self, server_url: str, code: str) -> None:
        """Become a device of the clinic at this server, by a code. It is up afterwards, and nobody is logged in."""
        raise NotImplementedError

    async def login(self, email: str, password: str) -> None:
        raise NotImplementedError

    async def logout(self) -> None:
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------ what it does

    async def record(
        self,
        entity_type: str,
        payload: Mapping[str, Any],
        *,
        entity_id: str | None = None,
        op: str = "create",
        parents: tuple[str, ...] | None = None,
        schema_version: int = 1,
    ) -> Recorded:
        """An op that is durable here when this returns: `create`, `update`, `amend` or `retract`."""
        raise NotImplementedError

    async def resolve(self, conflict_id: str, *, take: str | None = None, **fields: Any) -> list[Operation]:
        """Settle a conflict; the ops that it took."""
        raise NotImplementedError

    async def sync(self) -> None:
        """Push and pull once, now; PeerUnreachable or PeerRefused where that can't be done."""
        raise NotImplementedError

    async def follow(self) -> None:
        """Stay in step from now on, in the background, as often as it is started anew."""
        raise NotImplementedError

    async def rest(self) -> None:
        """Stay in step no longer."""
        raise NotImplementedError

    async def forget(self) -> list[str]:
        """Let go of what the clinic's days allow; which ops went."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------ how safe

    async def status(self) -> Status:
        raise NotImplementedError

    async def levels(self) -> Levels:
        """How safe each op is: `levels.of(op_id, own_seq=None)`."""
        raise NotImplementedError

    async def own_ops(self) -> list[Operation]:
        """Those that this device wrote and still has, those of an id that it had before included."""
        raise NotImplementedError

    async def have(self) -> Have:
        """Which numbers of which devices it has, those that came with a snapshot included."""
        raise NotImplementedError

    # ---------------------------------------------------------------------------------------- what it has

    async def ops(self, clinic_id: str | None = None) -> list[Operation]:
        """Whole ops that are here. What came by a snapshot is not among them: `have` counts it."""
        raise NotImplementedError

    async def states(self, clinic_id: str | None = None) -> States:
        raise NotImplementedError

    async def conflicts(self, clinic_id: str | None = None) -> Conflicts:
        raise NotImplementedError

    async def audit_verify(self, clinic_id: str | None = None) -> bool:
        """Whether its chain holds."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------- the disk

    async def restore(self, place: Path) -> None:
        """An older copy takes the place of what is there: the tablet wakes up in its past."""
        raise NotImplementedError

    async def become_copy_of(self, other: TabletParty, place: Path) -> None:
        """This machine gets the store of another tablet: from here there are two of one device."""
        raise NotImplementedError
