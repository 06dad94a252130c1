"""TLS of the cloud: by the operator's files, or by a certificate of the cloud's own root that lives as long as the run.

The root is one for all relays of a cloud; the certificate is each relay's own, since each has addresses of its own.
"""

from __future__ import annotations

import ipaddress
import ssl
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from medxz.loopback import is_loopback
from medxz.program.addresses import host_names, machine_addresses
from medxz.program.running import operators_context
from medxz.trust.certificates import (
    Credential,
    covers,
    issue_server,
    load_credential,
    needs_renewal,
    server_context,
)

if TYPE_CHECKING:
    from cloud.config import Settings
    from cloud.store import CloudStore
    from medxz.clock import Clock

RENEWAL_CHECK_S: Final = 3_600.0


class Tls:
    """What one run serves with."""

    def __init__(self, settings: Settings, store: CloudStore, clock: Clock) -> None:
        self._settings: Final = settings
        self._store: Final = store
        self._clock: Final = clock
        self._credential: Credential | None = None
        self.context: Final = self._context()

    def _context(self) -> ssl.SSLContext | None:
        if self._settings.plain_http:
            return None
        if self._settings.tls_cert is not None:
            return operators_context(self._settings)
        self._credential = self._issued()
        return server_context(self._credential)

    @property
    def is_own(self) -> bool:
        """Whether clients have to be told of the cloud's root."""
        return self._credential is not None

    def known_by(self) -> str | None:
        """The certificates that commands on this machine know it by; None without TLS."""
        if self._settings.plain_http:
            return None
        if self._settings.tls_cert is not None:
            return self._settings.tls_cert.read_text("utf-8")
        return self._store.root.certificate_pem.decode()

    async def renew(self) -> None:
        """Serve with a new one once two thirds of the old one's life are over, or the machine has moved. Never ends."""
        while self._credential is not None and self.context is not None:
            await self._clock.sleep(RENEWAL_CHECK_S)
            names, addresses = self._named()
            held = self._credential.certificate
            server_id = self._store.server.server_id
            if needs_renewal(held, self._clock.now_ms()) or not covers(
                held, server_id, names=names, addresses=addresses
            ):
                self._credential = self._issued()
                load_credential(self.context, self._credential)

    def _issued(self) -> Credential:
        names, addresses = self._named()
        return issue_server(
            self._store.root,
            self._store.server.server_id,
            self._clock.now_ms(),
            names=names,
            addresses=addresses,
        )

    def _named(self) -> tuple[list[str], list[str]]:
        names = host_names()
        addresses = [] if is_loopback(self._settings.bind_host) else machine_addresses()
        public = urlsplit(self._settings.public_url or "").hostname
        if public is not None:
            (addresses if _is_address(public) else names).append(public)
        return sorted(set(names)), sorted(set(addresses))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
