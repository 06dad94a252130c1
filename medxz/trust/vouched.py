"""Tokens that a hub gives while the cloud can't be reached: signed with its certificate's key, proved by the certificate.

The header carries the certificate chain (`x5c`); a root of the clinic stands for the hub, the hub for the session.
Taken at the hubs of the site alone: `iss` must be a hub that the reader's own directory has at that site and has not
seen revoked. What a certificate says of a hub is its id; where it stands is the directory's to say, never the token's.
Refused as well: a token without a device, one that makes its bearer a hub or an operator, and one that lasts longer
than the cloud's do.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from medxz import limits
from medxz.clock import Clock, latest_of
from medxz.errors import TokenInvalid
from medxz.trust.certificates import Credential, private_key
from medxz.trust.claims import Claims, claims_body
from medxz.trust.clinic_ca import verify_chain

ALGORITHM: Final = "ES256"
_CHAIN_MAX: Final = 3
_CLOUD: Final = "cloud"


@dataclass(frozen=True, slots=True)
class SiteHubs:
    """Whose word is taken here: the hubs of one site that were not revoked, and the roots that prove them."""

    clinic_id: str
    site_id: str
    hub_ids: frozenset[str]
    roots: tuple[x509.Certificate, ...]


class HubTokenSigner:
    """Gives such tokens, in one hub's name."""

    def __init__(self, credential: Credential, hub_id: str, clock: Clock) -> None:
        """`credential`: the certificate with what it is followed by, and its key."""
        self._key: Final = private_key(credential.key_pem)
        self._hub_id: Final = hub_id
        self._clock: Final = clock
        chain = x509.load_pem_x509_certificates(credential.certificate_pem)
        self._chain: Final = [
            base64.b64encode(certificate.public_bytes(Encoding.DER)).decode("ascii")
            for certificate in chain
            if certificate.subject
            != certificate.issuer  # whoever reads it has the root, or does not trust it
        ]

    def issue(
        self,
        *,
        sub: str,
        cid: str,
        did: str,
        sid: str,
        site: str,
        roles: frozenset[str],
        ttl_s: int,
        cloud_s: int | None = None,
    ) -> str:
        """A token that begins now; ValueError where the claims are not lawful.

        `cloud_s`: when the cloud last stood for the session. However often it is renewed, it lasts from then.
        """
        now_s = self._clock.now_ms() // 1_000
        claims = Claims(self._hub_id, sub, cid, did, sid, site, roles, iat=now_s, exp=now_s + ttl_s)
        body = claims_body(claims) | ({_CLOUD: cloud_s} if cloud_s is not None else {})
        return jwt.encode(body, self._key, algorithm=ALGORITHM, headers={"x5c": self._chain})


class VouchedKeys:
    """The key that a token's chain proves, for the hubs that are trusted right now."""

    def __init__(self, hubs: Callable[[], SiteHubs | None], clock: Clock) -> None:
        """`hubs` gives the newest of what this server knows; None: no hub's word is taken."""
        self._hubs: Final = hubs
        self._clock: Final = clock
        self._latest_ms: Final = latest_of(clock)

    def key_of(self, header: Mapping[str, Any], issuer: str) -> ec.EllipticCurvePublicKey:
        """The P-256 key that must have signed; TokenInvalid where nobody stands for this issuer."""
        hubs = self._hubs()
        if hubs is None or issuer not in hubs.hub_ids:
            raise TokenInvalid("the token's issuer is not a hub of this site that is known here")
        try:
            chain, now_ms = _chain(header.get("x5c")), self._clock.now_ms()
            return verify_chain(chain, hubs.roots, issuer, now_ms, latest_ms=self._latest_ms())
        except ValueError as error:
            raise TokenInvalid(f"no CA known here stands for the token's hub: {error}") from None

    def check(self, claims: Claims) -> None:
        """Whether a hub may say this; TokenInvalid where not."""
        hubs = self._hubs()
        if hubs is None or claims.cid != hubs.clinic_id or claims.site != hubs.site_id:
            raise TokenInvalid("a hub's token is good at the hubs of its own site alone")
        if claims.roles & {"hub", "operator"}:
            raise TokenInvalid("a hub stands for people at devices, and for nobody else")
        if claims.exp - claims.iat > limits.ACCESS_TOKEN_S:
            raise TokenInvalid("a hub's token lasts no longer than the cloud's")


def cloud_stood_at(token: str) -> int | None:
    """When the cloud last stood for the session, in seconds, as a hub's token says; the token was verified before."""
    try:
        body = jwt.api_jws.decode_complete(token, options={"verify_signature": False})["payload"]
        told = json.loads(body).get(_CLOUD)
    except (jwt.InvalidTokenError, ValueError, AttributeError):
        return None
    return told if isinstance(told, int) and not isinstance(told, bool) and told >= 0 else None


def _chain(x5c: object) -> list[x509.Certificate]:
    if not isinstance(x5c, list) or not 1 <= len(x5c) <= _CHAIN_MAX:
        raise ValueError("x5c is a short list of certificates")
    try:
        return [x509.load_der_x509_certificate(base64.b64decode(text, validate=True)) for text in x5c]
    except (TypeError, binascii.Error):
        raise ValueError("x5c is not base64") from None
