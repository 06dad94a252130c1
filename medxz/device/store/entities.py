"""What the device's ops amount to: an entity, its history, its conflicts, and who is found by what.

An entity is always worked out of all that is known of it. Lists and searches go by the views, which follow behind:
`refresh` takes in what changed, a little at a time, and whoever asks for a list calls it first. A store that was opened
to be read answers by the views as its writer left them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final, Literal, TypeAlias

from medxz import limits
from medxz.clock import Clock
from medxz.device.store import recording
from medxz.device.store.changes import Key, changes_of, entity_of
from medxz.device.store.drafts import Draft
from medxz.device.store.file import Connection, StoreFile
from medxz.device.store.identity import read_identity
from medxz.device.store.resolving import Decision, settle
from medxz.errors import StoreError
from medxz.merge.change import Change
from medxz.merge.entity import Entity
from medxz.merge.view import Resolved, View, resolved_of, view_of
from medxz.op import Operation
from medxz.store.views import Asked, ConflictState, Found, HeldConflict, Portion, Views, prepare

REFRESHED_AT_ONCE: Final = 500

Which: TypeAlias = Literal["all", "loud"] | frozenset[str]
"""What is to be taken in: all, what can be part of a conflict, or the entities of some types."""

MakeDraft = Callable[[Entity, str, tuple[str, ...], bytes], Draft]
"""A draft of this op type, with these parents and this payload; OpInvalid where the payload is not lawful."""


class Entities:
    """The entities of a store. Each method is one transaction, or reads."""

    def __init__(self, file: StoreFile, clock: Clock) -> None:
        self._file = file
        self._clock = clock

    def prepare(self) -> None:
        """Make the views; where they were another version's, or held what had to go, they are filled anew."""
        with self._file.transaction() as connection:
            if prepare(connection):
                connection.execute(
                    "INSERT OR REPLACE INTO stale SELECT entity_id, entity_type, 0 FROM"
                    " (SELECT entity_id, entity_type FROM op UNION SELECT entity_id, entity_type FROM entity_line)"
                )

    # ---------------------------------------------------------------------------------------- one of them

    def get(self, entity_type: str, entity_id: str) -> View | None:
        """The entity as it stands; None where nothing is known of it."""
        with self._file.reading() as connection:
            return _view(connection, _entity(connection, entity_type, entity_id))

    def changes(self, entity_type: str, entity_id: str) -> tuple[Entity, list[Change]]:
        """All that is known of an entity's ops: what its history is worked out of."""
        with self._file.reading() as connection:
            entity = _entity(connection, entity_type, entity_id)
            return entity, changes_of(connection, entity)

    def resolve(self, about: str | tuple[str, str], decision: Decision, draft: MakeDraft) -> list[Operation]:
        """Record what was decided: a resolve of all heads, and a retract after it where a retracted side was taken.

        `about` is a conflict's id, or the type and id of an entity whose heads are to be joined.
        """
        now_ms = self._clock.now_ms()
        conflict_id = about if isinstance(about, str) else None
        with self._file.transaction() as connection:
            held = _entity(
                connection, *(_entity_in_conflict(connection, about) if isinstance(about, str) else about)
            )
            view = _view(connection, held)
            if view is None:
                raise StoreError(f"there is no {held.entity_type}/{held.entity_id} here")
            settled = settle(view, conflict_id, decision)
            parents = view.heads[: limits.PARENTS_MAX]
            resolved = recording.write(connection, draft(held, "resolve", parents, settled.resolve), now_ms)
            if settled.retract is None:
                return [resolved]
            after = draft(held, "retract", (resolved.op_id,), settled.retract)
            return [resolved, recording.write(connection, after, now_ms)]

    # ---------------------------------------------------------------------------------------------- lists

    def refresh(self, which: Which) -> bool:
        """Let the views take in some of what changed; whether there is more of it."""
        with self._file.reading() as connection:
            if not _stale(connection, which, 1):
                return False
        with self._file.transaction() as connection:
            keys = _stale(connection, which, REFRESHED_AT_ONCE)
            clinic_id = read_identity(connection).clinic_id
            views: list[View] = []
            resolved: dict[Entity, Sequence[Resolved]] = {}
            for key in keys:
                entity = entity_of(clinic_id, key)
                changes = changes_of(connection, entity)
                views.append(view_of(entity, changes))  # of none, where all of it had to go
                if len(changes) > 1:
                    resolved[entity] = resolved_of(entity, changes)
            Views(connection).put(views, resolved=resolved)
            connection.executemany("DELETE FROM stale WHERE entity_id = ? AND entity_type = ?", keys)
            return len(keys) == REFRESHED_AT_ONCE

    def listed(self, entity_type: str, after: str | None, limit: int) -> Portion[View]:
        """Entities of a type, by their ids."""
        with self._file.reading() as connection:
            return _views(connection, Views(connection).entities(entity_type, after, limit))

    def of_patient(self, asked: Asked, after: str | None, limit: int) -> Portion[View]:
        """What is of a patient, newest first."""
        with self._file.reading() as connection:
            return _views(connection, Views(connection).of_patient(asked, after, limit))

    def patients(self, text: str, after: str | None, limit: int) -> Portion[View]:
        """Patients by a piece of a name, a birth date, an identifier or a phone number."""
        with self._file.reading() as connection:
            return _views(connection, Views(connection).patients(text, after, limit))

    def conflicts(
        self, state: ConflictState, types: Collection[str] | None, after: str | None, limit: int
    ) -> Portion[HeldConflict]:
        """Those of these types; None: of all."""
        with self._file.reading() as connection:
            return Views(connection).conflicts(state, types, after, limit)

    def conflict(self, conflict_id: str) -> HeldConflict | None:
        with self._file.reading() as connection:
            return Views(connection).conflict(conflict_id)

    def count_open(self, types: Collection[str] | None) -> int:
        """How many conflicts of these types are open, as far as the views have come."""
        with self._file.reading() as connection:
            return Views(connection).count_open(types)


def _entity(connection: Connection, entity_type: str, entity_id: str) -> Entity:
    return Entity(read_identity(connection).clinic_id, entity_type, entity_id)


def _view(connection: Connection, entity: Entity) -> View | None:
    changes = changes_of(connection, entity)
    return view_of(entity, changes) if changes else None


def _views(connection: Connection, found: Portion[Found]) -> Portion[View]:
    clinic_id = read_identity(connection).clinic_id
    views = [_view(connection, Entity(clinic_id, row.entity_type, row.entity_id)) for row in found.rows]
    return Portion([view for view in views if view is not None], found.after)


def _stale(connection: Connection, which: Which, limit: int) -> list[Key]:
    values: list[str] = []
    if which == "all":
        where = "1"
    elif which == "loud":
        where = "quiet = 0"
    else:
        where, values = f"entity_type IN ({', '.join('?' * len(which))})", sorted(which)
    rows: list[Key] = connection.execute(
        f"SELECT entity_id, entity_type FROM stale WHERE {where} LIMIT ?",  # noqa: S608
        (*values, limit),
    ).fetchall()
    return rows


def _entity_in_conflict(connection: Connection, conflict_id: str) -> tuple[str, str]:
    held = Views(connection).conflict(conflict_id)
    if held is None:
        raise StoreError(f"there is no conflict {conflict_id} here")
    if held.kind == "duplicate":
        told = StoreError(f"{conflict_id} is no conflict of values: two patients may be one person")
        told.hint = "if they are one, link them: update each with `link`"
        raise told
    return held.entity_type, held.entity_id
