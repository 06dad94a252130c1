"""What a hub shows who connects: the operator's certificate, the cloud's, or one by its own CA; and when it is renewed."""

from __future__ import annotations

import ssl
from typing import Final

from hub.doors import Doors, Surroundings
from hub.identity import HubIdentity, current_certificate
from hub.storage import Storage
from medxz.program.addresses import host_names, machine_addresses
from medxz.program.running import operators_context
from medxz.program.settings import is_loopback
from medxz.trust.certificates import Credential, load_credential, server_context

_RENEWAL_CHECK_S: Final = 3_600.0


class Tls:
    """One running hub's."""

    def __init__(self, storage: Storage, identity: HubIdentity, doors: Doors, around: Surroundings) -> None:
        self._storage: Final = storage
        self._identity: Final = identity
        self._cloud: Final = doors.certificate
        self._around: Final = around

    async def context(self) -> ssl.SSLContext | None:
        """To serve with; None: without TLS."""
        settings = self._around.settings
        if settings.plain_http:
            return None
        if settings.tls_cert is not None:
            return operators_context(settings)
        if self._cloud is not None and self._cloud.serves:
            return server_context(self._cloud.shown)
        credential, _ = await self._own_certificate()
        return server_context(credential)

    async def renew(self, context: ssl.SSLContext | None) -> None:
        """Serve with a new certificate once two thirds of the old one's life are over, or the machine has moved."""
        settings = self._around.settings
        while True:
            credential, is_new = await self._newest()
            if is_new and context is not None and settings.tls_cert is None:
                load_credential(context, credential)
                self._around.say.info("certificate renewed")
            await self._around.clock.sleep(_RENEWAL_CHECK_S)

    async def _newest(self) -> tuple[Credential, bool]:
        """What to serve with, and whether it is new; the cloud is asked where that is due."""
        if self._cloud is not None:
            is_new = await self._cloud.renew(host_names(), self._addresses())
            if self._cloud.serves:
                return self._cloud.shown, is_new
        return await self._own_certificate()

    async def _own_certificate(self) -> tuple[Credential, bool]:
        return await current_certificate(
            self._storage.registry,
            self._identity,
            self._around.clock,
            names=host_names(),
            addresses=self._addresses(),
        )

    def _addresses(self) -> list[str]:
        return [] if is_loopback(self._around.settings.bind_host) else machine_addresses()
