"""Access tokens: EdDSA JWTs, signed and verified (docs/protocol.md, "Identity").

Refused here: any algorithm but EdDSA whatever the token says of itself, a key that was not handed in, a header
that asks for an extension, claims that are missing or of another type, and times that do not fit the given clock.
Who a token's user is and whether the session was revoked is not decided here.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal, get_args

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from medxz import limits
from medxz.clock import Clock
from medxz.errors import TokenExpired, TokenInvalid
from medxz.ids import UUID_PATTERN, is_uuid

Role = Literal["admin", "clinician", "front_desk", "hub", "operator"]
ROLES: Final[frozenset[str]] = frozenset(get_args(Role))

# the one algorithm; what a token's own header says only has to agree
_ALGORITHM: Final = "EdDSA"
_JWS: Final = jwt.PyJWS(algorithms=[_ALGORITHM])


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says: `iss` a server's id, `sub` a user's (for role hub: the hub's) id, times in seconds."""

    iss: str
    sub: str
    cid: str
    did: str | None
    sid: str
    site: str
    roles: frozenset[str]
    iat: int
    exp: int

    def __post_init__(self) -> None:
        ids = (self.iss, self.sub, self.cid, self.sid, self.site)
        if not all(map(is_uuid, ids)) or not (self.did is None or is_uuid(self.did)):
            raise ValueError("iss, sub, cid, did, sid and site are UUIDs")
        if not self.roles or not self.roles <= ROLES:
            raise ValueError("roles are some of " + ", ".join(sorted(ROLES)))
        if "hub" in self.roles and (self.roles != {"hub"} or self.did is not None):
            raise ValueError("the role hub stands alone and has no device")
        if self.did is None and not self.roles <= {"hub", "operator"}:
            raise ValueError("did is missing")
        if not 0 <= self.iat < self.exp <= limits.INTEGER_MAX:
            raise ValueError("exp comes after iat")


_Id = Annotated[str, msgspec.Meta(pattern=f"^{UUID_PATTERN}$")]
_Seconds = Annotated[int, msgspec.Meta(ge=0, le=limits.INTEGER_MAX)]


class _WireClaims(msgspec.Struct, frozen=True, kw_only=True):
    """The claims as they travel; members that are not ours are let pass, so that tokens can grow."""

    iss: _Id
    sub: _Id
    cid: _Id
    sid: _Id
    site: _Id
    roles: Annotated[list[Role], msgspec.Meta(min_length=1, max_length=len(ROLES))]
    iat: _Seconds
    exp: _Seconds
    did: _Id | msgspec.UnsetType = msgspec.UNSET
    nbf: _Seconds = 0


_decode_claims = msgspec.json.Decoder(_WireClaims).decode


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
        body = {
            "iss": claims.iss,
            "sub": claims.sub,
            "cid": claims.cid,
            **({"did": claims.did} if claims.did is not None else {}),
            "sid": claims.sid,
            "site": claims.site,
            "roles": sorted(claims.roles),
            "iat": claims.iat,
            "exp": claims.exp,
        }
        return jwt.encode(body, self._key, algorithm=_ALGORITHM, headers={"kid": self._kid})


class TokenVerifier:
    """Verifies against a fixed set of public keys, each by its kid."""

    def __init__(self, keys: Mapping[str, Ed25519PublicKey], clock: Clock) -> None:
        self._keys = dict(keys)
        self._clock = clock

    def verify(self, token: str) -> Claims:
        """What the token says, once its signature and its times hold; else TokenInvalid or TokenExpired."""
        if len(token) > limits.TOKEN_CHARS_MAX:
            raise TokenInvalid(f"the token is longer than {limits.TOKEN_CHARS_MAX} characters")
        key = self._key_of(token)
        try:
            body = _JWS.decode(token, key, algorithms=[_ALGORITHM])
        except jwt.InvalidSignatureError:
            raise TokenInvalid("the token's signature does not fit its key") from None
        except jwt.InvalidTokenError:
            raise TokenInvalid("the token is not an EdDSA JWT") from None
        return self._timely(_lawful(body))

    def _key_of(self, token: str) -> Ed25519PublicKey:
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.InvalidTokenError, UnicodeError):
            raise TokenInvalid("the token is not a JWT") from None
        if header.get("alg") != _ALGORITHM:
            raise TokenInvalid(f"the token's algorithm must be {_ALGORITHM}")
        if "crit" in header or "b64" in header:
            raise TokenInvalid("the token asks for an extension that is not known here")
        kid = header.get("kid")
        if not isinstance(kid, str):
            raise TokenInvalid("the token does not name its key (kid)")
        key = self._keys.get(kid)
        if key is None:
            raise TokenInvalid("the token was signed with a key that is not known here")
        return key

    def _timely(self, wire: _WireClaims) -> Claims:
        now_s = self._clock.now_ms() / 1_000
        if max(wire.iat, wire.nbf) > now_s + limits.TOKEN_LEEWAY_S:
            raise TokenInvalid("the token begins in the future: one of the two clocks is wrong")
        if wire.exp <= now_s - limits.TOKEN_LEEWAY_S:
            raise TokenExpired("the token has ended")
        did = None if isinstance(wire.did, msgspec.UnsetType) else wire.did
        roles = frozenset[str](wire.roles)
        try:
            return Claims(wire.iss, wire.sub, wire.cid, did, wire.sid, wire.site, roles, wire.iat, wire.exp)
        except ValueError as error:
            raise TokenInvalid(f"the token's claims do not fit together: {error}") from None


def _lawful(body: bytes) -> _WireClaims:
    try:
        return _decode_claims(body)
    except msgspec.ValidationError as error:
        raise TokenInvalid(f"the token's claims are not what they must be: {error}") from None
    except (msgspec.DecodeError, UnicodeError):
        raise TokenInvalid("the token's claims are not JSON") from None
