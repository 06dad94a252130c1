"""The operation: one immutable change, its frozen envelope, its canonical bytes, its hash and its signature.

The payload is kept as the exact JSON text that its author wrote: in FHIR the zero of `120.50` is meaning. What
a lawful operation is, medxz/rules.py says.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

OP_TYPES: Final = ("create", "update", "amend", "retract", "resolve")
ENTITY_TYPE_PATTERN: Final = "[A-Z][A-Za-z]{1,63}"
HASH_PATTERN: Final = "[0-9a-f]{64}"
SIGNATURE_PATTERN: Final = "[A-Za-z0-9_-]{86}"


class Operation(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, gc=False
):
    """One change as it travels. The two `server_` fields are each server's own and no part of its identity."""

    op_id: str
    clinic_id: str
    device_id: str
    user_id: str
    entity_type: str
    entity_id: str
    op_type: str
    parents: tuple[str, ...]
    device_time: str
    device_seq: int
    schema_version: int
    payload: msgspec.Raw
    hash: str | None = None
    signature: str | None = None
    server_seq: int | None = None
    server_received_at: str | None = None

    def head(self) -> str:
        """The canonical text of everything but the payload."""
        return (
            f"medxz-op-1\n{self.op_id}\n{self.clinic_id}\n{self.device_id}\n{self.user_id}\n{self.entity_type}\n"
            f"{self.entity_id}\n{self.op_type}\n{','.join(self.parents)}\n{self.device_time}\n{self.device_seq}\n"
            f"{self.schema_version}\n"
        )

    def digest(self) -> bytes:
        """SHA-256 of the canonical text: what the hash says in hex and what a signature signs."""
        return hashlib.sha256(self.head().encode() + self.payload).digest()

    def json(self) -> bytes:
        """The op as its author sent it, the payload byte for byte; what a server added is left out."""
        if self.server_seq is not None or self.server_received_at is not None:
            return _ENCODER.encode(msgspec.structs.replace(self, server_seq=None, server_received_at=None))
        return _ENCODER.encode(self)


_ENCODER = msgspec.json.Encoder()


def sign(digest: bytes, key: Ed25519PrivateKey) -> str:
    """The signature field for an op of this digest."""
    return base64.urlsafe_b64encode(key.sign(digest)).rstrip(b"=").decode()


def signature_holds(digest: bytes, signature: str, public_key: bytes) -> bool:
    """Whether the raw Ed25519 key signed this digest."""
    try:
        raw = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
        Ed25519PublicKey.from_public_bytes(public_key).verify(raw, digest)
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True
