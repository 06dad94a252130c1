"""What a hub mirrors of its clinic, put together from what this server knows of it."""

from __future__ import annotations

from typing import Final

from medxz.accounts.base import wire_bytes
from medxz.accounts.key_ring import KeyRing
from medxz.service.configuration import config_answer
from medxz.service.gate import Caller, require
from medxz.store.directory import DeviceEntry, HubEntry, Known
from medxz.wire import DirectoryAnswer, DirectoryDevice, DirectoryHub, DirectorySite, DirectoryUser


class Mirrored:
    """The use case. One instance a server."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring: Final = ring

    async def directory(self, caller: Caller, after: int | None) -> DirectoryAnswer | None:
        """Everything, as of one revision; None where `after` is that one."""
        require(caller, "hub")
        if caller.known.directory.revision == after:
            return None
        return self._told(caller.known)

    def _told(self, known: Known) -> DirectoryAnswer:
        directory = known.directory
        return DirectoryAnswer(
            revision=directory.revision,
            users=[
                DirectoryUser(
                    user_id=user.user_id,
                    name=user.name,
                    email=user.email,
                    roles=sorted(user.roles),
                    disabled=user.disabled,
                )
                for user in directory.users.values()
            ],
            devices=[_device(device) for device in directory.devices.values()],
            revoked_sessions=sorted(directory.revoked_sessions),
            sites=[DirectorySite(site_id=site_id, name=name) for site_id, name in directory.sites.items()],
            hubs=[_hub(hub) for hub in directory.hubs.values()],
            keys=self._ring.jwks(),
            config=config_answer(known),
        )


def _device(device: DeviceEntry) -> DirectoryDevice:
    return DirectoryDevice(
        device_id=device.device_id,
        name=device.name,
        site_id=device.site_id,
        scope=device.scope,
        revoked=device.revoked,
        public_keys=[wire_bytes(key) for key in device.public_keys],
        authors=sorted(device.authors),
    )


def _hub(hub: HubEntry) -> DirectoryHub:
    return DirectoryHub(
        hub_id=hub.hub_id,
        site_id=hub.site_id,
        name=hub.name,
        public_key=hub.public_key_pem.decode(),
        revoked=hub.revoked,
        url=hub.url,
    )
