"""What a whole answer says: granted or refused, in this protocol or in none, its body inflated within bounds."""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec
import zstandard
from pydantic import BaseModel, ValidationError

from medxz import limits, wire
from medxz.errors import OpInvalid, PeerRefused, PeerUnreachable
from medxz.op import Operation
from medxz.rules import checked_digest

ANSWER_BYTES_MAX: Final = limits.BODY_INFLATED_BYTES_MAX
PROBLEM_CHARS_MAX: Final = 500
RETRY_AFTER_S_MAX: Final = 3_600

_Model = TypeVar("_Model", bound=BaseModel)
_Struct = TypeVar("_Struct", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Answered:
    """A whole answer: its bytes are inflated and within bounds."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def granted(answered: Answered) -> Answered:
    if 200 <= answered.status < 300:
        return answered
    raise problem_of(answered)


def problem_of(answered: Answered) -> PeerRefused | PeerUnreachable:
    """What the answer refuses; without a problem document it was not this protocol that answered."""
    try:
        document = wire.Problem.model_validate_json(answered.body)
    except ValidationError:
        return PeerUnreachable(f"answered {answered.status}, but not in this protocol: is the address right?")
    message = document.detail or document.title
    return PeerRefused(
        answered.status, document.code, message[:PROBLEM_CHARS_MAX], _retry_after_s(answered.headers)
    )


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    text = headers.get("Retry-After", "")
    return min(float(text), RETRY_AFTER_S_MAX) if text.isascii() and text.isdigit() else None


def read_model(answered: Answered, model: type[_Model]) -> _Model:
    try:
        return model.model_validate_json(answered.body)
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, problem["loc"])) for problem in error.errors()[:3])
        raise PeerUnreachable(f"the answer is not in this protocol ({fields or 'not JSON'})") from None


def read_struct(answered: Answered, struct: type[_Struct]) -> _Struct:
    try:
        return msgspec.json.decode(answered.body, type=struct)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise PeerUnreachable("the answer is not in this protocol") from None


def check_ops(ops: Sequence[Operation]) -> None:
    """Nothing that was garbled on its way, or at rest over there, is taken in."""
    for op in ops:
        try:
            digest = checked_digest(op)
        except OpInvalid as error:
            raise PeerUnreachable(f"it sent an op that is none: {error.field} {error.message}") from None
        if op.hash is not None and op.hash != digest.hex():
            raise PeerUnreachable(f"op {op.op_id} arrived with another content than its hash says")


def inflated(raw: bytes, coding: str) -> bytes:
    limit = ANSWER_BYTES_MAX + 1
    try:
        match coding.strip().lower():
            case "" | "identity":
                return raw
            case "gzip":
                inflater = zlib.decompressobj(wbits=31)
                body = inflater.decompress(raw, limit)
                complete = inflater.eof
            case "zstd":
                reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(raw), read_across_frames=True)
                body, complete = reader.read(limit), True
            case _:
                raise PeerUnreachable(f"the answer is in a coding that was not asked for: {coding[:20]}")
    except (zlib.error, zstandard.ZstdError):
        raise PeerUnreachable("the answer does not decompress") from None
    if len(body) >= limit:
        raise PeerUnreachable(f"the answer inflates to more than {ANSWER_BYTES_MAX} bytes")
    if not complete:
        raise PeerUnreachable("the answer was cut short")
    return body
