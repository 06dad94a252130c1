"""What makes an operation lawful: every rule of the envelope and of the payload's text.

`are_lawful` looks at many ops at once and is what nearly every op meets; `check` names the field that breaks a rule.
Who may write what is not decided here.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain, pairwise, starmap
from typing import Any, Final

import msgspec
import orjson

from medxz import limits
from medxz.clock import TIME_PATTERN, is_date
from medxz.errors import OpInvalid
from medxz.ids import UUID_PATTERN
from medxz.op import ENTITY_TYPE_PATTERN, HASH_PATTERN, OP_TYPES, SIGNATURE_PATTERN, Operation
from medxz.policy import policy_of

_DECODER: Final = msgspec.json.Decoder(Operation)
_DIGITS_MAX: Final = 32
_ENTITY_TYPE_CHARS_MAX: Final = 64
_SIGNATURE: Final = re.compile(SIGNATURE_PATTERN)


def decode_op(text: bytes | msgspec.Raw) -> Operation:
    """One operation from its JSON; OpInvalid naming the field where it is not one."""
    try:
        op = _DECODER.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise explain(text) from None
    check(op)
    return op


def check(op: Operation) -> None:
    """Hold an op against every rule; OpInvalid names the field.

    A hash or a signature that travels with the op is the caller's to compare.
    """
    if are_lawful((op,)):
        return
    # an author's payload may be no JSON at all: the envelope is looked at without it
    bare = msgspec.structs.replace(op, payload=msgspec.Raw(b"{}"))
    problem = _envelope_problem(json.loads(bare.json(), strict=False))
    if problem is not None:
        raise problem
    message = payload_problem(bytes(op.payload))
    if message is not None:
        raise OpInvalid("payload", message)


def checked_digest(op: Operation) -> bytes:
    """The digest of an op that holds every rule; OpInvalid where it does not."""
    check(op)
    return op.digest()


def explain(text: bytes | msgspec.Raw) -> OpInvalid:
    """The first rule that this JSON text, which does not decode as an op, breaks."""
    try:
        fields = loosely(bytes(text))
    except (ValueError, RecursionError):
        return OpInvalid("payload", "is nested too deeply or is not JSON")
    if not isinstance(fields, dict):
        return OpInvalid("op", "must be an object")
    return _envelope_problem(fields) or OpInvalid(
        "payload", "holds a raw byte below 0x20 or a lone surrogate"
    )


# The quick look: a text of digits is compared with what it looks like when each digit is a zero, many at once.

_HEX_TO_ZERO: Final = bytes.maketrans(b"0123456789abcdef", b"0" * 16)
_DIGIT_TO_ZERO: Final = bytes.maketrans(b"0123456789", b"0" * 10)
_ID_LOOK: Final = b"00000000-0000-0000-0000-000000000000"
_HASH_LOOK: Final = b"0" * 64
_TIME_LOOK: Final = b"0000-00-00T00:00:00.000Z"
_OP_TYPES: Final = frozenset(OP_TYPES)
_BETWEEN: Final = b"\0"
_NO_DEPTH: Final = bytes(set(range(256)) - set(b"{[" + _BETWEEN))
# Payloads that are parsed in one call; more would be alive at once, and the collector would look through them.
_TOGETHER: Final = 32


def are_lawful(ops: Sequence[Operation]) -> bool:
    """Whether all of these hold every rule. False also where that takes a closer look: `check` each then."""
    payloads = [op.payload for op in ops]
    return _envelopes_hold(ops) and all(
        _are_payloads(payloads[first : first + _TOGETHER]) for first in range(0, len(payloads), _TOGETHER)
    )


def _envelopes_hold(ops: Sequence[Operation]) -> bool:
    who = {(op.clinic_id, op.device_id, op.user_id) for op in ops}
    ids = [*chain.from_iterable(who), *[op.op_id for op in ops], *[op.entity_id for op in ops]]
    times = [op.device_time for op in ops]
    numbers = [op.device_seq for op in ops]
    kinds = {(op.entity_type, op.op_type, op.schema_version, op.hash, op.signature) for op in ops}
    return (
        _all_look_like(ids, _HEX_TO_ZERO, _ID_LOOK)
        and _all_look_like(times, _DIGIT_TO_ZERO, _TIME_LOOK)
        and all(map(_is_minute, {time[:16] for time in times}))
        and max([time[17] for time in times]) < "6"
        and min(numbers) >= 1
        and max(numbers) <= limits.INTEGER_MAX
        and all(starmap(_kind_holds, kinds))
        and all(map(_parents_hold, [op for op in ops if op.parents]))
    )


def _all_look_like(texts: Sequence[str], to_zero: bytes, look: bytes) -> bool:
    """No look has a line break, so that as many lines as texts are a text each."""
    lines = "\n".join(texts).encode("utf-8", "replace").translate(to_zero)
    return lines == b"\n".join([look] * len(texts))


def _kind_holds(
    entity_type: str, op_type: str, schema_version: int, hash_: str | None, signature: str | None
) -> bool:
    return (
        len(entity_type) <= _ENTITY_TYPE_CHARS_MAX
        and _is_entity_type(entity_type)
        and op_type in _OP_TYPES
        and (op_type != "update" or policy_of(entity_type) != "append")
        and 1 <= schema_version <= limits.INTEGER_MAX
        and (hash_ is None or _all_look_like([hash_], _HEX_TO_ZERO, _HASH_LOOK))
        and (signature is None or _SIGNATURE.fullmatch(signature) is not None)
    )


def _are_payloads(payloads: Sequence[msgspec.Raw]) -> bool:
    r"""Whether all of these texts are payloads.

    Where nothing is written as `\u….`, objects without a repeated key have as many colons after a round trip as
    before it.
    """
    joined = b"[" + b",".join(payloads) + b"]"
    if b"\\" in joined and b"\\u" in joined:
        return False
    if b"\n" in joined or b"\r" in joined or b"\t" in joined:
        return False
    openings = _BETWEEN.join(payloads).translate(None, _NO_DEPTH).split(_BETWEEN)
    if max(map(len, openings)) > limits.PAYLOAD_DEPTH_MAX:
        return False
    try:
        values = orjson.loads(joined)
    except ValueError:
        return False
    if len(values) != len(payloads):  # an author's text may be two values with a comma between
        return False
    return set(map(type, values)) == {dict} and orjson.dumps(values).count(b":") == joined.count(b":")


@lru_cache(maxsize=4_096)
def _is_minute(text: str) -> bool:
    """Whether `YYYY-MM-DDTHH:MM`, known to look like it, is one."""
    return is_date(text[:10]) and text[11:13] < "24" and text[14:16] < "60"


@lru_cache(maxsize=1_024)
def _is_entity_type(text: str) -> bool:
    return re.fullmatch(ENTITY_TYPE_PATTERN, text) is not None


def _parents_hold(op: Operation) -> bool:
    parents = op.parents
    return (
        op.op_type != "create"
        and len(parents) <= limits.PARENTS_MAX
        and op.op_id not in parents
        and all(map(_is_uuid, parents))
        and all(a < b for a, b in pairwise(parents))
        and (len(parents) == 1 or op.op_type == "resolve" or policy_of(op.entity_type) == "merge")
    )


# One by one, in words.


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
    return isinstance(value, str) and re.fullmatch(TIME_PATTERN, value) is not None and is_date(value[:10])


def _envelope_problem(fields: dict[str, Any]) -> OpInvalid | None:
    """The first rule of the envelope that these fields break."""
    for name in fields:
        if name not in Operation.__struct_fields__:
            return OpInvalid(_sayable(name), "is no field of an operation")
    for name, (rule, holds) in _RULES.items():
        if name not in fields:
            return OpInvalid(name, "is missing")
        if not holds(fields[name]):
            return OpInvalid(name, rule)
    problem = _parents_problem(fields)
    if problem is not None:
        return problem
    for name, pattern in (("hash", HASH_PATTERN), ("signature", SIGNATURE_PATTERN)):
        value = fields.get(name)
        if value is not None and not (isinstance(value, str) and re.fullmatch(pattern, value)):
            return OpInvalid(name, "is not of its form")
    for name, kind in (
        ("server_seq", int),
        ("server_received_at", str),
    ):  # another server's: let pass, not kept
        if not isinstance(fields.get(name), kind | None):
            return OpInvalid(name, "is not of its form")
    return None


def _parents_problem(fields: dict[str, Any]) -> OpInvalid | None:
    """The rule of what follows what, and of the policy of the type, that these fields break."""
    op_type, entity_type, parents = fields["op_type"], fields["entity_type"], fields["parents"]
    policy = policy_of(entity_type)
    if op_type == "create" and parents:
        return OpInvalid("parents", "must be [] for a create")
    if fields["op_id"] in parents:
        return OpInvalid("parents", "an op cannot be its own parent")
    if op_type == "update" and policy == "append":
        return OpInvalid("op_type", f"{entity_type} is never updated; amend it")
    if len(parents) > 1 and op_type != "resolve" and policy != "merge":
        return OpInvalid("parents", f"only a resolve names several parents of {entity_type}")
    return None


_UUID: Final = re.compile(UUID_PATTERN)
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


def payload_problem(text: bytes) -> str | None:
    """Why this text is no payload, or None."""
    if text[:1] != b"{":
        return "must be a JSON object"
    if b"\n" in text or b"\r" in text or b"\t" in text:
        return "holds a raw byte below 0x20; write it without line breaks and tabs between its members"
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
