"""What a server tells of itself, and how it refuses."""

from __future__ import annotations

from typing import Literal

from medxz import limits
from medxz.wire.forms import Answer

PROTOCOL_VERSIONS = ("1.0",)


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
