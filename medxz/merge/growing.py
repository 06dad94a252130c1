"""An entity to which ops are added one by one as they arrive: what a push asks is whether it is in conflict now.

What stands after each op is kept, so that one more op costs one step. Where there is one head, no conflict and no
parent missing, all that is behind that head can be let go of for its `base`: a long entity then takes an update
without its old ops being read. While something is open, the heads and the latest others are kept. An op that reaches
back behind what is kept is not taken: the entity is built again from all its ops. Which ops are here already the caller knows: one that is behind what is kept must not come again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from medxz.merge.change import Change
from medxz.merge.entity import Entity
from medxz.merge.graph import graph_of
from medxz.merge.standing import Ground, Standing
from medxz.merge.walk import Walk, join, reading_of

KEPT_MAX: Final = 64
"""Ops that are kept one by one before those behind a single head are let go of."""


class _Base(msgspec.Struct, gc=False):
    """A Ground at rest."""

    head: str
    fields: dict[str, dict[str, msgspec.Raw]]
    retracts: dict[str, msgspec.Raw]


_ENCODER: Final = msgspec.json.Encoder(order="deterministic")
_DECODER: Final = msgspec.json.Decoder(_Base)


class Growing:
    """An entity that grows by one op at a time."""

    __slots__ = (
        "_behind",
        "_conflict",
        "_end",
        "_entity",
        "_heads",
        "_kept",
        "_missing",
        "_places",
        "_reading",
        "_size",
    )

    _kept: dict[str, Standing]
    _heads: dict[str, Standing]
    _missing: set[str]
    _end: Standing | None
    _conflict: tuple[str, tuple[str, ...]] | None

    def __init__(self, entity: Entity) -> None:
        self._entity = entity
        self._reading = reading_of(entity.entity_type)
        self._behind = False  # whether there are ops behind the first that is kept
        self._restart()

    @classmethod
    def of(cls, entity: Entity, changes: Iterable[Change]) -> Growing:
        """The entity of these ops, in whatever order."""
        growing = cls(entity)
        graph = graph_of(changes)
        if len(graph.changes) > KEPT_MAX and len(graph.heads) == 1 and not graph.missing:
            end = Walk(entity.entity_type, graph).finish()
            if not end.findings():
                growing._stand_upon(end.ground())
                return growing
        walk = Walk(entity.entity_type, graph, keep=True)
        walk.finish()
        for place, change in enumerate(graph.changes):
            growing._keep(change.op_id, walk.standing(place))
        growing._heads = {graph.changes[place].op_id: walk.standing(place) for place in graph.heads}
        growing._missing.update(graph.missing)
        growing._let_go()
        return growing

    @classmethod
    def from_base(cls, entity: Entity, base: bytes) -> Growing:
        """The entity whose `base` this was."""
        told = _DECODER.decode(base)
        growing = cls(entity)
        growing._stand_upon(
            Ground(
                told.head,
                {
                    op_id: {name: _value(raw) for name, raw in fields.items()}
                    for op_id, fields in told.fields.items()
                },
                {op_id: _value(raw) for op_id, raw in told.retracts.items()},
            )
        )
        return growing

    def add(self, change: Change) -> bool:
        """Take in one more op. False, and nothing is changed, where it reaches back behind what is kept."""
        if change.op_id in self._kept:
            return True
        if change.op_id in self._missing:
            return False
        parents = [parent for parent in change.parents if parent != change.op_id]
        unknown = [parent for parent in parents if parent not in self._kept]
        if unknown and self._behind:
            return False
        before = join(self._reading, [self._kept[parent] for parent in parents if parent in self._kept])
        self._missing.update(unknown)
        for parent in parents:
            self._heads.pop(parent, None)
        self._keep(change.op_id, before.followed_by(change, 1 << self._places))
        if len(self._kept) > KEPT_MAX:
            if self._settled():
                self._stand_upon(self._standing().ground())
            else:
                self._let_go()
        return True

    @property
    def conflict(self) -> tuple[str, tuple[str, ...]] | None:
        """The id and the fields of the open conflict, a `retract` before an `edit`; None where there is none."""
        if self._conflict is None:
            findings = self._standing().findings()
            if findings:
                self._conflict = self._entity.conflict_id(findings[0].op_ids), findings[0].fields
        return self._conflict

    @property
    def size(self) -> int:
        """About how many bytes this keeps in memory."""
        return self._size

    def base(self) -> bytes | None:
        """What stands, without the ops that made it; None while there are several heads or anything is open."""
        if not self._settled():
            return None
        ground = self._standing().ground()
        return _ENCODER.encode(
            _Base(
                ground.head,
                {
                    op_id: {name: _raw(value) for name, value in fields.items()}
                    for op_id, fields in ground.fields.items()
                },
                {op_id: _raw(reason) for op_id, reason in ground.retracts.items()},
            )
        )

    def _settled(self) -> bool:
        return len(self._heads) == 1 and not self._missing and not self._standing().findings()

    def _standing(self) -> Standing:
        if self._end is None:
            self._end = join(self._reading, list(self._heads.values()))
        return self._end

    def _restart(self) -> None:
        self._kept = {}
        self._heads = {}
        self._missing = set()
        self._places = 0
        self._size = 1_000
        self._end = self._conflict = None

    def _keep(self, op_id: str, standing: Standing) -> None:
        self._kept[op_id] = self._heads[op_id] = standing
        self._places = max(self._places, standing.closure.bit_length())
        self._size += standing.bytes_kept
        self._end = self._conflict = None

    def _let_go(self) -> None:
        """Keep the heads and the latest others, so that an old conflict does not keep a long entity in memory."""
        others = [op_id for op_id in self._kept if op_id not in self._heads]
        if len(others) > 2 * KEPT_MAX:
            self._behind = True
            for op_id in others[:-KEPT_MAX]:
                self._size -= self._kept.pop(op_id).bytes_kept

    def _stand_upon(self, ground: Ground) -> None:
        """Let go of all that is behind the head."""
        self._restart()
        self._behind = True
        self._keep(ground.head, self._reading.upon(ground))


def _raw(value: bytes | None) -> msgspec.Raw:
    return msgspec.Raw(b"null" if value is None else value)


def _value(raw: msgspec.Raw) -> bytes | None:
    value = bytes(raw)
    return None if value == b"null" else value
