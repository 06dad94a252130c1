"""An entity as its ops make it: state, heads, conflicts; and the conflicts that were resolved.

A view is a function of the set of ops. State and sides are put together from slices of the payloads, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from medxz.merge.change import Change, json_of, object_json
from medxz.merge.entity import Entity
from medxz.merge.graph import Graph, graph_of
from medxz.merge.standing import Finding, Retracted, Standing
from medxz.merge.walk import Walk, standing_of

__all__ = ["Conflict", "Resolved", "Retracted", "Side", "View", "resolved_of", "view_of"]

RETRACTED = "retracted"


class Side(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One side of a conflict: who, when, where, and the values of the conflict's fields (None: removed).

    A field that is not in `values` is not what this side is about.
    """

    op_id: str
    op_type: str
    user_id: str
    device_id: str
    device_time: str
    values: dict[str, bytes | None]
    retracted: Retracted | None = None


class Conflict(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Concurrent ops of an entity that do not agree. `op_ids` is what its id is made of."""

    conflict_id: str
    kind: Literal["edit", "retract"]
    entity: Entity
    fields: tuple[str, ...]
    op_ids: tuple[str, ...]
    sides: tuple[Side, ...]
    provisional: bool = False

    def to_wire_json(self) -> bytes:
        """The conflict as the protocol sends it."""
        return object_json(
            {
                "conflict_id": json_of(self.conflict_id),
                "kind": json_of(self.kind),
                "entity_type": json_of(self.entity.entity_type),
                "entity_id": json_of(self.entity.entity_id),
                "fields": json_of(self.fields),
                "heads": json_of(self.op_ids),
                "sides": b"[" + b",".join(map(_side_json, self.sides)) + b"]",
                "provisional": json_of(self.provisional),
            }
        )


class Resolved(msgspec.Struct, frozen=True, gc=False):
    """A conflict that is no more, and the op that resolved it."""

    conflict: Conflict
    by: str


class View(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An entity as the ops that are here make it. `state` is sorted by name; `version` counts the ops."""

    entity: Entity
    state: dict[str, bytes]
    retracted: Retracted | None
    heads: tuple[str, ...]
    missing_parents: tuple[str, ...]
    conflicts: tuple[Conflict, ...]
    version: int

    def state_json(self) -> bytes:
        """The state, with the mark of a retract where it has one."""
        return state_json(self.state, self.retracted)

    def conflicts_json(self) -> bytes:
        """The open conflicts, as a list."""
        return b"[" + b",".join([conflict.to_wire_json() for conflict in self.conflicts]) + b"]"

    def to_wire_json(self) -> bytes:
        """The entity as the protocol sends it."""
        return object_json(
            {
                "entity_type": json_of(self.entity.entity_type),
                "entity_id": json_of(self.entity.entity_id),
                "state": self.state_json(),
                "heads": json_of(self.heads),
                "version": json_of(self.version),
                "conflicts": self.conflicts_json(),
                "missing_parents": json_of(self.missing_parents),
            }
        )


def view_of(entity: Entity, changes: Iterable[Change]) -> View:
    """The entity that these ops make, in whatever order they are given; one given twice counts once."""
    several = list(changes)
    if len(several) == 1:
        return _view_of_one(entity, several[0])
    graph = graph_of(several)
    return view_at(entity, graph, standing_of(entity.entity_type, graph))


def view_at(entity: Entity, graph: Graph, standing: Standing) -> View:
    """The entity of this graph, whose walk ended at this standing."""
    return View(
        entity=entity,
        state=dict(sorted(standing.shown().items())),
        retracted=standing.retracted(),
        heads=tuple(sorted(graph.changes[place].op_id for place in graph.heads)),
        missing_parents=tuple(graph.missing),
        conflicts=tuple(_conflicts(entity, standing, provisional=bool(graph.missing))),
        version=len(graph.changes),
    )


def resolved_of(entity: Entity, changes: Iterable[Change]) -> tuple[Resolved, ...]:
    """The conflicts among an op's ancestors that are gone with that op, unless they are open now.

    Ordered by the op that resolved them (parents first), `retract` before `edit`. One that several concurrent ops
    resolved is told once, by the first of them.
    """
    graph = graph_of(changes)
    walk = Walk(entity.entity_type, graph)
    provisional = bool(graph.missing)
    resolved: dict[tuple[str, tuple[str, ...]], Resolved] = {}
    for change, before, after in walk.steps():
        gone = before.findings()
        if gone:
            left = {finding.op_ids for finding in after.findings()}
            for finding in gone:
                key = finding.kind, finding.op_ids
                if finding.op_ids not in left and key not in resolved:
                    conflict = _conflict(entity, before, finding, provisional=provisional)
                    resolved[key] = Resolved(conflict, change.op_id)
    now = {finding.op_ids for finding in walk.end.findings()} if resolved else set()
    return tuple(one for one in resolved.values() if one.conflict.op_ids not in now)


def _view_of_one(entity: Entity, change: Change) -> View:
    """Most entities are one op: nothing there to order or to join."""
    state = {name: value for name, value in sorted(change.fields.items()) if value is not None}
    return View(
        entity=entity,
        state=state,
        retracted=Retracted(change.op_id, change.reason) if change.op_type == "retract" else None,
        heads=(change.op_id,),
        missing_parents=tuple(sorted({*change.parents} - {change.op_id})) if change.parents else (),
        conflicts=(),
        version=1,
    )


def _conflicts(entity: Entity, standing: Standing, *, provisional: bool) -> list[Conflict]:
    return [_conflict(entity, standing, finding, provisional=provisional) for finding in standing.findings()]


def _conflict(entity: Entity, standing: Standing, finding: Finding, *, provisional: bool) -> Conflict:
    sides = tuple(
        Side(
            op_id=said.change.op_id,
            op_type=said.change.op_type,
            user_id=said.change.user_id,
            device_id=said.change.device_id,
            device_time=said.change.device_time,
            values=said.values,
            retracted=said.retracted,
        )
        for said in standing.said(finding)
    )
    return Conflict(
        conflict_id=entity.conflict_id(finding.op_ids),
        kind=finding.kind,
        entity=entity,
        fields=finding.fields,
        op_ids=finding.op_ids,
        sides=sides,
        provisional=provisional,
    )


def state_json(state: dict[str, bytes], mark: Retracted | None) -> bytes:
    """A state that is sorted by name, as JSON; with a mark, that takes the place of a field of its name."""
    if mark is None:
        return object_json(state)
    return object_json(dict(sorted({**state, RETRACTED: _mark_json(mark)}.items())))


def _side_json(side: Side) -> bytes:
    members: dict[str, bytes | None] = {
        "op_id": json_of(side.op_id),
        "op_type": json_of(side.op_type),
        "user_id": json_of(side.user_id),
        "device_id": json_of(side.device_id),
        "device_time": json_of(side.device_time),
        "values": object_json(side.values),
    }
    if side.retracted is not None:
        members[RETRACTED] = _mark_json(side.retracted)
    return object_json(members)


def _mark_json(mark: Retracted) -> bytes:
    return object_json({"op_id": json_of(mark.op_id), "reason": mark.reason})
