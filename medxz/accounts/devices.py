"""A clinic's devices as its administrator sees them, and the revoking of one: its sessions end with it.

A device that took another id is one device: whichever of its ids is revoked, all of them are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
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
            held = {device.device_id: device for device in await devices.everyone(tx, clinic_id)}
            if device_id not in held:
                raise NotFound(f"the clinic has no device {device_id}")
            for one in [device_id, *_other_ids(held, device_id)]:
                if one == device_id or not held[one].revoked:
                    await self._revoke(tx, clinic_id, one, by, None if one == device_id else device_id)

        await self._authority.decide(revoke)

    async def list(self, clinic_id: str) -> list[DeviceRow]:
        async def read(tx: Tx) -> list[DeviceRow]:
            await clinic_of(tx, clinic_id)
            return await devices.everyone(tx, clinic_id)

        return await self._authority.transactions.read(read)

    async def _revoke(self, tx: Tx, clinic_id: str, device_id: str, by: str | None, also: str | None) -> None:
        await devices.revoke(tx, clinic_id, device_id)
        ended = await sessions.revoke_of_device(tx, clinic_id, device_id)
        detail = {"sessions": len(ended)} | ({"with": also} if also is not None else {})
        entry = Entry("device_revoked", user_id=by, device_id=device_id, detail=detail)
        await self._authority.trail.append(tx, clinic_id, entry)


def _other_ids(held: Mapping[str, DeviceRow], device_id: str) -> list[str]:
    """What it was before and what it became, by whichever of its copies."""
    beside: defaultdict[str, set[str]] = defaultdict(set)
    for device in held.values():
        if device.replaces is not None and device.replaces in held:
            beside[device.device_id].add(device.replaces)
            beside[device.replaces].add(device.device_id)
    found, open_ids = {device_id}, [device_id]
    while open_ids:
        new = beside[open_ids.pop()] - found
        found |= new
        open_ids += new
    return sorted(found - {device_id})
