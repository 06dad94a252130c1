"""Some ops of a log on their way into the views: which entities they touch, and what those look like then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Self

from medxz.merge.change import Change, change_of
from medxz.merge.entity import Entity
from medxz.merge.view import resolved_of, view_of
from medxz.store.record import stored_op
from medxz.store.views.file import ViewsLost

if TYPE_CHECKING:
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
        self.to_load: list[Entity] = []
        self._changes: dict[Entity, list[Change]] = {}
        self._loaded: dict[Entity, Sequence[bytes]] = {}
        for op in decoded:
            entity = Entity(op.clinic_id, op.entity_type, op.entity_id)
            self._changes.setdefault(entity, []).append(change_of(op))

    def look_up(self, views: Views) -> Self:
        """Find out which entities had ops before."""
        self.to_load = [entity for entity in self._changes if views.holds(entity)]
        return self

    def loaded(self, entity: Entity, ops: Sequence[bytes]) -> None:
        """All ops of an entity, through the last of the batch."""
        del self._changes[entity]
        self._loaded[entity] = ops

    def put_loaded(self, views: Views, after: int) -> None:
        """Put in what was loaded so far, and let go of it; the views do not say yet that they hold the batch."""
        _is_at(views, after)
        _put(views, self._take_loaded())

    def put_all(self, views: Views, after: int) -> None:
        _is_at(views, after)
        _put(views, self._changes | self._take_loaded(), self.last_seq, self.last_op)

    def _take_loaded(self) -> dict[Entity, list[Change]]:
        taken = {entity: [change_of(stored_op(op)) for op in ops] for entity, ops in self._loaded.items()}
        self._loaded = {}
        return taken


def pass_by(views: Views, after: int, through: int) -> None:
    """Go on behind ops that can't be read."""
    _is_at(views, after)
    views.put((), through)


def _put(
    views: Views,
    changes: dict[Entity, list[Change]],
    through: int | None = None,
    last_op: str | None = None,
) -> None:
    made = [view_of(entity, own) for entity, own in changes.items()]
    resolved = {entity: resolved_of(entity, own) for entity, own in changes.items() if _may_have_joined(own)}
    views.put(made, through, resolved, last_op)


def _may_have_joined(changes: Sequence[Change]) -> bool:
    """Whether an op may have ended a conflict: never in a chain, where each op follows the one before."""
    if len(changes) < _RESOLVED_OPS_MIN:
        return False
    named = [parent for change in changes for parent in change.parents]
    return len(set(named)) < len(named) or any(len(change.parents) > 1 for change in changes)


def _is_at(views: Views, seq: int) -> None:
    if views.through != seq:
        raise ViewsLost("views.db was made anew")
