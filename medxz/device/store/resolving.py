"""From what a person decides about a conflict to the payloads of the ops that say so.

A resolve names every head that is here and writes only what the sides differ in. Where a side that is retracted is
taken, a retract follows it: a resolve alone would bring the entity back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from medxz.errors import OpInvalid, StoreError
from medxz.merge.change import REASON_MEMBER, object_json
from medxz.merge.view import Conflict, Side, View


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided: whose values to take, all of them or field by field, and what to write in their place.

    A value is JSON text, or None for a field that is to go.
    """

    reason: str
    take: str | Mapping[str, str] | None = None
    fields: Mapping[str, bytes | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Settled:
    """The payload of the resolve, and that of the retract that follows it, if one does."""

    resolve: bytes
    retract: bytes | None


def settle(view: View, conflict_id: str | None, decision: Decision) -> Settled:
    """OpInvalid where the decision is about nothing that is in conflict; StoreError where the conflict is no more.

    Without an id it is about all that is in conflict; heads that agree are joined by it too.
    """
    conflicts = [conflict for conflict in view.conflicts if conflict_id in {None, conflict.conflict_id}]
    if not conflicts and conflict_id is not None:
        raise StoreError(f"there is no open conflict {conflict_id} here: it was resolved, or has changed")
    values: dict[str, bytes | None] = {}
    retracted: Side | None = None
    if isinstance(decision.take, str):
        for conflict in conflicts:
            side = _side(conflict, decision.take)
            values |= {name: side.values.get(name) for name in _fields_of(conflict, side)}
            retracted = side if side.retracted is not None else retracted
    elif decision.take is not None:
        values = {name: _value(conflicts, name, op_id) for name, op_id in decision.take.items()}
    values |= decision.fields
    if not values and decision.take is None:
        raise OpInvalid("payload", "says nothing of what is in conflict")
    if REASON_MEMBER in values:
        raise OpInvalid(REASON_MEMBER, "is where the reason stands: it is no field")
    return Settled(_resolve(values, decision.reason), _retract(retracted, decision.reason))


def _side(conflict: Conflict, op_id: str) -> Side:
    for side in conflict.sides:
        if side.op_id == op_id:
            return side
    raise OpInvalid("take", f"{op_id} is no side of this conflict")


def _fields_of(conflict: Conflict, side: Side) -> Sequence[str]:
    """What there is to be written so that this side's values stand."""
    if conflict.kind != "retract":
        return [name for name in conflict.fields if name in side.values]
    names = {name for one in conflict.sides for name in one.values}
    return sorted(name for name in names if len({one.values.get(name) for one in conflict.sides}) > 1)


def _value(conflicts: Sequence[Conflict], name: str, op_id: str) -> bytes | None:
    for conflict in conflicts:
        for side in conflict.sides:
            if side.op_id == op_id and name in side.values:
                return side.values[name]
    raise OpInvalid("take", f"{op_id} is no side of this conflict that says anything of {name!r}")


def _resolve(values: Mapping[str, bytes | None], reason: str) -> bytes:
    return object_json({**values, REASON_MEMBER: object_json({"reason": msgspec.json.encode(reason)})})


def _retract(side: Side | None, reason: str) -> bytes | None:
    """It is retracted for the reason that it was retracted for before."""
    if side is None or side.retracted is None:
        return None
    return object_json({"reason": side.retracted.reason or msgspec.json.encode(reason)})
