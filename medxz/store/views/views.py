"""What is derived from ops and can be derived again: which entities there are, their conflicts, who is found by what.

Filled from the same pure code on every server and device, so that all of them answer alike. It keeps no states: who
lists entities works each out from its ops. Nothing here is ever the only place where something is written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlcipher3 import dbapi2 as sqlcipher

from medxz.ids import uuid_bytes, uuid_text
from medxz.store.views import conflicts, dated, entities, filling, left_out, patients
from medxz.store.views.dated import Asked
from medxz.store.views.rows import ConflictState, Found, HeldConflict, Portion

if TYPE_CHECKING:
    from medxz.merge.entity import Entity
    from medxz.merge.view import Resolved, View
    from medxz.store.views.entities import Held
    from medxz.store.views.filling import Taken

_NOBODY: Mapping[Entity, Sequence[Resolved]] = {}


class Views:
    """The derived tables of a connection on which `prepare` has been called. It blocks.

    Wherever `types` is asked for, None means all of them. `after` is what the portion before said.
    """

    def __init__(self, connection: sqlcipher.Connection) -> None:
        self._connection = connection

    # Filling.

    @property
    def through(self) -> int:
        """The place up to which the ops are taken in, by the reckoning of whoever fills this."""
        [(through,)] = self._connection.execute("SELECT through FROM view_about").fetchall()
        return int(through)

    def put(
        self,
        views: Sequence[View],
        through: int | None = None,
        resolved: Mapping[Entity, Sequence[Resolved]] = _NOBODY,
        last_op: str | None = None,
    ) -> None:
        """Replace all that is held of these entities, and move `through`; in one transaction, or in the one that is on.

        `last_op`: which op is at that place, for who must know that the log is still the same.
        The tables are the same whatever came before and in whichever order. Of an entity that is given twice the
        last view counts; one whose view is of no ops is here no more.
        """
        latest = {view.entity: view for view in views}
        taken = [filling.taken_of(view, resolved.get(entity, ())) for entity, view in latest.items()]
        self.take(taken, self.held_among(list(latest)), through, last_op)

    def take(
        self,
        taken: Sequence[Taken],
        held: Mapping[Entity, Held],
        through: int | None = None,
        last_op: str | None = None,
    ) -> None:
        """The same of what each entity leaves in the tables. Each is given once; `held`: what is held of them now."""
        with self._writing() as connection:
            filling.put(connection, taken, held)
            left_out.forget(connection, [one.entity for one in taken])
            if through is not None:
                raw = uuid_bytes(last_op) if last_op is not None else None
                connection.execute("UPDATE view_about SET through = ?, last_op = ?", (through, raw))

    @property
    def last_op(self) -> str | None:
        """Which op is at `through`, where that was said."""
        [(raw,)] = self._connection.execute("SELECT last_op FROM view_about").fetchall()
        return uuid_text(raw) if raw is not None else None

    def held_among(self, asked: Sequence[Entity]) -> Mapping[Entity, Held]:
        """The rows of those of these entities that are here."""
        return entities.held(self._connection, entities.kinds_of(self._connection), asked)

    def left_out_among(self, asked: Sequence[Entity]) -> Sequence[Entity]:
        """Those of these entities that could not be taken in: they had ops before, here or not."""
        return left_out.among(self._connection, asked)

    def leave_out(self, entity: Entity) -> None:
        """It could not be taken in: what is held of it stays as it was."""
        left_out.put(self._connection, entity)

    def count_left_out(self) -> int:
        return left_out.count(self._connection)

    # Reading.

    def entities(self, entity_type: str, after: str | None, limit: int) -> Portion[Found]:
        """Those of a type by their ids, retracted ones too."""
        return entities.listed(self._connection, entity_type, after, limit)

    def count_entities(self, types: Collection[str] | None = None) -> int:
        return entities.count(self._connection, types)

    def conflicts(
        self, state: ConflictState, types: Collection[str] | None, after: str | None, limit: int
    ) -> Portion[HeldConflict]:
        """Conflicts and duplicates by their ids."""
        return conflicts.listed(self._connection, state, types, after, limit)

    def conflict(self, conflict_id: str) -> HeldConflict | None:
        return conflicts.one(self._connection, uuid_bytes(conflict_id))

    def patients(self, text: str, after: str | None, limit: int) -> Portion[Found]:
        """Whom a text fits, each of its words: name, identifier or birth date, or their beginnings, or a phone's end.

        First who has just these words, then the others, each by name; retracted patients come last. Any text will do.
        """
        return patients.found(self._connection, text, after, limit)

    def of_patient(self, asked: Asked, after: str | None, limit: int) -> Portion[Found]:
        """What is of a patient, newest first, then what has no date; between dates only what has one."""
        return dated.listed(self._connection, entities.kinds_of(self._connection), asked, after, limit)

    def count_open(self, types: Collection[str] | None = None) -> int:
        return conflicts.count_open(self._connection, types)

    @contextmanager
    def _writing(self) -> Iterator[sqlcipher.Connection]:
        self._connection.execute("SAVEPOINT view_put")
        try:
            yield self._connection
        except BaseException:
            self._connection.execute("ROLLBACK TO view_put")
            self._connection.execute("RELEASE view_put")
            raise
        self._connection.execute("RELEASE view_put")
