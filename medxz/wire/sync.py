"""Ops up, the log down, and how far each side has come."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from pydantic import Field

from medxz import limits
from medxz.ids import UUID_PATTERN
from medxz.op import Operation
from medxz.wire.forms import Answer, Count, Message, Uuid

ResultStatus = Literal["accepted", "duplicate", "conflict", "retry", "rejected"]
RetryCode = Literal["unknown_author", "unknown_key"]
RejectionCode = Literal[
    "invalid", "wrong_clinic", "wrong_device", "forbidden", "op_id_reused", "device_seq_reused", "bad_hash",
    "bad_signature", "too_large",
]  # fmt: skip
REFUSED_FROM_HUBS: frozenset[str] = frozenset({"invalid", "wrong_clinic", "bad_hash", "op_id_reused"})


class WireDeadLetter(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """A final rejection that a hub reports upstream, so that the number counts as settled there too.

    `op_id` is null where the op had none that could be read.
    """

    device_id: Annotated[str, msgspec.Meta(pattern=f"^{UUID_PATTERN}$")]
    device_seq: Annotated[int, msgspec.Meta(ge=1, le=limits.INTEGER_MAX)]
    op_id: Annotated[str, msgspec.Meta(pattern=f"^{UUID_PATTERN}$")] | None
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


class SnapshotHeader(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a snapshot: where the log stood, what it held of the device's scope, how many lines follow."""

    cursor: str
    have: dict[str, int | list[list[int]]]
    server_id: str
    epoch: str
    scope: Literal["full", "front_desk"]
    entities: int


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
