"""What a hub shows who connects: the operator's certificate, the cloud's, or one by its own CA; and when it is renewed."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterator
from itertools import chain, repeat
from typing import Final

from cryptography import x509

from hub.ask import Json
from hub.doors import Doors, Surroundings
from hub.identity import HubIdentity, current_certificate
from hub.storage import Storage
from medxz.clock import format_time
from medxz.errors import CloudRequired
from medxz.lan.interfaces import InterfaceWatch
from medxz.loopback import is_loopback
from medxz.program.addresses import host_names, machine_addresses
from medxz.program.running import operators_credential
from medxz.trust.certificates import (
    Credential,
    ca_fingerprint,
    load_credential,
    needs_renewal,
    server_context,
)
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
        self._context: ssl.SSLContext | None = None
        self._shown: Credential | None = None
        self._one_at_a_time: Final = asyncio.Lock()

    def serves_until_ms(self) -> int | None:
        """When the certificate ends that is shown; None without TLS."""
        if self._shown is None:
            return None
        return int(self._shown.certificate.not_valid_after_utc.timestamp() * 1_000)

    async def context(self) -> ssl.SSLContext | None:
        """To serve with; None: without TLS."""
        settings = self._around.settings
        if settings.plain_http:
            return None
        if settings.tls_cert is not None:
            self._shown = operators_credential(settings)
        elif self._cloud is not None and self._cloud.serves:
            self._shown = self._cloud.shown
        else:
            self._shown, _ = await self._own_certificate()
        self._context = server_context(self._shown)
        return self._context

    async def keep_renewed(self) -> None:
        """Serve with a new certificate once two thirds of the old one's life are over, or the machine has moved."""
        watch = InterfaceWatch()
        await watch.start()
        try:
            pauses: Iterator[float] = repeat(_RENEWAL_CHECK_S)
            while True:
                async with self._one_at_a_time:
                    credential, is_new = await self._newest()
                    if self._around.settings.tls_cert is None:
                        self._show(credential, is_new=is_new)
                if await self._has_moved(watch, next(pauses)):
                    pauses = chain(_MOVED_CHECKS_S, repeat(_RENEWAL_CHECK_S))
        finally:
            watch.stop()

    async def renew(self) -> Json:
        """What is due, now; an operator's files are read anew. CloudRequired: it is due, and only the cloud could."""
        async with self._one_at_a_time:
            credential, is_new = await self._newest()
            settings = self._around.settings
            if settings.tls_cert is not None:
                credential = operators_credential(settings)
                is_new = credential != self._shown
            self._show(credential, is_new=is_new)
        if self._context is None:
            return {"renewed": False, "by": None, "serves_until": None}
        if self._cloud is not None and needs_renewal(
            self._cloud.credential.certificate, self._around.clock.now_ms()
        ):
            ends = _end_of(self._cloud.credential)
            raise CloudRequired(
                f"the certificate is due, and only the cloud can renew it; it is good until {ends}"
            )
        return {"renewed": is_new, "by": self._maker(), "serves_until": _end_of(credential)}

    def _show(self, credential: Credential, *, is_new: bool) -> None:
        if is_new and self._context is not None:
            load_credential(self._context, credential)
            self._shown = credential
            self._around.say.info("certificate renewed")

    def _maker(self) -> str:
        if self._around.settings.tls_cert is not None:
            return "operator"
        return "cloud" if self._cloud is not None and self._cloud.serves else "hub"

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

    def named(self) -> tuple[list[str], list[str]]:
        """The names and addresses that a certificate of this hub is to have."""
        return self._names(), self._addresses()

    def _names(self) -> list[str]:
        return host_names() + self._around.presence.names

    def _addresses(self) -> list[str]:
        return [] if is_loopback(self._around.settings.bind_host) else machine_addresses()


def renewal_commands(tls: Tls) -> dict[str, Callable[[Json], Awaitable[Json]]]:
    """For the control socket: `medxz-hub renew`."""

    async def renew(_arguments: Json) -> Json:
        return await tls.renew()

    return {"renew": renew}


def _end_of(credential: Credential) -> str:
    return format_time(int(credential.certificate.not_valid_after_utc.timestamp() * 1_000))


def shown_fingerprint(identity: HubIdentity, doors: Doors) -> str:
    """Of the root behind what is shown: the clinic's CA, or the hub's own."""
    cloud = doors.certificate
    if cloud is None or not cloud.serves:
        return identity.ca_fingerprint
    chain = x509.load_pem_x509_certificates(cloud.shown.certificate_pem)
    return ca_fingerprint(next(root for root in chain if root.subject == root.issuer))
