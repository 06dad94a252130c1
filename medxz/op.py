"""The operation: one immutable change, its frozen envelope, its canonical bytes, its hash and its signature.

The payload is kept as the exact JSON text that its author wrote: in FHIR the zero of `120.50` is meaning. What is
not a lawful operation is refused with the name of the field that breaks a rule.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import re
from datetime import date
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

import msgspec
import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from medxz import limits
from medxz.clock import TIME_PATTERN
from medxz.errors import OpInvalid
from medxz.ids import UUID_PATTERN

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
_DECODER = msgspec.json.Decoder(Operation)

_DIGITS_MAX: Final = 32

_UUID = re.compile(UUID_PATTERN)
_HEAD = re.compile(
    f"medxz-op-1\n{UUID_PATTERN}\n{UUID_PATTERN}\n{UUID_PATTERN}\n{UUID_PATTERN}\n{ENTITY_TYPE_PATTERN}\n"
    f"{UUID_PATTERN}\n(?:{'|'.join(OP_TYPES)})\n(?:{UUID_PATTERN}(?:,{UUID_PATTERN})*)?\n"
    f"{TIME_PATTERN}\n[1-9][0-9]{{0,15}}\n[1-9][0-9]{{0,15}}\n"
)


def decode_op(text: bytes | msgspec.Raw) -> Operation:
    """One operation from its JSON; OpInvalid naming the field where it is not one."""
    try:
        op = _DECODER.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        raise explain(text) from None
    check(op)
    return op


def check(op: Operation) -> None:
    """Hold an op against every rule of the envelope and the payload; OpInvalid names the field.

    A hash or a signature that travels with the op is the caller's to compare.
    """
    if (
        _HEAD.fullmatch(op.head()) is None
        or op.device_seq > limits.INTEGER_MAX
        or op.schema_version > limits.INTEGER_MAX
        or not _is_date(op.device_time[:10])
        or (op.parents and not _parents_hold(op))
        or (op.op_type == "create" and op.parents)
        or (op.hash is not None and re.fullmatch(HASH_PATTERN, op.hash) is None)
        or (op.signature is not None and re.fullmatch(SIGNATURE_PATTERN, op.signature) is None)
    ):
        raise explain(op.json())
    problem = payload_problem(op.payload)
    if problem is not None:
        raise OpInvalid("payload", problem)


def checked_digest(op: Operation) -> bytes:
    """The digest of an op that holds every rule; OpInvalid where it does not."""
    check(op)
    return op.digest()


def payload_problem(payload: bytes | msgspec.Raw) -> str | None:
    r"""Why this text is no payload, or None.

    The quick way: where nothing is written as `\u….`, an object without a repeated key has as many colons after
    a round trip as before it. Whatever that leaves open is read the slow way.
    """
    text = bytes(payload)
    if text[:1] != b"{":
        return "must be a JSON object"
    if b"\n" in text or b"\r" in text or b"\t" in text:
        return "holds a raw byte below 0x20; write it without line breaks and tabs between its members"
    if text.count(b"{") + text.count(b"[") <= limits.PAYLOAD_DEPTH_MAX and b"\\u" not in text:
        try:
            if orjson.dumps(orjson.loads(text)).count(b":") == text.count(b":"):
                return None
        except ValueError:
            pass
    return _payload_problem_exactly(text)


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


def explain(text: bytes | msgspec.Raw) -> OpInvalid:
    """The first rule that this JSON text, known not to be a lawful op, breaks."""
    try:
        fields = loosely(bytes(text))
    except (ValueError, RecursionError):
        return OpInvalid("payload", "is nested too deeply or is not JSON")
    if not isinstance(fields, dict):
        return OpInvalid("op", "must be an object")
    for name in fields:
        if name not in Operation.__struct_fields__:
            return OpInvalid(_sayable(name), "is no field of an operation")
    for name, (rule, holds) in _RULES.items():
        if name not in fields:
            return OpInvalid(name, "is missing")
        if not holds(fields[name]):
            return OpInvalid(name, rule)
    return _explain_rest(fields)


def _explain_rest(fields: dict[str, Any]) -> OpInvalid:
    """Rules that look at two fields, the fields that may be left out, and the payload's text."""
    parents = fields["parents"]
    if fields["op_type"] == "create" and parents:
        return OpInvalid("parents", "must be [] for a create")
    if fields["op_id"] in parents:
        return OpInvalid("parents", "an op cannot be its own parent")
    for name, pattern in (("hash", HASH_PATTERN), ("signature", SIGNATURE_PATTERN)):
        value = fields.get(name)
        if value is not None and not (isinstance(value, str) and re.fullmatch(pattern, value)):
            return OpInvalid(name, "is not of its form")
    return OpInvalid("payload", "holds a raw byte below 0x20 or a lone surrogate")


