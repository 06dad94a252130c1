"""Whose tokens a hub takes, by what it knows at that moment: the cloud's, its own, and those of its site's other hubs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hub.identity import HubIdentity
from medxz import limits
from medxz.clock import Clock
from medxz.errors import TokenInvalid
from medxz.store.directory import ClinicConfig, Directory
from medxz.store.registry import SqliteRegistry
from medxz.trust.jwks import jwks_of, keys_of
from medxz.trust.tokens import Proven, TokenVerifier, key_id
from medxz.trust.vouched import SiteHubs, VouchedKeys
from medxz.wire import JwksAnswer


class _OfAHub(TokenVerifier):
    """Takes a hub in by a token that this one gave it, and by no other.

    What the cloud gives a hub is for the cloud: with it a hub of another site would be let in at this one.
    """

    def __init__(self, server_id: str, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self._server_id: Final = server_id

    def prove(self, token: str, *, ended_s: int = 0) -> Proven:
        proven = super().prove(token, ended_s=ended_s)
        if "hub" in proven.claims.roles and proven.claims.iss != self._server_id:
            raise TokenInvalid("a hub is let in by a token that this hub gave it: POST /v1/auth/hub")
        return proven


class Trusted:
    """The keys and hubs of now. What the hub signed before it was claimed stays good until it ends."""

    def __init__(self, identity: HubIdentity, registry: SqliteRegistry) -> None:
        self._identity: Final = identity
        self._registry: Final = registry
        own = identity.token_key.public_key()
        self._own: Final = {key_id(own): own}
        self._read: tuple[JwksAnswer, dict[str, Ed25519PublicKey]] | None = None
        self._hubs: tuple[Directory, ClinicConfig, SiteHubs] | None = None

    def verifier(self, clock: Clock, witness: Callable[[int], None] = lambda _: None) -> TokenVerifier:
        """A cloud's tokens last as long as it gives them; a hub alone gives its own for as long as is asked.

        `witness` is told when a token began that the cloud signed.
        """
        return _OfAHub(
            self._identity.server_id,
            self.keys,
            clock,
            VouchedKeys(self.site_hubs, clock),
            lasts_s_max=limits.ACCESS_TOKEN_S,
            lasting_keys=frozenset(self._own),
            witness=witness,
        )

    def keys(self) -> dict[str, Ed25519PublicKey]:
        told = self._registry.keys
        if self._read is None or self._read[0] is not told:
            self._read = told, {**self._own, **keys_of(told)}
        return self._read[1]

    def jwks(self) -> JwksAnswer:
        return jwks_of(self.keys().values())

    def site_hubs(self) -> SiteHubs | None:
        """None on a hub that was never claimed."""
        claim, directory, config = self._identity.claim, self._registry.directory, self._registry.config
        if claim is None:
            return None
        if self._hubs is None or self._hubs[0] is not directory or self._hubs[1] is not config:
            hubs = {
                hub.hub_id
                for hub in directory.hubs.values()
                if hub.site_id == claim.site_id and not hub.revoked
            }
            own = directory.hubs.get(claim.hub_id)
            if own is None:  # it has not heard of itself yet
                hubs.add(claim.hub_id)
            roots = tuple(x509.load_pem_x509_certificate(pem.encode()) for pem in config.ca_certificates)
            made = SiteHubs(claim.clinic_id, claim.site_id, frozenset(hubs), roots)
            self._hubs = directory, config, made
        return self._hubs[2]
