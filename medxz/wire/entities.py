"""What ops amount to: entities, their conflicts, their history."""

from __future__ import annotations

from typing import Literal

import msgspec

from medxz.op import Operation


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
