"""An entity to which ops are added one by one as they arrive: what a push asks is whether it is in conflict now.

What stands after each op is kept, so that one more op costs one step (heads.py). Where there is one head and no
conflict, all that is behind that head can be let go of for its `base`: a long entity then takes an update without its
old ops being read. While something is open, the heads and the latest others are kept.

An op that reaches back behind what is kept is not taken, nor a parent that others have waited for: the entity is then
built from all its ops. `whole` does that once for all that a push holds, for it is told which ops are named there.
Which ops are here already the caller knows: one that is behind what is kept must not come again.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

import msgspec

from medxz.merge.change import Change
from medxz.merge.entity import Entity
from medxz.merge.graph import Graph, graph_of
from medxz.merge.heads import Heads, heads_of
from medxz.merge.standing import Finding, Ground, Standing
from medxz.merge.walk import Walk, join, reading_of

KEPT_MAX: Final = 64
"""Ops that are kept one by one before those behind a single head are let go of."""

MISSING_MAX: Final = 1_000
"""Parents that are not here and that a base tells of. Only a broken device names more: there is no base then."""
POINTS_BYTES_MAX: Final = 32 * 1024 * 1024
"""Of the ops that a push names, those behind which what stands is kept while it lasts, at once: about this much."""
POINTS_MIN: Final = 512


class _Base(msgspec.Struct, gc=False):
    """A Ground at rest."""

    head: str
    fields: dict[str, dict[str, msgspec.Raw]]
    retracts: dict[str, msgspec.Raw]
    missing: tuple[str, ...] = ()


_ENCODER: Final = msgspec.json.Encoder(order="deterministic")
_DECODER: Final = msgspec.json.Decoder(_Base)


class Growing:
    """An entity that grows by one op at a time."""

    __slots__ = (
        "_behind",
        "_beside",
        "_conflict",
        "_entity",
        "_heads",
        "_here",
        "_kept",
        "_missing",
        "_others",
        "_places",
        "_reading",
        "_size",
    )

    _kept: dict[str, Standing]
    _heads: dict[str, Standing]
    _others: dict[str, None]  # those that are kept and no heads
    _missing: set[str]
    _beside: Heads[Standing] | None  # the heads, where they are several and somebody asked
    _conflict: tuple[str, tuple[str, ...]] | None

    def __init__(self, entity: Entity) -> None:
        self._entity = entity
        self._reading = reading_of(entity.entity_type)
        self._behind = False  # whether there are ops behind the first that is kept
        self._here: set[str] | None = None  # all that are here, while a push lasts
        self._restart()

    @classmethod
    def of(cls, entity: Entity, changes: Iterable[Change]) -> Growing:
        """The entity of these ops, in whatever order."""
        growing = cls.whole(entity, changes, ())
        growing.settle()
        return growing

    @classmethod
    def whole(cls, entity: Entity, changes: Iterable[Change], named: Iterable[str]) -> Growing:
        """The entity of these ops, to which others are added that name those: none of it is let go of till `settle`.

        Where more are named than are kept at once, the first are: `add` tells when the next are due.
        """
        growing = cls(entity)
        graph = graph_of(changes)
        walk = Walk(entity.entity_type, graph, keep=_points(graph, named))
        walk.finish()
        for place, standing in walk.kept():
            growing._keep(graph.changes[place].op_id, standing)
        growing._behind = len(growing._kept) < len(graph.changes)
        growing._places = len(graph.changes)
        growing._heads = {graph.changes[place].op_id: walk.standing(place) for place in graph.heads}
        growing._others = {op_id: None for op_id in growing._kept if op_id not in growing._heads}
        growing._missing.update(graph.missing)
        growing._here = {change.op_id for change in graph.changes}
        return growing

    def settle(self) -> None:
        """What was built as a whole goes on as any other."""
        if self._here is not None:
            self._here = None
            self._let_go()

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
        growing._missing.update(told.missing)
        return growing

    def add(self, change: Change) -> bool:
        """Take in one more op. False, and nothing is changed, where it reaches back behind what is kept."""
        if change.op_id in self._kept:
            return True
        if change.op_id in self._missing:
            return False
        parents = [parent for parent in change.parents if parent != change.op_id]
        unknown = [parent for parent in parents if parent not in self._kept]
        if any(self._may_be_here(parent) for parent in unknown):
            return False
        before = join(self._reading, [self._kept[parent] for parent in parents if parent in self._kept])
        after = before.followed_by(change, 1 << self._places)
        self._missing.update(unknown)
        for parent in parents:
            if self._heads.pop(parent, None) is not None:
                self._others[parent] = None
        self._keep(change.op_id, after)
        if len(self._heads) == 1:
            self._beside = None
        elif self._beside is not None:
            self._beside.add(change.op_id, after, parents)
        if self._here is None:
            self._let_go()
        return True

    def takes(self, op_id: str, parents: Iterable[str]) -> bool:
        """Whether `add` takes an op upon these parents."""
        return op_id in self._kept or (
            op_id not in self._missing
            and not any(self._may_be_here(parent) for parent in parents if parent not in self._kept)
        )

    def _may_be_here(self, op_id: str) -> bool:
        """Whether this, which is not kept, may be behind what is."""
        if self._here is not None:
            return op_id in self._here
        return self._behind and op_id not in self._missing

    @property
    def conflict(self) -> tuple[str, tuple[str, ...]] | None:
        """The id and the fields of the open conflict, a `retract` before an `edit`; None where there is none."""
        if self._conflict is None:
            finding = self._finding()
            if finding is not None:
                self._conflict = self._entity.conflict_id(finding.op_ids), finding.fields
        return self._conflict

    @property
    def size(self) -> int:
        """About how many bytes this keeps in memory."""
        return self._size

    def base(self) -> bytes | None:
        """What stands, without the ops that made it; None while there are several heads or anything is open.

        It tells of the parents that are not here: an op that was refused never comes, and its children stand.
        """
        if not self._settled():
            return None
        ground = self._head().ground()
        return _ENCODER.encode(
            _Base(
                ground.head,
                {
                    op_id: {name: _raw(value) for name, value in fields.items()}
                    for op_id, fields in ground.fields.items()
                },
                {op_id: _raw(reason) for op_id, reason in ground.retracts.items()},
                tuple(sorted(self._missing)),
            )
        )

    def _settled(self) -> bool:
        return len(self._heads) == 1 and len(self._missing) <= MISSING_MAX and not self._head().findings()

    def _head(self) -> Standing:
        [head] = self._heads.values()
        return head

    def _finding(self) -> Finding | None:
        if len(self._heads) > 1:
            if self._beside is None:
                self._beside = heads_of(self._heads)
            return self._beside.finding()
        return next(iter(self._head().findings()), None) if self._heads else None

    def _restart(self) -> None:
        self._kept = {}
        self._heads = {}
        self._others = {}
        self._missing = set()
        self._places = 0
        self._size = 1_000
        self._beside = self._conflict = None

    def _keep(self, op_id: str, standing: Standing) -> None:
        self._kept[op_id] = self._heads[op_id] = standing
        self._places = max(self._places, standing.closure.bit_length())
        self._size += standing.bytes_kept
        self._conflict = None

    def _let_go(self) -> None:
        """Keep the heads and the latest others, so that an old conflict does not keep a long entity in memory."""
        if len(self._kept) > KEPT_MAX and self._settled():
            self._stand_upon(self._head().ground())
        elif len(self._others) > 2 * KEPT_MAX:
            self._behind = True
            for op_id in list(islice(self._others, len(self._others) - KEPT_MAX)):
                del self._others[op_id]
                self._size -= self._kept.pop(op_id).bytes_kept

    def _stand_upon(self, ground: Ground) -> None:
        """Let go of all that is behind the head."""
        missing = self._missing
        self._restart()
        self._behind = True
        self._missing = missing
        self._keep(ground.head, self._reading.upon(ground))


def _points(graph: Graph, named: Iterable[str]) -> set[int]:
    """The places behind which what stands is kept: of the latest ops, and of those that are named."""
    count = len(graph.changes)
    place_of = {change.op_id: place for place, change in enumerate(graph.changes)}
    most = max(POINTS_MIN, POINTS_BYTES_MAX // (2_000 + count // 8))
    places = dict.fromkeys(place_of[op_id] for op_id in named if op_id in place_of)
    latest = count if count <= 2 * KEPT_MAX else KEPT_MAX
    return {*islice(places, most), *range(count - latest, count)}


def _raw(value: bytes | None) -> msgspec.Raw:
    return msgspec.Raw(b"null" if value is None else value)


def _value(raw: msgspec.Raw) -> bytes | None:
    value = bytes(raw)
    return None if value == b"null" else value
