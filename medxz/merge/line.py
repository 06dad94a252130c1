"""One entity as one line of a snapshot, and its changes out of such a line again.

A line tells each op of the graph, and of its values only those that are not the state's own: an entity of one op
costs little more than its payload. What a line tells is all that merging needs, whatever arrives later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from medxz.merge.change import Change
from medxz.merge.entity import Entity
from medxz.merge.graph import graph_of
from medxz.merge.standing import Retracted
from medxz.merge.view import RETRACTED, state_json, view_at
from medxz.merge.walk import standing_of


class _Op(msgspec.Struct, omit_defaults=True, gc=False):
    """An op of the graph. A value that is not told is the one that the state has."""

    op_id: str
    parents: tuple[str, ...]
    op_type: str
    fields: tuple[str, ...]
    user_id: str
    device_id: str
    device_time: str
    schema_version: int
    server_seq: int | None = None
    server_received_at: str | None = None
    reason: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    values: dict[str, msgspec.Raw] = {}


class _Line(msgspec.Struct, gc=False):
    entity_type: str
    entity_id: str
    heads: tuple[str, ...]
    state: msgspec.Raw
    conflicts: msgspec.Raw
    missing_parents: tuple[str, ...]
    version: int
    graph: list[_Op]


class _Told(msgspec.Struct, gc=False):
    """What is read of a line: the rest follows from it."""

    entity_type: str
    entity_id: str
    state: dict[str, msgspec.Raw]
    graph: list[_Op]


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(_Told)
_EMPTY_LIST: Final = msgspec.Raw(b"[]")
_NULL: Final = msgspec.Raw(b"null")


def line_of(entity: Entity, changes: Iterable[Change]) -> bytes:
    """The line of the entity that these ops make, without its newline."""
    several = list(changes)
    if len(several) == 1:
        return _line_of_one(entity, several[0])
    graph = graph_of(several)
    view = view_at(entity, graph, standing_of(entity.entity_type, graph))
    return _ENCODER.encode(
        _Line(
            entity.entity_type,
            entity.entity_id,
            view.heads,
            msgspec.Raw(view.state_json()),
            msgspec.Raw(view.conflicts_json()),
            view.missing_parents,
            view.version,
            [_op(change, _untold(change, view.state)) for change in graph.changes],
        )
    )


def changes_of_line(clinic_id: str, line: bytes) -> tuple[Entity, list[Change]]:
    """The entity of a line and its changes, parents first."""
    told = _DECODER.decode(line)
    state = {name: bytes(value) for name, value in told.state.items()}
    entity = Entity(clinic_id, told.entity_type, told.entity_id)
    return entity, [_change(op, state) for op in told.graph]


def _line_of_one(entity: Entity, change: Change) -> bytes:
    """Most entities are one op: what it wrote is the state, so none of its values is told twice."""
    state = {name: value for name, value in sorted(change.fields.items()) if value is not None}
    mark = Retracted(change.op_id, change.reason) if change.op_type == "retract" else None
    missing = tuple(sorted({*change.parents} - {change.op_id})) if change.parents else ()
    return _ENCODER.encode(
        _Line(
            entity.entity_type,
            entity.entity_id,
            (change.op_id,),
            msgspec.Raw(state_json(state, mark)),
            _EMPTY_LIST,
            missing,
            1,
            # all that it wrote is the state's own
            [_op(change, _untold(change, state) if RETRACTED in change.fields else {})],
        )
    )


def _untold(change: Change, state: Mapping[str, bytes]) -> dict[str, msgspec.Raw]:
    """The values of an op that are not the state's own."""
    return {
        name: _NULL if value is None else msgspec.Raw(value)
        for name, value in change.fields.items()
        # in a line's state the mark of a retract may stand where a field of that name would
        if value != state.get(name) or name == RETRACTED
    }


def _op(change: Change, values: dict[str, msgspec.Raw]) -> _Op:
    return _Op(
        change.op_id,
        change.parents,
        change.op_type,
        tuple(change.fields),
        change.user_id,
        change.device_id,
        change.device_time,
        change.schema_version,
        change.server_seq,
        change.server_received_at,
        msgspec.UNSET if change.reason is None else msgspec.Raw(change.reason),
        values,
    )


def _change(op: _Op, state: Mapping[str, bytes]) -> Change:
    return Change(
        op_id=op.op_id,
        op_type=op.op_type,
        parents=op.parents,
        fields={
            name: _value(op.values[name]) if name in op.values else state.get(name) for name in op.fields
        },
        reason=None if op.reason is msgspec.UNSET else bytes(op.reason),
        user_id=op.user_id,
        device_id=op.device_id,
        device_time=op.device_time,
        schema_version=op.schema_version,
        server_seq=op.server_seq,
        server_received_at=op.server_received_at,
    )


def _value(raw: msgspec.Raw) -> bytes | None:
    value = bytes(raw)
    return None if value == b"null" else value
