"""Access tokens: EdDSA JWTs, signed and verified (docs/protocol.md, "Identity").

Refused here: any algorithm but the one of the key that is asked for, whatever the token says of itself, a key that is
not known at this moment, a header that asks for an extension, claims that are missing or of another type, and times
that do not fit the given clock. A hub's own token (ES256, by its certificate) is taken only where the verifier was
given `vouched`. Refused too, where the verifier was told how long a token may last: one that says to last longer. A
clock that doubts itself (`medxz.clock.Doubting`) refuses no token for a begin that may have come. Who a token's user is
and whether the session was revoked is not decided here.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from medxz import limits
from medxz.clock import Clock, latest_of
from medxz.errors import TokenExpired, TokenInvalid
from medxz.roles import Role
from medxz.trust.claims import ROLES, Claims, WireClaims, claims_body, read_claims
from medxz.trust.vouched import ALGORITHM as _VOUCHED_ALGORITHM
from medxz.trust.vouched import VouchedKeys

__all__ = ["ROLES", "Claims", "Keys", "Proven", "Role", "TokenSigner", "TokenVerifier", "key_id"]

# what a token's own header says only has to agree
_ALGORITHM: Final = "EdDSA"
_JWS: Final = jwt.PyJWS(algorithms=[_ALGORITHM, _VOUCHED_ALGORITHM])

Keys = Mapping[str, Ed25519PublicKey]


@dataclass(frozen=True, slots=True)
class Proven:
    """What a token says, and the key that proves it; None where a hub's certificate does."""

    claims: Claims
    kid: str | None


def key_id(key: Ed25519PublicKey) -> str:
    """The name of a key: its JWK thumbprint (RFC 7638), the same wherever it is computed."""
    jwk = f'{{"crv":"Ed25519","kty":"OKP","x":"{_base64url(key.public_bytes_raw())}"}}'
    return _base64url(hashlib.sha256(jwk.encode()).digest())


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


class TokenSigner:
    """Signs with one key, in one server's name."""

    def __init__(self, private_key: Ed25519PrivateKey, kid: str, issuer: str, clock: Clock) -> None:
        self._key = private_key
        self._kid = kid
        self._issuer = issuer
        self._clock = clock

    def issue(
        self, *, sub: str, cid: str, did: str | None, sid: str, site: str, roles: frozenset[str], ttl_s: int
    ) -> str:
        """A token that begins now and lasts `ttl_s` seconds; ValueError where the claims are not lawful."""
        now_s = self._clock.now_ms() // 1_000
        claims = Claims(self._issuer, sub, cid, did, sid, site, roles, iat=now_s, exp=now_s + ttl_s)
        return self.sign(claims)

    def sign(self, claims: Claims) -> str:
        """These claims as a token. Nobody signs in another server's name: ValueError."""
        if claims.iss != self._issuer:
            raise ValueError(f"this key signs for {self._issuer}, not for {claims.iss}")
        return jwt.encode(claims_body(claims), self._key, algorithm=_ALGORITHM, headers={"kid": self._kid})


class TokenVerifier:
    """Verifies against the public keys that are known at that moment, each by its kid."""

    def __init__(
        self,
        keys: Keys | Callable[[], Keys],
        clock: Clock,
        vouched: VouchedKeys | None = None,
        *,
        lasts_s_max: int | None = None,
        lasting_keys: frozenset[str] = frozenset(),
        witness: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`keys` is looked into at every token: a mapping that changes, or what gives the newest one.

        `lasts_s_max`: how long a token may last, but for those of `lasting_keys`. Whoever has a stolen key can't make
        of it what outlives its being taken away. `witness` is told, in ms, when a token began that one of `keys` but
        these signed, before its times are judged: for somebody whose clock is right, now is later than that.
        """
        self._keys: Final = keys if callable(keys) else lambda: keys
        self._clock: Final = clock
        self._vouched: Final = vouched
        self._lasts_s_max: Final = lasts_s_max
        self._lasting_keys: Final = lasting_keys
        self._latest_ms: Final = latest_of(clock)
        self._witness: Final = witness

    def knows(self, kid: str) -> bool:
        """Whether that key is still good."""
        return kid in self._keys()

    def verify(self, token: str, *, ended_s: int = 0) -> Claims:
        """What the token says, once its signature and its times hold; else TokenInvalid or TokenExpired.

        `ended_s`: how long ago it may have ended, for who asks about a session and not for a right.
        """
        return self.prove(token, ended_s=ended_s).claims

    def prove(self, token: str, *, ended_s: int = 0) -> Proven:
        """The same, with the key that proves it."""
        if len(token) > limits.TOKEN_CHARS_MAX:
            raise TokenInvalid(f"the token is longer than {limits.TOKEN_CHARS_MAX} characters")
        try:
            parsed = jwt.api_jws.decode_complete(token, options={"verify_signature": False})
        except (jwt.InvalidTokenError, UnicodeError, RecursionError):
            raise TokenInvalid("the token is not a JWT") from None
        header, payload = parsed["header"], parsed["payload"]
        if "crit" in header or "b64" in header:
            raise TokenInvalid("the token asks for an extension that is not known here")
        if self._vouched is not None and "x5c" in header:
            claims = read_claims(payload)
            _check_signature(token, header, _VOUCHED_ALGORITHM, self._vouched.key_of(header, claims.iss))
            lawful = self._timely(claims, ended_s)
            self._vouched.check(lawful)
            return Proven(lawful, None)
        kid, key = self._key_of(header)
        _check_signature(token, header, _ALGORITHM, key)
        claims = read_claims(payload)
        if kid not in self._lasting_keys:
            self._witness(claims.iat * 1_000)
        lawful = self._timely(claims, ended_s)
        if self._lasts_too_long(lawful, kid):
            raise TokenInvalid("the token lasts longer than any that is given")
        return Proven(lawful, kid)

    def _lasts_too_long(self, claims: Claims, kid: str) -> bool:
        if self._lasts_s_max is None or kid in self._lasting_keys:
            return False
        return claims.exp - claims.iat > self._lasts_s_max + limits.TOKEN_LEEWAY_S

    def _key_of(self, header: Mapping[str, Any]) -> tuple[str, Ed25519PublicKey]:
        kid = header.get("kid")
        if not isinstance(kid, str):
            raise TokenInvalid("the token does not name its key (kid)")
        key = self._keys().get(kid)
        if key is None:
            raise TokenInvalid("the token was signed with a key that is not known here")
        return kid, key

    def _timely(self, wire: WireClaims, ended_s: int) -> Claims:
        now_s = self._clock.now_ms() / 1_000
        if max(wire.iat, wire.nbf) > self._latest_ms() / 1_000 + limits.TOKEN_LEEWAY_S:
            raise TokenInvalid("the token begins in the future: one of the two clocks is wrong")
        if wire.exp <= now_s - limits.TOKEN_LEEWAY_S - ended_s:
            raise TokenExpired("the token has ended")
        return wire.lawful()


def _check_signature(
    token: str, header: Mapping[str, Any], algorithm: str, key: Ed25519PublicKey | EllipticCurvePublicKey
) -> None:
    if header.get("alg") != algorithm:
        raise TokenInvalid(f"the token's algorithm must be {algorithm}")
    try:
        _JWS.decode(token, key, algorithms=[algorithm])
    except jwt.InvalidSignatureError:
        raise TokenInvalid("the token's signature does not fit its key") from None
    except jwt.InvalidTokenError:
        raise TokenInvalid(f"the token is not an {algorithm} JWT") from None
