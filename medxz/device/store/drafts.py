"""From what an author enters to an operation: the envelope is filled in, checked and, where asked, signed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from medxz import limits
from medxz.device.store.identity import Identity
from medxz.errors import OpInvalid, PayloadInvalid
from medxz.op import Operation, sign
from medxz.rules import checked_digest

# space around a value is no part of it: it would be gone from what others hash
_AROUND: Final = b" \t\r\n"


@dataclass(frozen=True, slots=True)
class Draft:
    """An op but for what the store gives it: the device's ids and its number. Without parents: the heads that are here."""

    op_id: str
    user_id: str
    entity_type: str
    entity_id: str
    op_type: str
    parents: tuple[str, ...] | None
    device_time: str
    schema_version: int
    payload: bytes


def payload_bytes(payload: Mapping[str, Any] | bytes | str) -> bytes:
    """JSON text as it is, from its first brace to its last; anything else as JSON. OpInvalid where it has none."""
    try:
        if isinstance(payload, bytes):
            return payload.strip(_AROUND)
        if isinstance(payload, str):
            return payload.encode().strip(_AROUND)
        return json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        raise OpInvalid("payload", "holds a lone surrogate") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise OpInvalid("payload", f"has no JSON: {type(error).__name__}") from None


def check_payload(draft: Draft) -> None:
    """PayloadInvalid where the payload is not the resource that it says, with all that is wrong."""
    from medxz.resources import problems_of  # only who records loads the models

    at = draft.entity_type, draft.schema_version, draft.op_type
    if problems := problems_of(*at, draft.payload, draft.entity_id):
        raise PayloadInvalid(problems)


def finish(draft: Draft, identity: Identity, device_seq: int, parents: tuple[str, ...]) -> Operation:
    """The operation under this identity and number; OpInvalid names the field that is not lawful."""
    op = Operation(
        op_id=draft.op_id,
        clinic_id=identity.clinic_id,
        device_id=identity.device_id,
        user_id=draft.user_id,
        entity_type=draft.entity_type,
        entity_id=draft.entity_id,
        op_type=draft.op_type,
        parents=parents,
        device_time=draft.device_time,
        device_seq=device_seq,
        schema_version=draft.schema_version,
        payload=msgspec.Raw(draft.payload),
    )
    op = sealed(op, checked_digest(op), identity)
    if len(op.json()) > limits.OP_BYTES_MAX:
        raise OpInvalid("payload", f"makes an op of more than {limits.OP_BYTES_MAX} bytes")
    return op


def sealed(op: Operation, digest: bytes, identity: Identity) -> Operation:
    """With a signature where the clinic asks for one and it has none."""
    if not identity.require_signed_ops or op.signature is not None:
        return op
    return msgspec.structs.replace(op, signature=sign(digest, identity.key))
