"""Tokens and proofs. An input is a token's text, or says what to sign: `{"header", "body", "by", "after"}`.

`by` is the key: 0 the cloud's, 1 a stranger's, 2 a hub's by its certificate; `after` is put behind what was signed.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from medxz import limits
from medxz.device.token import read_claims as read_device_claims
from medxz.errors import ConfigurationError, Refusal, TokenExpired, TokenInvalid
from medxz.ids import SeededIds
from medxz.trust.certificates import Credential, key_text
from medxz.trust.claims import claims_body
from medxz.trust.clinic_ca import (
    issue_requested,
    make_clinic_root,
    make_intermediate,
    make_request,
    read_request,
)
from medxz.trust.proofs import TakenOnce, proof_issuer, sign_proof, verify_proof
from medxz.trust.tokens import TokenSigner, TokenVerifier, key_id
from medxz.trust.vouched import HubTokenSigner, SiteHubs, VouchedKeys, cloud_stood_at
from tests.fuzz.surface import Surface, holds
from tests.making import CLINIC, DEVICE, NOON_MS, USER, HandClock, fixed_id

CLOUD, HUB, SITE, SESSION = fixed_id(0x51), fixed_id(0xB1), fixed_id(0x5E), fixed_id(0x5A)
CLOCK: Final = HandClock()
NOW_S: Final = NOON_MS // 1_000
CLOUD_KEY: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
STRANGER: Final = Ed25519PrivateKey.from_private_bytes(bytes(32))
HUB_KEY: Final = ec.derive_private_key(0x1234_5678_9ABC, ec.SECP256R1())
KID: Final = key_id(CLOUD_KEY.public_key())
BODY: Final = {
    "iss": CLOUD, "sub": USER, "cid": CLINIC, "did": DEVICE, "sid": SESSION, "site": SITE, "roles": ["clinician"],
    "iat": NOW_S, "exp": NOW_S + 900,
}  # fmt: skip
PROOF: Final = {"iss": HUB, "sub": HUB, "aud": CLOUD, "iat": NOW_S, "exp": NOW_S + 60, "jti": "one"}


@cache
def hub() -> tuple[Credential, VouchedKeys]:
    """A hub of the clinic, and whoever takes its word."""
    root = make_clinic_root(CLINIC, NOON_MS)
    working = make_intermediate(root, CLINIC, NOON_MS)
    key = key_text(HUB_KEY)
    held = Credential(issue_requested(working, read_request(make_request(key, HUB)), NOON_MS), key)
    hubs = SiteHubs(CLINIC, SITE, frozenset({HUB}), (root.certificate,))
    return held, VouchedKeys(lambda: hubs, CLOCK)


@cache
def verifier() -> TokenVerifier:
    return TokenVerifier({KID: CLOUD_KEY.public_key()}, CLOCK, hub()[1], lasts_s_max=limits.ACCESS_TOKEN_S)


def _said(header: object, body: object, by: int, after: str = "") -> bytes:
    return json.dumps({"header": header, "body": body, "by": by, "after": after}).encode()


@cache
def token_seeds() -> Sequence[bytes]:
    signer = TokenSigner(CLOUD_KEY, KID, CLOUD, CLOCK)
    said: dict[str, Any] = {
        "sub": USER, "cid": CLINIC, "did": DEVICE, "sid": SESSION, "site": SITE, "roles": frozenset({"clinician"}), "ttl_s": 900,
    }  # fmt: skip
    by_hub = HubTokenSigner(hub()[0], HUB, CLOCK).issue(**said)
    x5c = jwt.get_unverified_header(by_hub)["x5c"]
    header = {"alg": "EdDSA", "typ": "JWT", "kid": KID}
    return [
        signer.issue(**said).encode(),
        by_hub.encode(),
        _said(header, BODY, 0),
        _said(header, BODY | {"roles": ["hub"], "sub": HUB} , 0),
        _said({"alg": "ES256", "typ": "JWT", "x5c": x5c}, BODY | {"iss": HUB}, 2),
        _said({"alg": "none", "kid": KID}, BODY, 0),
        _said({"alg": "HS256", "kid": KID}, BODY, 1),
        _said(header | {"crit": ["b64"], "b64": False}, BODY, 0),
    ]  # fmt: skip


def token_of(data: bytes) -> tuple[str, object]:
    """The token that an input stands for, and the key that signed it."""
    try:
        told = json.loads(data)
        header, body, by = told["header"], told["body"], told["by"]
        after = str(told.get("after", ""))
        signed = _segment(header) + b"." + _segment(body)
    except (ValueError, TypeError, KeyError, RecursionError):
        return data.decode("utf-8", "surrogateescape"), None
    key: Any = {0: CLOUD_KEY, 2: HUB_KEY}.get(by if isinstance(by, int) else 1, STRANGER)
    return (signed + b"." + _signature(key, signed)).decode("ascii") + after, key


def _segment(value: object) -> bytes:
    text = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=")


def _signature(key: Any, signed: bytes) -> bytes:
    if isinstance(key, Ed25519PrivateKey):
        raw = key.sign(signed)
    else:
        r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(hashes.SHA256())))
        raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def take_token(data: bytes) -> str:
    """Signed by a key that is known, of now, with claims that fit together: or refused as one of two."""
    token, key = token_of(data)
    outcome = _proven(token, key, data)
    try:
        read_device_claims(token)
    except ConfigurationError:
        return outcome
    return f"{outcome} device"


def _proven(token: str, key: object, data: bytes) -> str:
    try:
        proven = verifier().prove(token)
    except (TokenInvalid, TokenExpired) as refusal:
        return f"{refusal.code} {refusal.message[:40]}"
    holds("only who has the key signs", key in (CLOUD_KEY, HUB_KEY) or data in token_seeds(), token)
    claims = proven.claims
    holds("a token is of now", claims.iat <= NOW_S + 5 and claims.exp > NOW_S - 5)
    holds(
        "and lasts no longer than one",
        claims.exp - claims.iat <= limits.ACCESS_TOKEN_S + limits.TOKEN_LEEWAY_S,
    )
    if proven.kid is None:
        cloud_stood_at(token)
        holds(
            "a hub stands for its own site",
            (claims.cid, claims.site) == (CLINIC, SITE) and "hub" not in claims.roles,
        )
    signer = TokenSigner(CLOUD_KEY, KID, claims.iss, CLOCK)
    again = TokenVerifier({KID: CLOUD_KEY.public_key()}, CLOCK).prove(signer.sign(claims)).claims
    holds("claims round-trip", again == claims and claims_body(again) == claims_body(claims))
    return f"good {sorted(claims.roles)}"


def proof_seeds() -> Sequence[bytes]:
    ids = SeededIds(CLOCK, 1)
    return [
        sign_proof(CLOUD_KEY, HUB, CLOUD, CLOCK, ids).encode(),
        sign_proof(HUB_KEY, HUB, CLOUD, CLOCK, ids).encode(),
        _said({"alg": "EdDSA"}, PROOF, 0),
        _said({"alg": "ES256"}, PROOF, 2),
        _said({"alg": "ES256"}, PROOF | {"jti": ""}, 2),
        _said({"alg": "none"}, PROOF, 0),
    ]


def take_proof(data: bytes) -> str:
    """A proof by a key that its issuer has, to this server, of this minute, once."""
    token, key = token_of(data)
    taken = TakenOnce(CLOCK)
    try:
        issuer = proof_issuer(token)
        proof = verify_proof(token, [CLOUD_KEY.public_key(), HUB_KEY.public_key()], CLOUD, CLOCK)
        taken.take(proof)
    except TokenInvalid as refusal:
        return refusal.message[:40]
    holds("only who has the key signs", key in (CLOUD_KEY, HUB_KEY) or _is_plain(data), token)
    holds("an issuer is who it says", proof.issuer == issuer)
    holds("a minute, and the leeway", proof.ends_ms <= NOON_MS + 2 * (60 + limits.TOKEN_LEEWAY_S) * 1_000)
    try:
        taken.take(proof)
    except Refusal:
        return "good"
    holds("a proof is good once", truth=False)
    return "twice"


def _is_plain(data: bytes) -> bool:
    """One of our own proofs: whoever changed a letter of it has no signature."""
    return data.strip(b"= \n").count(b".") == 2 and not data.startswith(b"{")


SURFACES: Final = (
    Surface("token", "TokenVerifier.prove, a hub's word, device", take_token, token_seeds, bytes_max=8_192),
    Surface("proof", "verify_proof, TakenOnce", take_proof, proof_seeds),
)
