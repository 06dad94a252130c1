"""The messages of the protocol, as they travel.

Ops, and the messages that carry them, are msgspec structs, because a payload's text passes through untouched; the
rest are pydantic models. Unknown members are refused in what a server reads, and let pass in what a client reads,
so that an answer can grow.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from medxz import limits
from medxz.ids import UUID_PATTERN
from medxz.op import Operation

PROTOCOL_VERSIONS = ("1.0",)

ResultStatus = Literal["accepted", "duplicate", "conflict", "retry", "rejected"]
RetryCode = Literal["unknown_author", "unknown_key"]
RejectionCode = Literal[
    "invalid", "wrong_clinic", "wrong_device", "forbidden", "op_id_reused", "device_seq_reused", "bad_hash",
    "bad_signature", "too_large",
]  # fmt: skip
REFUSED_FROM_HUBS: frozenset[str] = frozenset({"invalid", "wrong_clinic", "bad_hash", "op_id_reused"})

Uuid = Annotated[str, Field(pattern=f"^{UUID_PATTERN}$")]
Count = Annotated[int, Field(ge=0, le=limits.INTEGER_MAX)]


class WireDeadLetter(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """A final rejection that a hub reports upstream, so that the number counts as settled there too."""

    device_id: Annotated[str, msgspec.Meta(pattern=f"^{UUID_PATTERN}$")]
    device_seq: Annotated[int, msgspec.Meta(ge=1, le=limits.INTEGER_MAX)]
    op_id: Annotated[str, msgspec.Meta(pattern=f"^{UUID_PATTERN}$")]
    code: RejectionCode


class PushRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Operations to be stored; from a hub, also the dead letters that settle numbers."""

    ops: Annotated[list[Operation], msgspec.Meta(max_length=limits.PUSH_OPS_MAX)]
    dead_letters: Annotated[list[WireDeadLetter], msgspec.Meta(max_length=limits.PUSH_OPS_MAX)] = []


class PushResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What became of one op. `op_id` is null where the op had none that could be read."""

    op_id: str | None
    status: ResultStatus
    server_seq: int | None = None
    conflict_id: str | None = None
    fields: tuple[str, ...] | None = None
    code: str | None = None
    field: str | None = None
    message: str | None = None


class RefusedUpstream(msgspec.Struct, frozen=True, kw_only=True):
    """An op that a hub stored and the cloud would not."""

    op_id: str
    code: str


class PushAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Results in the order of the request, and how far the cloud has this device's numbers."""

    server_id: str
    epoch: str
    cloud_epoch: str | None
    results: list[PushResult]
    cloud_through: int | dict[str, int]
    refused_upstream: list[RefusedUpstream]


class PullAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the log after a cursor."""

    server_id: str
    epoch: str
    ops: list[Operation]
    next_cursor: str
    has_more: bool


class Retracted(msgspec.Struct, frozen=True, kw_only=True):
    """That an entity, or a side of a conflict, was taken back: by which op, and why."""

    op_id: str
    reason: msgspec.Raw


class ConflictSide(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one op says of the fields in conflict; of a duplicate, what one patient says. `null`: it has no such field."""

    values: dict[str, msgspec.Raw]
    op_id: str | msgspec.UnsetType = msgspec.UNSET
    op_type: str | msgspec.UnsetType = msgspec.UNSET
    user_id: str | msgspec.UnsetType = msgspec.UNSET
    device_id: str | msgspec.UnsetType = msgspec.UNSET
    device_time: str | msgspec.UnsetType = msgspec.UNSET
    entity_id: str | msgspec.UnsetType = msgspec.UNSET
    retracted: Retracted | msgspec.UnsetType = msgspec.UNSET


class WireConflict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Concurrent ops of an entity that do not agree, or patients who may be one. `resolved_by` is there once it is."""

    conflict_id: str
    kind: Literal["edit", "retract", "duplicate"]
    entity_type: str
    entity_id: str
    fields: list[str]
    heads: list[str]
    sides: list[ConflictSide]
    provisional: bool = False
    state: Literal["open", "resolved"] | msgspec.UnsetType = msgspec.UNSET
    resolved_by: str | msgspec.UnsetType = msgspec.UNSET


class ConflictsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    conflicts: list[WireConflict]
    next_cursor: str | None


class EntityAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An entity as it stands. The members of `state` are the authors' own text, byte for byte."""

    entity_type: str
    entity_id: str
    state: dict[str, msgspec.Raw]
    heads: list[str]
    version: int
    conflicts: list[WireConflict]
    missing_parents: list[str]


class EntitiesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    entities: list[EntityAnswer]
    next_cursor: str | None


class EntityOpsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    ops: list[Operation]
    next_cursor: str | None


class FieldChange(msgspec.Struct, frozen=True, kw_only=True):
    """A field before an op and after it; `null` where it was not there."""

    before: msgspec.Raw
    after: msgspec.Raw


