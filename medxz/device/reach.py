"""How a device reaches its server: over HTTP, by which certificates, with whose token.

A hub's certificate must be of a CA that came at enrolment, whatever the address is that it was met at; anywhere else
the address counts, as in a browser. Whoever shows another certificate is sent nothing.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Protocol

from medxz.device.token import TokenClaims, read_claims
from medxz.errors import ConfigurationError
from medxz.replicate import Remote

if TYPE_CHECKING:
    from medxz import wire
    from medxz.device.store import Identity
    from medxz.peer import Ear, TokenSource


class Server(Remote, Protocol):
    """A server as a device asks it."""

    async def login(self, request: wire.LoginRequest) -> wire.SessionAnswer: ...
    async def refresh(self, request: wire.RefreshRequest) -> wire.SessionAnswer: ...
    async def logout(self, request: wire.LogoutRequest) -> None: ...
    async def enrol(self, request: wire.EnrolRequest) -> wire.EnrolAnswer: ...
    async def alive(self) -> None: ...


class Connect(Protocol):
    """How a server is reached. Where none is given it is `medxz.peer.Peer`, over HTTP. `ear`: who listens to it."""

    def __call__(
        self, url: str, *, token: TokenSource, ssl_context: ssl.SSLContext | None, ear: Ear | None = None
    ) -> Server: ...


def over_http(
    url: str, *, token: TokenSource, ssl_context: ssl.SSLContext | None, ear: Ear | None = None
) -> Server:
    from medxz.peer import Peer  # what only records never loads it

    return Peer(url, token=token, ssl_context=ssl_context, ear=ear)


def no_token() -> str | None:
    """For requests that come before there is a token."""
    return None


def context_of(identity: Identity) -> ssl.SSLContext | None:
    """What this device's server must show; None for what the system trusts."""
    if identity.ca_pem is None:
        return None
    match identity.tls:
        case "token" if identity.access_token:
            return trusting(identity.ca_pem, read_claims(identity.access_token))
        case "token" | "hub":
            return of_clinic(identity.ca_pem)
        case "address":
            return by_address(identity.ca_pem)


def trusting(ca_pem: str, claims: TokenClaims) -> ssl.SSLContext:
    """TLS 1.3 with the one server that the token is of, whatever its address, by a certificate of this CA alone."""
    from medxz.trust.certificates import client_context  # what only records never loads it

    if claims.server_id is None:
        raise ConfigurationError(
            ["the token does not say which server it is of: its iss is missing or no UUID"]
        )
    try:
        return client_context(ca_pem.encode(), claims.server_id)
    except (ssl.SSLError, ValueError):
        raise ConfigurationError(["the CA is no certificate in PEM"]) from None


def of_clinic(ca_pem: str) -> ssl.SSLContext:
    """TLS 1.3 with any hub of the clinic, by a certificate of its CA alone: one that took another's place, too."""
    context = _trusting(ca_pem)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.sslobject_class = _HubObject
    return context


def by_address(ca_pem: str) -> ssl.SSLContext:
    """TLS with whoever has that address, by a certificate of these CAs alone."""
    return _trusting(ca_pem)


class _HubObject(ssl.SSLObject):
    """A connection whose other end must be a hub: a CA signs other certificates too.

    The CA of a hub that began alone makes no other CA, and proves that hub and no other.
    """

    def do_handshake(self) -> None:
        from medxz.trust.certificates import HUB_ROOT, HUB_SUFFIX  # what only records never loads it

        super().do_handshake()
        shown = self.getpeercert() or {}
        names = [str(pair[1]) for pair in shown.get("subjectAltName", ()) if pair[0] == "DNS"]
        hubs = {name.removesuffix(HUB_SUFFIX) for name in names if name.endswith(HUB_SUFFIX)}
        if not hubs:
            raise ssl.SSLCertVerificationError("the certificate names no hub")
        issuer = {str(pair[0][0]): str(pair[0][1]) for pair in shown.get("issuer", ())}.get("commonName", "")
        if issuer.startswith(HUB_ROOT) and hubs != {issuer.removeprefix(HUB_ROOT)}:
            raise ssl.SSLCertVerificationError("the certificate is by the CA of another hub")


def _trusting(ca_pem: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_verify_locations(cadata=ca_pem)
    except (ssl.SSLError, ValueError):
        raise ConfigurationError(["the CA is no certificate in PEM"]) from None
    return context
