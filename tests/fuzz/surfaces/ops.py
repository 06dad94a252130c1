"""Ops as they arrive: the body of a push, and a single envelope as a server and as a reader take it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from medxz.errors import BadJson, Invalid, OpInvalid, PeerUnreachable, TooLarge
from medxz.ids import is_uuid, uuid_bytes
from medxz.merge.change import change_of, members_of, object_json
from medxz.op import Operation, sign, signature_holds
from medxz.peer.answers import check_ops
from medxz.rules import decode_op
from medxz.service.judge import Judge
from medxz.service.plan import Plan
from medxz.service.push_body import Broken, check_members, examine, read_push
from medxz.store.directory import DeviceEntry, Directory, User
from medxz.store.record import op_id_of, op_json_of, render, stored_op, text_of
from medxz.wire import PushResult
from tests.fuzz.lawful import broken_rule, items, read, slices
from tests.fuzz.surface import Surface, documented, holds
from tests.making import CLINIC, DEVICE, OTHER_DEVICE, USER, fixed_id

KEY: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
# no refusal may quote a payload: this stands in those to begin with
SECRET: Final = "Zwetschgenmus"
AT: Final = b"2026-11-21T10:00:00.000Z"


@cache
def op_seeds() -> tuple[bytes, ...]:
    """Lawful ops of each kind."""
    head: dict[str, Any] = {
        "op_id": fixed_id(1), "clinic_id": CLINIC, "device_id": DEVICE, "user_id": USER, "entity_type": "Patient",
        "entity_id": fixed_id(2), "op_type": "create", "parents": (), "device_time": AT.decode(), "device_seq": 1,
        "schema_version": 1, "payload": msgspec.Raw(b'{"name":[{"family":"%b"}],"active":true}' % SECRET.encode()),
    }  # fmt: skip
    plain = Operation(**head)
    others: list[dict[str, Any]] = [
        {"op_type": "update", "parents": (fixed_id(1), fixed_id(3)), "op_id": fixed_id(4), "device_seq": 2},
        {"op_type": "amend", "parents": (fixed_id(1),), "op_id": fixed_id(5), "entity_type": "Observation",
         "payload": msgspec.Raw(b'{"value":120.50,"big":12345678901234567890123,"note":"\\u00e9\\ud83d\\ude00"}')},
        {"op_type": "retract", "parents": (fixed_id(4),), "op_id": fixed_id(6), "payload": msgspec.Raw(b'{"reason":"x"}')},
        {"op_type": "resolve", "parents": (fixed_id(4), fixed_id(5)), "op_id": fixed_id(7), "entity_type": "Condition",
         "payload": msgspec.Raw(b'{"_resolve":{"reason":"seen"},"a":{"b":[1,2,{"c":null}]}}')},
        {"device_id": OTHER_DEVICE, "op_id": fixed_id(8)},
        {"hash": plain.digest().hex(), "signature": sign(plain.digest(), KEY)},
        {"server_seq": 17, "server_received_at": AT.decode()},
    ]  # fmt: skip
    return plain.json(), *(msgspec.json.encode(Operation(**(head | other))) for other in others)


def push_seeds() -> Sequence[bytes]:
    letter = b'{"device_id":"%b","device_seq":3,"op_id":null,"code":"invalid"}' % DEVICE.encode()
    all_ops = b",".join(op_seeds())
    return [
        *(b'{"ops":[%b]}' % op for op in op_seeds()),
        b'{"ops":[%b]}' % all_ops,
        b'{"ops":[%b],"dead_letters":[%b]}' % (all_ops, letter),
        b'{"dead_letters":[%b],"ops":[]}' % letter,
        b'{ "ops" : [ %b , 7 ] }\n' % op_seeds()[0],
        b'{"ops":[{"payload":"a\nb"},%b]}' % op_seeds()[0],
        *documented(),
    ]


class Asking:
    """Who pushes: what a plan looks at of a caller."""

    clinic_id, device_id, user_id, name = CLINIC, DEVICE, USER, DEVICE

    def __init__(self, hub_id: str | None) -> None:
        self.hub_id = hub_id


DIRECTORY: Final = Directory(
    users={USER: User(USER, frozenset({"clinician"}))},
    devices={
        DEVICE: DeviceEntry(
            DEVICE, "full", public_keys=(KEY.public_key().public_bytes_raw(),), authors=frozenset({USER})
        )
    },
)


def take_push(data: bytes) -> str:
    """A body through reading, examining and judging; the ops that it takes are those that are lawful."""
    try:
        body = read_push(data)
        examined = examine(body.offered)
        check_members(data, examined[1])
    except (BadJson, Invalid, TooLarge) as refusal:
        holds("no refusal quotes a payload", SECRET not in refusal.message, refusal.message)
        holds("a refused body is refused with cause", _expected(data) is None, refusal.message)
        return f"{refusal.code} {refusal.message.split(':')[0][:40]}"
    expected = _expected(data)
    told, texts = examined
    holds("each thing offered has its place", len(told) == len(texts) == len(body.offered))
    if expected is not None:
        wrong = [
            (isinstance(item, Broken), rule)
            for item, rule in zip(told, expected, strict=True)
            if isinstance(item, Broken) == (rule is None) and rule != "?"
        ]
        holds("what is lawful is taken, and nothing else", not wrong, wrong)
    for item, text in zip(told, texts, strict=True):
        _check_item(item, text)
    for hub_id in (None, fixed_id(0xB1)):
        _check_plan(hub_id, examined)
    return " ".join(sorted({_said(item) for item in told})[:6])


def _said(item: Operation | Broken) -> str:
    return f"{item.code}:{item.field}" if isinstance(item, Broken) else "op"


def _expected(data: bytes) -> list[str | None] | None:
    """For each op its broken rule; None where the whole is no push, or only by a lenient reading."""
    try:
        text = data.decode()
        value = read(text, unique=False)
        members = slices(text) if isinstance(value, dict) else []
    except (ValueError, IndexError, RecursionError):
        return None
    told = dict(members)
    if len(told) != len(members) or set(told) != {"ops"} or not isinstance(value["ops"], list):
        return None
    ops = items(told["ops"])
    if not 1 <= len(ops) <= 1_000:
        return None
    return [_rule(op) for op in ops]


def _rule(text: str) -> str | None:
    """The rule that it breaks; "?" where the protocol leaves it open."""
    rule = broken_rule(text)
    return "?" if rule != "op" and _is_open(text) else rule


def _is_open(text: str) -> bool:
    """A member that stands twice, or a number of another server that no server would give."""
    op = read(text, unique=False)
    told = slices(text) if isinstance(op, dict) else []
    value = dict(op).get("server_seq") if isinstance(op, dict) else None
    return len(dict(told)) != len(told) or (isinstance(value, int | float) and not -(2**63) <= value < 2**63)


def _check_item(item: Operation | Broken, text: bytes) -> None:
    if isinstance(item, Broken):
        holds("a broken op has no text", text == b"")
        holds("its ids are ids", all(one is None or is_uuid(one) for one in (item.op_id, item.device_id)))
        holds("no message quotes a payload", SECRET not in item.message, item.message)
        item.message.encode()
        (item.field or "").encode()
        return
    check_same(item, b"{" + text)


def check_same(op: Operation, text: bytes) -> None:
    """What was taken is what a reader of the log gets, byte for byte."""
    again = decode_op(text)
    holds("stored as it was read", (again, again.json()) == (_bare(op), text))
    record = render(9, AT, text[1:])
    kept = stored_op(op_json_of(record))
    holds("read as it was stored", _bare(kept) == _bare(op) and kept.server_seq == 9)
    holds("its text and id are found in its record", text_of(record) == text[1:])
    holds("its id is found in its record", op_id_of(record) == uuid_bytes(op.op_id))
    head = (
        "medxz-op-1", op.op_id, op.clinic_id, op.device_id, op.user_id, op.entity_type, op.entity_id, op.op_type,
        ",".join(op.parents), op.device_time, str(op.device_seq), str(op.schema_version), "",
    )  # fmt: skip
    hashed = hashlib.sha256("\n".join(head).encode() + bytes(op.payload)).digest()
    holds("its hash is the protocol's", op.digest() == hashed)
    change = change_of(op)
    if change.reason is None and op.op_type in ("create", "amend"):
        parts = members_of(bytes(op.payload))
        holds("its fields are its payload's", members_of(object_json(change.fields)) == parts)


def _bare(op: Operation) -> Operation:
    return msgspec.structs.replace(op, server_seq=None, server_received_at=None)


def _check_plan(hub_id: str | None, examined: Any) -> None:
    caller: Any = Asking(hub_id)
    plan = Plan(caller, Judge(caller, DIRECTORY, require_signed_ops=False), examined)
    results = [result for result in plan.results if result is not None]
    holds("each is answered or stored", len(results) + len(plan.append.ops) == len(examined[0]))
    encoded = msgspec.json.encode(results)
    holds("results can be sent", msgspec.json.decode(encoded, type=list[PushResult]) == results)


def take_envelope(data: bytes) -> str:
    """One op, as a server takes it out of a push, a reader out of a page, and a device out of its own hands."""
    taken = _by(lambda: decode_op(data))
    try:
        expected = _rule(data.decode())
    except UnicodeDecodeError:
        expected = "op"
    if expected != "?":
        holds(
            "what is lawful is taken, and nothing else",
            isinstance(taken, str) == bool(expected),
            taken,
            expected,
        )
    read_back = _by(lambda: _as_reader(data))
    if isinstance(taken, str):
        holds("a reader refuses what a server does", isinstance(read_back, str), taken)
        return taken
    hash_holds = taken.hash is None or taken.hash == taken.digest().hex()
    holds("a reader takes what a server does", isinstance(read_back, Operation) == hash_holds, read_back)
    body = read_push(b'{"ops":[' + data + b"]}")
    told, texts = examine(body.offered)
    holds(
        "a push takes it alike", [_bare(taken)] == [_bare(one) for one in told if isinstance(one, Operation)]
    )
    check_same(taken, b"{" + texts[0])
    if taken.signature is not None:
        public = KEY.public_key().public_bytes_raw()
        is_ours = signature_holds(taken.digest(), taken.signature, public)
        return f"op signed {is_ours} {hash_holds}"
    return f"op {taken.op_type} {hash_holds}"


def _as_reader(data: bytes) -> Operation:
    try:
        [op] = msgspec.json.decode(b"[" + data + b"]", type=list[Operation])
    except (msgspec.MsgspecError, RecursionError, ValueError):
        raise PeerUnreachable("no page") from None
    check_ops([op])
    return op


def _by(read_op: Any) -> Operation | str:
    try:
        op: Operation = read_op()
    except OpInvalid as invalid:
        holds("no refusal quotes a payload", SECRET not in invalid.message, invalid.message)
        return f"invalid {invalid.field if invalid.field in Operation.__struct_fields__ else 'name'} {invalid.message[:30]}"
    except PeerUnreachable:
        return "unreachable"
    return op


SURFACES: Final = (
    Surface("push", "read_push, examine, Plan", take_push, push_seeds, bytes_max=8_192),
    Surface("envelope", "decode_op, check_ops, examine, store record", take_envelope, op_seeds),
)
