"""Public token keys as they travel (RFC 7517, RFC 8037), out and in.

What is no Ed25519 key for signatures is passed over: a later version may publish others beside ours. A key that says
that it is one and is not, is refused.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from medxz.errors import TokenInvalid
from medxz.trust.tokens import key_id
from medxz.wire import Jwk, JwksAnswer


def jwks_of(keys: Iterable[Ed25519PublicKey]) -> JwksAnswer:
    """The keys, in this order, each under its thumbprint."""
    return JwksAnswer(
        keys=[
            Jwk(
                kty="OKP",
                crv="Ed25519",
                x=base64.urlsafe_b64encode(key.public_bytes_raw()).rstrip(b"=").decode("ascii"),
                kid=key_id(key),
                use="sig",
                alg="EdDSA",
            )
            for key in keys
        ]
    )


def keys_of(jwks: JwksAnswer) -> dict[str, Ed25519PublicKey]:
    """The keys by their kid; TokenInvalid where one is broken."""
    return {
        jwk.kid: _key(jwk)
        for jwk in jwks.keys
        if (jwk.kty, jwk.crv, jwk.use, jwk.alg) == ("OKP", "Ed25519", "sig", "EdDSA")
    }


def _key(jwk: Jwk) -> Ed25519PublicKey:
    try:
        raw = base64.b64decode(jwk.x + "=" * (-len(jwk.x) % 4), altchars=b"-_", validate=True)
        return Ed25519PublicKey.from_public_bytes(raw)
    except (binascii.Error, ValueError):
        raise TokenInvalid(f"the key {jwk.kid!r} of the key set is not an Ed25519 key") from None