class MergedField(msgspec.Struct, frozen=True, kw_only=True):
    """What a field came to, and the ops that it came from; `null`: removed."""

    value: msgspec.Raw
    op_ids: list[str]


class Merged(msgspec.Struct, frozen=True, kw_only=True):
    """What lay beside each other and merged by itself."""

    heads: list[str]
    fields: dict[str, MergedField]


class HistoryItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one op changed, who did it, and when."""

    op_id: str
    op_type: str
    parents: list[str]
    user_id: str
    device_id: str
    device_time: str
    schema_version: int
    fields: dict[str, FieldChange]
    retracted: bool
    resolves: list[str]
    merged: Merged | None
    server_seq: int | msgspec.UnsetType = msgspec.UNSET
    server_received_at: str | msgspec.UnsetType = msgspec.UNSET
    reason: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class HistoryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Parents first. `merged` is what merged over the ops that nobody has followed yet."""

    history: list[HistoryItem]
    merged: Merged | None
    next_cursor: str | None


class SnapshotHeader(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a snapshot: where the log stood, what it held of the device's scope, how many lines follow."""

    cursor: str
    have: dict[str, int | list[list[int]]]
    server_id: str
    epoch: str
    scope: Literal["full", "front_desk"]
    entities: int


class Message(BaseModel):
    """What a server reads: unknown members are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Answer(BaseModel):
    """What a client reads: unknown members are let pass."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class ResumeRequest(Message):
    """What the caller has, by device: n for 1 … n, or ranges."""

    have: Annotated[
        dict[
            Uuid,
            Count
            | Annotated[
                list[Annotated[list[Count], Field(min_length=2, max_length=2)]],
                Field(max_length=limits.HAVE_RANGES_MAX),
            ],
        ],
        Field(max_length=limits.HAVE_DEVICES_MAX),
    ]


class ResumeAnswer(Answer):
    cursor: str


class Upstream(Answer):
    """How a hub stands with its cloud."""

    state: Literal["online", "offline"]
    backlog: int
    last_ok_at: str | None
    last_error: str | None


class RefusedOp(Answer):
    op_id: str
    code: str


class StatusAnswer(Answer):
    """How the calling device stands with this server."""

    server_id: str
    epoch: str
    last_push_at: str | None
    last_pull_at: str | None
    received_through: int
    cloud_through: int
    cloud_epoch: str | None
    open_conflicts: int | None
    scope: Literal["full", "front_desk"] | None = None
    refused_upstream: list[RefusedOp]
    upstream: Upstream | None = None


class WatermarksAnswer(Answer):
    received: dict[str, int]
    cloud: dict[str, int]
    cloud_epoch: str | None


class InfoLimits(Answer):
    push_ops: int = limits.PUSH_OPS_MAX
    op_bytes: int = limits.OP_BYTES_MAX
    body_bytes: int = limits.BODY_BYTES_MAX
    body_inflated_bytes: int = limits.BODY_INFLATED_BYTES_MAX
    pull_ops: int = limits.PULL_OPS_MAX
    pull_wait_s: int = limits.PULL_WAIT_S_MAX


class DictionaryInfo(Answer):
    """A compression dictionary: its SHA-256 in hex names it."""

    id: str
    url: str
    bytes: int


class InfoAnswer(Answer):
    """Who this server is: asked without a token."""

    server_id: str
    kind: Literal["hub", "cloud"]
    epoch: str
    protocol: list[str]
    version: str
    time: str
    limits: InfoLimits
    dictionaries: list[DictionaryInfo]


class Target(Answer):
    kind: Literal["hub", "cloud"]
    url: str
    server_id: str


class ConfigAnswer(Answer):
    """The clinic's configuration, as a device needs it."""

    clinic_id: str
    keep_own_days: int
    offline_session_hours: int
    require_signed_ops: bool
    routing: dict[str, list[Literal["hub", "cloud"]]]
    targets: list[Target]
    ca_certificates: list[str]


class Review(Answer):
    """An op that was kept though this server now knows better; a person decides what follows."""

    review_id: int
    op_id: str
    device_id: str
    user_id: str
    entity_type: str
    entity_id: str
    code: str
    at: str


class ReviewsAnswer(Answer):
    reviews: list[Review]
    next_cursor: str | None


class ReenrolRequest(Message):
    """A device that finds itself restored from a copy, or cloned, asks for an id of its own."""

    name: Annotated[str, Field(min_length=1, max_length=120)]
    public_key: Annotated[str, Field(pattern="^[A-Za-z0-9_-]{43}$")]


class ReenrolAnswer(Answer):
    device_id: str
    clinic_id: str
    site_id: str
    scope: Literal["full", "front_desk"]
    access_token: str
    ca_certificates: list[str]
    targets: list[Target]


class Check(Answer):
    name: str
    ok: bool
    detail: str


class HealthAnswer(Answer):
    ok: bool
    checks: list[Check]


class Problem(Answer):
    """Every error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    field: str | None = None
    hint: str | None = None


Json = dict[str, Any]
