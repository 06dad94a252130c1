"""A clinic's devices as its administrator sees them, and the revoking of one: its sessions end with it."""

from __future__ import annotations

from typing import Final

from medxz.accounts.base import Authority, clinic_of
from medxz.errors import NotFound
from medxz.store.authority import devices, sessions
from medxz.store.authority.audit import Entry
from medxz.store.authority.base import Tx
from medxz.store.authority.devices import DeviceRow


class Devices:
    """The use cases about devices that are in already."""

    def __init__(self, authority: Authority) -> None:
        self._authority: Final = authority

    async def revoke(self, clinic_id: str, device_id: str, by: str | None = None) -> None:
        """It is out from now on, with everybody who is in on it; NotFound where the clinic has no such device."""

        async def revoke(tx: Tx) -> None:
            await clinic_of(tx, clinic_id)
            if not await devices.revoke(tx, clinic_id, device_id):
                raise NotFound(f"the clinic has no device {device_id}")
            ended = await sessions.revoke_of_device(tx, clinic_id, device_id)
            detail = {"sessions": len(ended)}
            entry = Entry("device_revoked", user_id=by, device_id=device_id, detail=detail)
            await self._authority.trail.append(tx, clinic_id, entry)

        await self._authority.decide(revoke)

    async def list(self, clinic_id: str) -> list[DeviceRow]:
        async def read(tx: Tx) -> list[DeviceRow]:
            await clinic_of(tx, clinic_id)
            return await devices.everyone(tx, clinic_id)

        return await self._authority.transactions.read(read)
