"""The body of a push: read into operations, and for each thing that is none, why.

One bad op never blocks the others: where the body as a whole does not decode, its ops are cut out and read one by
one. Only a body that is not JSON, or not a push, is refused as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from json.decoder import scanstring  # type: ignore[attr-defined]  # public in fact: the scanner of the standard library
from typing import Final, TypeGuard

import msgspec

from medxz import limits
from medxz.errors import BadJson, Invalid, OpInvalid, TooLarge
from medxz.ids import is_uuid
from medxz.op import Operation
from medxz.rules import are_lawful, check, explain, loosely
from medxz.wire import PushRequest, WireDeadLetter


@dataclass(frozen=True, slots=True)
class Broken:
    """What stood in the place of an op, as far as it can be told."""

    op_id: str | None
    device_id: str | None
    device_seq: int | None
    code: str
    field: str | None
    message: str


@dataclass(frozen=True, slots=True)
class PushBody:
    """A push, read but not examined: its ops, or the texts of what should be ops, in the order of the request."""

    offered: Sequence[Operation] | Sequence[msgspec.Raw]
    dead_letters: Sequence[WireDeadLetter]


_FRAME: Final = b'{"ops":[]}'

Examined = tuple[list[Operation | Broken], list[bytes]]
"""What was offered, and of each op its JSON without the opening brace, as it is stored."""


class _Pieces(msgspec.Struct, forbid_unknown_fields=True):
    """A push whose ops are not looked into."""

    ops: list[msgspec.Raw]
    dead_letters: list[WireDeadLetter] = []


_WHOLE: Final = msgspec.json.Decoder(PushRequest)
_PIECES: Final = msgspec.json.Decoder(_Pieces)
_ANYTHING: Final = msgspec.json.Decoder(msgspec.Raw)
_OP: Final = msgspec.json.Decoder(Operation)
_DEAD_LETTERS: Final = msgspec.json.Decoder(list[WireDeadLetter])


def read_push(body: bytes) -> PushBody:
    """Read a push; BadJson, Invalid or TooLarge where the body as a whole is none."""
    read: PushRequest | _Pieces
    try:
        read = _WHOLE.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        read = _cut(body)
    _check_counts(len(read.ops), len(read.dead_letters))
    return PushBody(read.ops, read.dead_letters)


def examine(offered: Sequence[Operation] | Sequence[msgspec.Raw]) -> Examined:
    """Hold what was offered against the rules of an operation."""
    ops = [op for op in offered if isinstance(op, Operation)]
    texts = [op.json()[1:] for op in ops]
    if ops and len(ops) == len(offered) and max(map(len, texts)) < limits.OP_BYTES_MAX and are_lawful(ops):
        return list(ops), texts
    items: list[Operation | Broken] = []
    texts = []
    for one in offered:
        item, text = _examine(one)
        items.append(item)
        texts.append(text)
    return items, texts


def are_ops(items: list[Operation | Broken]) -> TypeGuard[list[Operation]]:
    """Whether none of them is broken."""
    return set(map(type, items)) == {Operation}


def _check_counts(ops: int, dead_letters: int) -> None:
    if ops > limits.PUSH_OPS_MAX or dead_letters > limits.PUSH_OPS_MAX:
        raise TooLarge(
            f"a push takes at most {limits.PUSH_OPS_MAX} operations; send the rest in another", field="ops"
        )
    if ops == 0 and dead_letters == 0:
        raise Invalid("a push holds at least one operation", field="ops")


def check_members(body: bytes, texts: Sequence[bytes]) -> None:
    """Refuse a push that names its ops twice: the reading kept the last, and the sender meant both.

    Where the ops that were read, a brace and a comma for each, fill the body, there is no room for another member.
    """
    rest = len(body) - len(_FRAME) - sum(map(len, texts)) - 2 * len(texts)
    if rest >= 0 and body.count(b'"ops"') > 1:
        _cut_leniently(body)


def _examine(offered: Operation | msgspec.Raw) -> tuple[Operation | Broken, bytes]:
    """One op by itself."""
    if isinstance(offered, Operation):
        op = offered
    else:
        try:
            op = _OP.decode(offered)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            return _broken(bytes(offered)), b""
    text = op.json()
    if len(text) > limits.OP_BYTES_MAX:
        message = f"is {len(text)} bytes of JSON; at most {limits.OP_BYTES_MAX} are taken"
        return Broken(
            _clean(op.op_id), _clean(op.device_id), _number(op.device_seq), "too_large", None, message
        ), b""
    try:
        check(op)
    except OpInvalid as error:
        return Broken(
            _clean(op.op_id),
            _clean(op.device_id),
            _number(op.device_seq),
            "invalid",
            error.field,
            error.message,
        ), b""
    return op, text[1:]


def _broken(piece: bytes) -> Broken:
    error = explain(piece)
    try:
        fields = loosely(piece)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        return Broken(None, None, None, "invalid", error.field, error.message)
    return Broken(
        _clean(fields.get("op_id")),
        _clean(fields.get("device_id")),
        _number(fields.get("device_seq")),
        "invalid",
        error.field,
        error.message,
    )


def _clean(name: object) -> str | None:
    """An op_id or a device_id where it is one."""
    return name if isinstance(name, str) and is_uuid(name) else None


def _number(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= limits.INTEGER_MAX:
        return value
    return None


def _cut(body: bytes) -> _Pieces:
    """The push with its ops uncut, by a strict reading or else by a lenient one."""
    try:
        return _PIECES.decode(body)
    except RecursionError:
        raise BadJson("the body is nested too deeply to be read") from None
    except msgspec.ValidationError as error:
        _check_is_json(body)
        raise Invalid(_shape(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _cut_leniently(body)


def _check_is_json(body: bytes) -> None:
    """A reading ends at the first thing that does not fit: the rest may not even be JSON."""
    try:
        _ANYTHING.decode(body)
    except RecursionError:
        raise BadJson("the body is nested too deeply to be read") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadJson("the body is not JSON in UTF-8") from None


def _shape(error: msgspec.MsgspecError) -> str:
    return f"the push is not of its form: {error}"


def _cut_leniently(body: bytes) -> _Pieces:
    """For a body in which some op holds what no JSON text may: control bytes in a string, or a lone surrogate."""
    try:
        members = _members(body.decode())
        letters = _DEAD_LETTERS.decode(members.pop("dead_letters", "[]"))
        items = _items(members.pop("ops", "null"))
    except msgspec.MsgspecError as error:
        raise Invalid(_shape(error), field="dead_letters") from None
    except (ValueError, IndexError, RecursionError):
        raise BadJson("the body is not JSON in UTF-8") from None
    if members or items is None:
        raise Invalid("a push is an object with `ops`, a list")
    return _Pieces(items, letters)


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


_LENIENT: Final = json.JSONDecoder(strict=False, parse_constant=_no_constant, parse_int=str, parse_float=str)


def _members(text: str) -> dict[str, str]:
    """The members of the object that a text is, each value as its text."""
    members = {}
    at = _expect(text, _skip(text, 0), "{")
    while text[at] != "}":
        name, at = scanstring(text, _expect(text, at, '"', then_skip=False), False)
        start = _expect(text, _skip(text, at), ":")
        _, at = _LENIENT.raw_decode(text, start)
        if name in members:
            raise Invalid("a push names a member twice", field=name)
        members[name] = text[start:at]
        at = _next(text, at, "}")
    if _skip(text, at + 1) != len(text):
        raise ValueError("something follows the object")
    return members


def _items(text: str) -> list[msgspec.Raw] | None:
    """The items of the array that a text is, each as its text; None where it is no array."""
    if text[0] != "[":
        return None
    items = []
    at = _expect(text, 0, "[")
    while text[at] != "]":
        start = at
        _, at = _LENIENT.raw_decode(text, start)
        items.append(msgspec.Raw(text[start:at].encode(errors="surrogatepass")))
        at = _next(text, at, "]")
    return items


def _next(text: str, at: int, end: str) -> int:
    """Where the next member stands after one that ended at `at`, or the closing mark."""
    at = _skip(text, at)
    return at if text[at] == end else _expect(text, at, ",")


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _expect(text: str, at: int, mark: str, *, then_skip: bool = True) -> int:
    if text[at] != mark:
        raise ValueError(f"{mark} was expected")
    return _skip(text, at + 1) if then_skip else at + 1
