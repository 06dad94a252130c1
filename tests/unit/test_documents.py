"""What docs/protocol.md says, held against the code that serves it."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import msgspec
from pydantic import BaseModel

from medxz import errors, limits, wire
from medxz.endpoints import ENDPOINTS
from medxz.op import OP_TYPES, Operation
from medxz.rules import checked_digest, decode_op

PROTOCOL = (Path(__file__).resolve().parents[2] / "docs" / "protocol.md").read_text("utf-8")


def named(words: Iterable[str]) -> list[str]:
    return [word for word in words if f"`{word}`" not in PROTOCOL]


def test_the_example_op_is_one() -> None:
    """The example is a lawful op, and its hash is the one that it shows, payload byte for byte."""
    example = next(
        text for text in re.findall(r"```json\n(.*?)```", PROTOCOL, re.DOTALL) if '"device_seq"' in text
    )
    op = decode_op(example.encode())
    assert checked_digest(op).hex() == op.hash
    assert b"120.50" in bytes(op.payload)


def test_every_field_and_type_of_an_op_is_told() -> None:
    """The table of the envelope names every field that an op can have, and every op type."""
    assert named((*Operation.__struct_fields__, *OP_TYPES)) == []


def test_every_endpoint_is_told() -> None:
    """No endpoint is served that the contract does not name."""
    missing = [
        endpoint.path for endpoint in ENDPOINTS if not re.search(rf"{re.escape(endpoint.path)}[`?]", PROTOCOL)
    ]
    assert missing == []


def test_every_code_is_told() -> None:
    """No code is answered that the contract does not name."""
    codes = [refusal.code for refusal in errors.REFUSALS]
    assert named((*codes, *get_args(wire.RejectionCode), *get_args(wire.RetryCode))) == []


def test_every_member_is_told() -> None:
    """No message has a member that the contract does not name."""
    messages = [
        message
        for message in vars(wire).values()
        if isinstance(message, type) and issubclass(message, BaseModel | msgspec.Struct)
    ]
    members = {
        name
        for message in messages
        for name in (message.model_fields if issubclass(message, BaseModel) else message.__struct_fields__)
    }
    assert {"site_id", "server_seq", "dead_letters"} <= members
    assert [name for name in sorted(members) if not re.search(rf'[`"{{ ]{name}[`"}},?:]', PROTOCOL)] == []


def test_limits_are_those_of_the_contract() -> None:
    """The wire's maxima in the code are those of the text."""
    mib, kib = limits.MIB, limits.KIB
    text = (
        f"{limits.PUSH_OPS_MAX:,} ops; {limits.OP_BYTES_MAX // kib} KiB an op; "
        f"{limits.BODY_BYTES_MAX // mib} MiB a body as it is sent; "
        f"{limits.BODY_INFLATED_BYTES_MAX // mib} MiB after decompression"
    )
    assert text in " ".join(PROTOCOL.split())


def test_examples_are_json() -> None:
    """Every example that calls itself JSON can be parsed."""
    for text in re.findall(r"```json\n(.*?)```", PROTOCOL, re.DOTALL):
        json.loads(text)
