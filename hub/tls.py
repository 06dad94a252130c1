"""What a hub shows who connects: the operator's certificate, the cloud's, or one by its own CA; and when it is renewed."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from itertools import chain, repeat
from typing import Final

from cryptography import x509

from hub.doors import Doors, Surroundings
from hub.identity import HubIdentity, current_certificate
from hub.storage import Storage
from medxz.lan.interfaces import InterfaceWatch
from medxz.loopback import is_loopback
from medxz.program.addresses import host_names, machine_addresses
from medxz.program.running import operators_context
from medxz.trust.certificates import Credential, ca_fingerprint, load_credential, server_context
from medxz.waiting import first_of

_RENEWAL_CHECK_S: Final = 3_600.0
# the cloud, which may have to be asked, is not met at once where a cable was just plugged in
_MOVED_CHECKS_S: Final = (10.0, 60.0)


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
        settings, watch = self._around.settings, InterfaceWatch()
        await watch.start()
        try:
            pauses: Iterator[float] = repeat(_RENEWAL_CHECK_S)
            while True:
                credential, is_new = await self._newest()
                if is_new and context is not None and settings.tls_cert is None:
                    load_credential(context, credential)
                    self._around.say.info("certificate renewed")
                if await self._has_moved(watch, next(pauses)):
                    pauses = chain(_MOVED_CHECKS_S, repeat(_RENEWAL_CHECK_S))
        finally:
            watch.stop()

    async def _has_moved(self, watch: InterfaceWatch, pause_s: float) -> bool:
        """Whether the machine has other addresses, another name or another clock before so long is over."""
        slept, turned = self._around.clock.sleep(pause_s), self._storage.clock.turned()
        return await first_of(slept, watch.changed(), self._around.presence.renamed(), turned) != 0

    async def _newest(self) -> tuple[Credential, bool]:
        """What to serve with, and whether it is new; the cloud is asked where that is due."""
        if self._cloud is not None:
            is_new = await self._cloud.renew(self._names(), self._addresses())
            if self._cloud.serves:
                return self._cloud.shown, is_new
        return await self._own_certificate()

    async def _own_certificate(self) -> tuple[Credential, bool]:
        return await current_certificate(
            self._storage.registry,
            self._identity,
            self._around.clock,
            names=self._names(),
            addresses=self._addresses(),
        )

    def _names(self) -> list[str]:
        return host_names() + self._around.presence.names

    def _addresses(self) -> list[str]:
        return [] if is_loopback(self._around.settings.bind_host) else machine_addresses()


def shown_fingerprint(identity: HubIdentity, doors: Doors) -> str:
    """Of the root behind what is shown: the clinic's CA, or the hub's own."""
    cloud = doors.certificate
    if cloud is None or not cloud.serves:
        return identity.ca_fingerprint
    chain = x509.load_pem_x509_certificates(cloud.shown.certificate_pem)
    return ca_fingerprint(next(root for root in chain if root.subject == root.issuer))
