"""Section 2 of docs/protocol.md once more, word by word, by the standard library alone: is this text a lawful op?

It shares nothing with medxz/rules.py, which is held against it over every input.
"""

from __future__ import annotations

import json
import math
import re
from datetime import date
from json.decoder import scanstring  # type: ignore[attr-defined]  # public in fact
from typing import Any, Final

UUID: Final = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME: Final = re.compile("([0-9]{4}-[0-9]{2}-[0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})[.][0-9]{3}Z")
MERGED: Final = {"Patient", "RelatedPerson", "Coverage", "Appointment", "Encounter"}
BY_HAND: Final = {
    "AllergyIntolerance", "Condition", "MedicationRequest", "CarePlan", "Composition", "DocumentReference",
}  # fmt: skip
NEEDED: Final = (
    "op_id", "clinic_id", "device_id", "user_id", "entity_type", "entity_id", "op_type", "parents", "device_time",
    "device_seq", "schema_version", "payload",
)  # fmt: skip
BESIDE: Final = ("hash", "signature", "server_seq", "server_received_at")
MOST: Final = 2**53 - 1
DEEPEST: Final = 64


class Repeated(ValueError):
    """A name that stands twice in one object."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise Repeated
    return dict(pairs)


def _none_such(name: str) -> float:
    raise ValueError(name)


def _int(digits: str) -> float:
    return int(digits) if len(digits) < 100 else math.inf


def read(text: str, *, unique: bool) -> Any:
    """A JSON text as Python has it; ValueError where it is none."""
    hook = _object if unique else None
    value = json.loads(text, object_pairs_hook=hook, parse_constant=_none_such, parse_int=_int)
    json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate is no text
    return value


def slices(text: str) -> list[tuple[str, str]]:
    """The members of an object that is JSON, each value as it is written."""
    decoder = json.JSONDecoder(parse_int=_int)
    found, at = [], _past(text, 0) + 1
    while text[at := _past(text, at)] != "}":
        name, at = scanstring(text, at + 1, True)
        start = _past(text, _past(text, at) + 1)
        _, at = decoder.raw_decode(text, start)
        found.append((name, text[start:at]))
        at = _past(text, at)
        at += text[at] == ","
    return found


def items(text: str) -> list[str]:
    """The items of an array that is JSON, each as it is written."""
    decoder = json.JSONDecoder(parse_int=_int)
    found, at = [], _past(text, 0) + 1
    while text[at := _past(text, at)] != "]":
        _, end = decoder.raw_decode(text, at)
        found.append(text[at:end])
        at = _past(text, end)
        at += text[at] == ","
    return found


def _past(text: str, at: int) -> int:
    while text[at] in " \t\r\n":
        at += 1
    return at


def broken_rule(text: str) -> str | None:
    """The field of a rule that this op breaks, `op` where it is none at all; None: it is lawful."""
    try:
        op = read(text, unique=False)
        told = dict(slices(text)) if isinstance(op, dict) else {}
    except (ValueError, RecursionError):
        return "op"
    if not isinstance(op, dict):
        return "op"
    if not set(NEEDED) <= op.keys() or op.keys() - {*NEEDED, *BESIDE}:
        return "members"
    return _broken_field(op) or _broken_parents(op) or _broken_payload(told["payload"])


def _broken_field(op: dict[str, Any]) -> str | None:
    for name in ("op_id", "clinic_id", "device_id", "user_id", "entity_id"):
        if not _is(UUID, op[name]):
            return name
    if not _is(re.compile("[A-Z][A-Za-z]{1,63}"), op["entity_type"]):
        return "entity_type"
    if op["op_type"] not in ("create", "update", "amend", "retract", "resolve"):
        return "op_type"
    if not _is_time(op["device_time"]):
        return "device_time"
    for name in ("device_seq", "schema_version"):
        if type(op[name]) is not int or not 1 <= op[name] <= MOST:
            return name
    for name, form in (("hash", "[0-9a-f]{64}"), ("signature", "[A-Za-z0-9_-]{86}")):
        if op.get(name) is not None and not _is(re.compile(form), op[name]):
            return name
    if not isinstance(op.get("server_received_at"), str | None):
        return "server_received_at"
    return None if type(op.get("server_seq", 1)) in (int, type(None)) else "server_seq"


def _broken_parents(op: dict[str, Any]) -> str | None:
    parents, kind = op["parents"], op["entity_type"]
    if not isinstance(parents, list) or len(parents) > 256 or not all(_is(UUID, one) for one in parents):
        return "parents"
    if parents != sorted(set(parents)) or op["op_id"] in parents or (op["op_type"] == "create" and parents):
        return "parents"
    if len(parents) > 1 and op["op_type"] != "resolve" and kind not in MERGED:
        return "parents"
    return "op_type" if op["op_type"] == "update" and kind not in MERGED | BY_HAND else None


def _broken_payload(text: str) -> str | None:
    try:
        payload = read(text, unique=True)
    except ValueError:
        return "payload"
    if not isinstance(payload, dict) or any(ord(char) < 0x20 for char in text):
        return "payload"
    return "payload" if _depth(payload) > DEEPEST else None


def _depth(value: object) -> int:
    if isinstance(value, dict | list):
        return 1 + max(map(_depth, value.values() if isinstance(value, dict) else value), default=0)
    return 0


def _is(form: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and form.fullmatch(value) is not None


def _is_time(value: object) -> bool:
    found = TIME.fullmatch(value) if isinstance(value, str) else None
    if found is None or found[2] > "23" or found[3] > "59" or found[4] > "59":
        return False
    try:
        date.fromisoformat(found[1])
    except ValueError:
        return False
    return True