def loosely(text: bytes) -> object:
    """What a JSON text says, control bytes, lone surrogates and numbers of any length let pass; ValueError else."""
    return json.loads(text, strict=False, parse_int=_any_int)


def _any_int(digits: str) -> float:
    """More digits than Python would turn into an int are too many for any field."""
    return int(digits) if len(digits) <= _DIGITS_MAX else math.inf


def _sayable(name: str) -> str:
    """A client's own name for a field as text that can be stored and sent."""
    return name[:64].encode("utf-8", "replace").decode()


def _is_uuid(value: object) -> bool:
    return isinstance(value, str) and _UUID.fullmatch(value) is not None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= limits.INTEGER_MAX


def _are_parents(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= limits.PARENTS_MAX
        and all(_is_uuid(parent) for parent in value)
        and value == sorted(set(value))
    )


def _is_moment(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(TIME_PATTERN, value) is not None and _is_date(value[:10])


_UUID_RULE = "must be a UUID in canonical lowercase text"
_COUNT_RULE = "must be a whole number from 1 to 2^53-1"
_RULES: Final = {
    "op_id": (_UUID_RULE, _is_uuid),
    "clinic_id": (_UUID_RULE, _is_uuid),
    "device_id": (_UUID_RULE, _is_uuid),
    "user_id": (_UUID_RULE, _is_uuid),
    "entity_type": (
        "must be a FHIR R4 resource type, such as Observation",
        lambda value: isinstance(value, str) and re.fullmatch(ENTITY_TYPE_PATTERN, value) is not None,
    ),
    "entity_id": (_UUID_RULE, _is_uuid),
    "op_type": (f"must be one of {', '.join(OP_TYPES)}", lambda value: value in OP_TYPES),
    "parents": (f"must be at most {limits.PARENTS_MAX} op ids, sorted, each once", _are_parents),
    "device_time": ("must be a time written YYYY-MM-DDTHH:MM:SS.sssZ", _is_moment),
    "device_seq": (_COUNT_RULE, _is_count),
    "schema_version": (_COUNT_RULE, _is_count),
    "payload": ("must be a JSON object", lambda value: isinstance(value, dict)),
}


def _parents_hold(op: Operation) -> bool:
    parents = op.parents
    return (
        len(parents) <= limits.PARENTS_MAX
        and op.op_id not in parents
        and (len(parents) == 1 or all(a < b for a, b in pairwise(parents)))
    )


@lru_cache(maxsize=4_096)
def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


class _RepeatedKey(ValueError):
    """Two members of one object share a name."""


def _unique_members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _RepeatedKey
    return members


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


_EXACT = json.JSONDecoder(
    object_pairs_hook=_unique_members, parse_constant=_no_constant, parse_float=str, parse_int=str
)


def _payload_problem_exactly(text: bytes) -> str | None:
    if _depth(text) > limits.PAYLOAD_DEPTH_MAX:
        return f"is nested deeper than {limits.PAYLOAD_DEPTH_MAX} levels"
    try:
        json.dumps(_EXACT.decode(text.decode()), ensure_ascii=False).encode()
    except _RepeatedKey:
        return "has a repeated key"
    except UnicodeEncodeError:
        return "holds a lone surrogate"
    except (ValueError, RecursionError):
        return "is not JSON in UTF-8, or holds a raw byte below 0x20"
    return None


_NOT_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*"|[^][{}"]+', re.DOTALL)


def _depth(text: bytes) -> int:
    deepest = depth = 0
    for mark in _NOT_STRUCTURE.sub(b"", text):
        depth += 1 if mark in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest
