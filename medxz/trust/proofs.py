"""Proofs of a key: the minute-long JWT by which a hub shows its certificate's key to the cloud (an assertion), and a
device its own key to a hub.

Both say who (`iss` and `sub`), to whom (`aud`), when, and a `jti` that is good once. The algorithm is the key's own:
ES256 for P-256, EdDSA for Ed25519. Refused: a proof for another server, one that lasts longer than a minute, one that
comes a second time. Whether the key belongs to who is named is the caller's to know: it hands the keys in.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from medxz import limits
from medxz.clock import Clock, latest_of
from medxz.errors import TokenInvalid
from medxz.ids import UUID_PATTERN, Ids

PROOF_S: Final = 60
# what a server remembers of proofs that are still good, of all and of one issuer; more in a minute are not honest, and
# those of one issuer must not crowd out the others': where the clock has doubts they are remembered for long
_REMEMBERED_MAX: Final = 100_000
_OF_ONE_MAX: Final = 200

_JWS: Final = jwt.PyJWS(algorithms=["ES256", "EdDSA"])

PrivateKey = EllipticCurvePrivateKey | Ed25519PrivateKey
PublicKey = EllipticCurvePublicKey | Ed25519PublicKey

_Id = Annotated[str, msgspec.Meta(pattern=f"^{UUID_PATTERN}$")]
_Seconds = Annotated[int, msgspec.Meta(ge=0, le=limits.INTEGER_MAX)]


class _Wire(msgspec.Struct, frozen=True, kw_only=True):
    iss: _Id
    sub: _Id
    aud: _Id
    iat: _Seconds
    exp: _Seconds
    jti: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


_decode: Final = msgspec.json.Decoder(_Wire).decode


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof that held. It must not be taken again before `ends_ms`."""

    issuer: str
    jti: str
    ends_ms: int


def sign_proof(key: PrivateKey, issuer: str, audience: str, clock: Clock, ids: Ids) -> str:
    """A proof that begins now: `issuer` has this key."""
    now_s = clock.now_ms() // 1_000
    body = {
        "iss": issuer,
        "sub": issuer,
        "aud": audience,
        "iat": now_s,
        "exp": now_s + PROOF_S,
        "jti": ids.uuid7(),
    }
    return jwt.encode(body, key, algorithm="EdDSA" if isinstance(key, Ed25519PrivateKey) else "ES256")


def proof_issuer(text: str) -> str:
    """Who a proof says that it is from. Nothing has been verified: it only finds the keys to try."""
    return _read(text).iss


def is_signed_by(text: str, key: PublicKey) -> bool:
    """Whether this key signed it; nothing else of it has been verified."""
    return _signed(text, key)


def verify_proof(text: str, keys: Iterable[PublicKey], audience: str, clock: Clock) -> Proof:
    """The proof, once one of its issuer's keys signed it and its times hold; TokenInvalid otherwise."""
    wire = _read(text)
    if not any(_signed(text, key) for key in keys):
        raise TokenInvalid("the proof's signature fits no key of its issuer that is known here")
    if wire.iss != wire.sub:
        raise TokenInvalid("nobody proves a key for somebody else: iss and sub differ")
    if wire.aud != audience:
        raise TokenInvalid("the proof is for another server")
    if not 0 < wire.exp - wire.iat <= PROOF_S:
        raise TokenInvalid(f"a proof lasts at most {PROOF_S} seconds")
    now_s, latest_s = clock.now_ms() / 1_000, latest_of(clock)() / 1_000
    if wire.iat - limits.TOKEN_LEEWAY_S > latest_s or now_s >= wire.exp + limits.TOKEN_LEEWAY_S:
        raise TokenInvalid("the proof is not of now: one of the two clocks is wrong, or it comes late")
    return Proof(wire.iss, wire.jti, (wire.exp + limits.TOKEN_LEEWAY_S) * 1_000)


class TakenOnce:
    """Remembers proofs until they have ended, for a server that is one process."""

    def __init__(self, clock: Clock) -> None:
        self._clock: Final = clock
        self._taken: Final[dict[str, set[str]]] = {}  # by issuer
        self._ends: Final[list[tuple[int, str, str]]] = []

    def take(self, proof: Proof) -> None:
        """TokenInvalid where it was taken before."""
        self._forget()
        of_issuer = self._taken.get(proof.issuer, set())
        if proof.jti in of_issuer:
            raise TokenInvalid("the proof was used before")
        if len(self._ends) >= _REMEMBERED_MAX or len(of_issuer) >= _OF_ONE_MAX:
            raise TokenInvalid("too many proofs in one minute; try again")
        self._taken.setdefault(proof.issuer, of_issuer).add(proof.jti)
        heapq.heappush(self._ends, (proof.ends_ms, proof.issuer, proof.jti))

    def _forget(self) -> None:
        """Those that have ended."""
        now_ms = self._clock.now_ms()
        while self._ends and self._ends[0][0] <= now_ms:
            _, issuer, jti = heapq.heappop(self._ends)
            self._taken[issuer].discard(jti)
            if not self._taken[issuer]:
                del self._taken[issuer]


def _read(text: str) -> _Wire:
    if len(text) > limits.TOKEN_CHARS_MAX:
        raise TokenInvalid(f"the proof is longer than {limits.TOKEN_CHARS_MAX} characters")
    try:
        parsed = jwt.api_jws.decode_complete(text, options={"verify_signature": False})
    except (jwt.InvalidTokenError, UnicodeError, RecursionError):
        raise TokenInvalid("the proof is not a JWT") from None
    if "crit" in parsed["header"] or "b64" in parsed["header"]:
        raise TokenInvalid("the proof asks for an extension that is not known here")
    try:
        return _decode(parsed["payload"])
    except msgspec.ValidationError as error:
        raise TokenInvalid(f"the proof's claims are not what they must be: {error}") from None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise TokenInvalid("the proof's claims are not JSON") from None


def _signed(text: str, key: PublicKey) -> bool:
    if isinstance(key, EllipticCurvePublicKey) and not isinstance(key.curve, SECP256R1):
        return False
    algorithms: Sequence[str] = ["EdDSA" if isinstance(key, Ed25519PublicKey) else "ES256"]
    try:
        _JWS.decode(text, key, algorithms=algorithms)
    except jwt.InvalidTokenError:
        return False
    return True
