"""What merging needs to know of one op, and the top-level members of a payload as the bytes that were written.

A value is never parsed: it is cut out of the payload and put into the state as it stands. Ops are taken to be lawful
(medxz/rules.py); nothing is checked here again.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, cast

import msgspec

from medxz.op import Operation

REASON_MEMBER: Final = "_resolve"

_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Change(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One op of an entity: where it stands in the graph, who wrote it, and what it writes.

    `fields` holds what the payload names: a raw JSON slice, or None where the field is removed. The two `server_`
    fields are one server's own: they are shown in a history and enter neither state nor conflicts.
    """

    op_id: str
    op_type: str
    parents: tuple[str, ...]
    fields: dict[str, bytes | None]
    reason: bytes | None
    user_id: str
    device_id: str
    device_time: str
    schema_version: int
    server_seq: int | None = None
    server_received_at: str | None = None


def change_of(op: Operation) -> Change:
    """The op as merging sees it."""
    fields, reason = _written(op.op_type, op.payload)
    return Change(
        op_id=op.op_id,
        op_type=op.op_type,
        parents=op.parents,
        fields=fields,
        reason=reason,
        user_id=op.user_id,
        device_id=op.device_id,
        device_time=op.device_time,
        schema_version=op.schema_version,
        server_seq=op.server_seq,
        server_received_at=op.server_received_at,
    )


def members_of(payload: bytes) -> dict[str, bytes]:
    """The top-level members of a JSON object, each as the text that was written."""
    return {name: bytes(raw) for name, raw in _MEMBERS.decode(payload).items()}


def raw_members(payload: bytes) -> Mapping[str, bytes]:
    """The same, uncopied, for who only looks into some of them; what is removed stands there as null."""
    return cast(Mapping[str, bytes], _MEMBERS.decode(payload))


def json_of(value: object) -> bytes:
    """What stands around the slices."""
    return msgspec.json.encode(value)


def object_json(members: Mapping[str, bytes | None]) -> bytes:
    """A JSON object of these slices; None becomes null."""
    return b"{" + b",".join([_key(name) + (value or b"null") for name, value in members.items()]) + b"}"


def _written(op_type: str, payload: bytes) -> tuple[dict[str, bytes | None], bytes | None]:
    """The fields that an op of this payload names, and its reason.

    `_resolve` is where a reason stands, in whatever op: it is never a field. A retract has no fields.
    """
    fields: dict[str, bytes | None] = {}
    for name, raw in _MEMBERS.decode(payload).items():
        value = bytes(raw)
        fields[name] = None if value == b"null" else value
    if op_type == "retract":
        return {}, fields.get("reason")
    if REASON_MEMBER in fields:
        return fields, _reason(fields.pop(REASON_MEMBER))
    return fields, None


def _reason(told: bytes | None) -> bytes | None:
    """The reason of `_resolve`; what is no object with a reason in it is itself the reason."""
    if told is None or not told.startswith(b"{"):
        return told
    return members_of(told).get("reason", told)


@lru_cache(maxsize=4_096)
def _key(name: str) -> bytes:
    return msgspec.json.encode(name) + b":"
