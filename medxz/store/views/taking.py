"""Some ops of a log on their way into the views: which entities they touch, and what those look like then."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from medxz.merge.change import Change, change_of, raw_members
from medxz.merge.entity import Entity
from medxz.merge.view import resolved_of, view_of
from medxz.store.record import stored_op
from medxz.store.views.file import ViewsLost, is_of_the_file
from medxz.store.views.filling import Taken, taken_of, taken_of_one
from medxz.store.views.patients import PATIENT

if TYPE_CHECKING:
    from medxz.op import Operation
    from medxz.store.views.entities import Held
    from medxz.store.views.views import Views

_RESOLVED_OPS_MIN: Final = 3  # two that do not agree, and one that joins them


class Batch:
    """Ops that stand side by side in a log. An entity that had ops before them is loaded whole.

    Nothing is put into views that do not end where the batch begins: they would say that they hold what they do not.
    """

    def __init__(self, ops: Sequence[bytes]) -> None:
        decoded = [stored_op(op) for op in ops]
        self.last_seq = decoded[-1].server_seq or 0
        self.last_op = decoded[-1].op_id
        self.to_load: Sequence[Entity] = ()
        self._held: Mapping[Entity, Held] = {}
        self._new: dict[Entity, list[Operation]] = {}
        self._loaded: dict[Entity, list[Operation]] = {}
        for op in decoded:
            self._new.setdefault(Entity(op.clinic_id, op.entity_type, op.entity_id), []).append(op)

    def look_up(self, views: Views) -> Self:
        """Find out which entities had ops before."""
        self._held = views.held_among(list(self._new))
        self.to_load = list(dict.fromkeys([*self._held, *views.left_out_among(list(self._new))]))
        return self

    def loaded(self, entity: Entity, ops: Sequence[bytes]) -> None:
        """All ops of an entity, through the last of the batch."""
        del self._new[entity]
        self._loaded[entity] = [stored_op(op) for op in ops]

    def put_loaded(self, views: Views, after: int) -> None:
        """Put in what was loaded so far, and let go of it; the views do not say yet that they hold the batch."""
        _is_at(views, after)
        views.take([_taken(entity, ops) for entity, ops in self._loaded.items()], self._held)
        self._loaded = {}

    def put_all(self, views: Views, after: int) -> None:
        _is_at(views, after)
        every = self._new | self._loaded
        taken = [_taken(entity, ops) for entity, ops in every.items()]
        views.take(taken, self._held, self.last_seq, self.last_op)

    @property
    def entities(self) -> Sequence[Entity]:
        return [*self._new, *self._loaded]

    def end(self, views: Views, after: int) -> None:
        """Say that the batch is in, whose entities were put in alone."""
        _is_at(views, after)
        views.take((), {}, self.last_seq, self.last_op)


def put_alone(views: Views, after: int, entity: Entity, ops: Sequence[bytes]) -> str | None:
    """Put one entity in, from all its ops; where that can't be done leave it out, and say what went wrong."""
    _is_at(views, after)
    try:
        taken = _taken(entity, [stored_op(op) for op in ops])
        views.take([taken], views.held_among([entity]))
    except Exception as error:  # whatever it is: one entity must not keep all others out
        if is_of_the_file(error):
            raise
        views.leave_out(entity)
        return where_of(error)
    return None


def where_of(error: Exception) -> str:
    """Which error, and where: never what it says, there may be a patient's data in it."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"


def pass_by(views: Views, after: int, through: int) -> None:
    """Go on behind ops that can't be read."""
    _is_at(views, after)
    views.put((), through)


def _taken(entity: Entity, ops: Sequence[Operation]) -> Taken:
    if len(ops) == 1 and entity.entity_type != PATIENT:  # most entities are one op: nothing there to merge
        [op] = ops
        return taken_of_one(entity, raw_members(op.payload), is_retracted=op.op_type == "retract")
    changes = [change_of(op) for op in ops]
    return taken_of(
        view_of(entity, changes), resolved_of(entity, changes) if _may_have_joined(changes) else ()
    )


def _may_have_joined(changes: Sequence[Change]) -> bool:
    """Whether an op may have ended a conflict: never in a chain, where each op follows the one before."""
    if len(changes) < _RESOLVED_OPS_MIN:
        return False
    named = [parent for change in changes for parent in change.parents]
    return len(set(named)) < len(named) or any(len(change.parents) > 1 for change in changes)


def _is_at(views: Views, seq: int) -> None:
    if views.through != seq:
        raise ViewsLost("views.db was made anew")
