"""Conflicts found where ops are stored: inside the writer's transaction, op by op in the order of their arrival.

An op that is alone in its entity conflicts with nothing: of a push, only the entities that have ops already, or that
are met twice, take any work here. What is known of an entity that was touched lately is kept; of a long one a base
lies in the store, so that nothing before it is read. A row that cannot be read counts as absent: pushes go on.

No database here: `conflicts` is a generator that asks for what has to be read, and is sent it by whoever writes.
What is kept is ahead of the store while a transaction is open: whoever undoes that has to `forget`.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Generator, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeAlias, TypeVar, cast

from medxz import limits
from medxz.merge.change import Change, change_of
from medxz.merge.entity import Entity
from medxz.merge.growing import Growing
from medxz.op import Operation
from medxz.store.base import Conflicting

Key = TypeVar("Key", bound=Hashable)
"""What a store finds the ops of an entity under: its id, or something shorter that few have in common."""

# A push may give an entity's ops children first, so that each has all built anew. Behind so many steps the rest of
# them is taken at once, and each is told what the entity has come to: the answer goes out when all are stored.
_WALKED_OPS_MAX: Final = 20_000


@dataclass(frozen=True, slots=True)
class Present(Generic[Key]):
    """Asks which of these keys there are ops under: answered by a set of them."""

    keys: Sequence[Key]


@dataclass(frozen=True, slots=True)
class Latest:
    """Asks for what these entities have: the base of each, where there is one, and its changes behind that."""

    entities: Sequence[Entity]


@dataclass(frozen=True, slots=True)
class Whole:
    """Asks for all changes of an entity in the order of the log."""

    entity: Entity


@dataclass(slots=True)
class Loaded:
    """What lies in the store of an entity."""

    base: bytes | None = None
    changes: list[Change] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Base:
    """What an entity has come to with all its ops through a seq: to be written with the transaction."""

    entity: Entity
    seq: int
    base: bytes


@dataclass(slots=True)
class Conflicts(Generic[Key]):
    """By seq, the new ops after which their entity has an open conflict; and what else is to be written."""

    found: dict[int, Conflicting] = field(default_factory=dict)
    bases: list[Base] = field(default_factory=list)
    shared: list[Key] = field(default_factory=list)
    """Keys under which there is another entity now."""


Asking: TypeAlias = Generator[Present[Key] | Latest | Whole, object, Conflicts[Key]]


@dataclass(slots=True)
class _Known:
    """An entity as the next op needs it, and how many ops lie behind its base, or make it up."""

    growing: Growing
    ops: int
    size: int = 0
    conflict: tuple[str, tuple[str, ...]] | None = None


class Touched(Generic[Key]):
    """The entities that pushes touched lately, bounded by bytes."""

    def __init__(self) -> None:
        self._known: OrderedDict[Entity, _Known] = OrderedDict()
        self._bytes = 0
        # the last op of a patient, or before or after which its entity had an open conflict
        self.contended_seq = 0

    def takes(self, op: Operation) -> bool | None:
        """Whether an op can be added to its entity without reading others; None where the entity is not known."""
        known = self._known.get(_entity_of(op)) if self._known else None
        return None if known is None else known.growing.takes(op.op_id, op.parents)

    def drop(self, entity: Entity) -> None:
        """Somebody else has added to this entity."""
        known = self._known.pop(entity, None)
        if known is not None:
            self._bytes -= known.size

    def forget(self) -> None:
        """The transaction was undone: what was added in it is not so."""
        self._known.clear()
        self._bytes = 0

    def remember(self, first_seq: int, ops: Sequence[Operation]) -> None:
        """These are durable."""
        for seq, op in enumerate(ops, first_seq):
            if op.entity_type == "Patient":  # another may be found to be the same person, or no longer
                self.contended_seq = seq

    def conflicts(self, first_seq: int, ops: Sequence[Operation], keys: Sequence[Key]) -> Asking[Key]:
        """What these new ops come to; `keys` are theirs."""
        conflicts = Conflicts[Key]()
        each = list(dict.fromkeys(keys))
        here: set[Key] = yield Present(each)  # type: ignore[assignment]  # a generator has one type for all answers
        touched = here
        if len(each) < len(keys):
            touched = here | {key for key, times in Counter(keys).items() if times > 1}
        if not touched:
            return conflicts
        own: dict[Entity, list[tuple[int, Operation]]] = {}
        key_of: dict[Entity, Key] = {}
        for seq, (key, op) in enumerate(zip(keys, ops, strict=True), first_seq):
            if key in touched:
                entity = _entity_of(op)
                key_of[entity] = key
                own.setdefault(entity, []).append((seq, op))
        unknown = [entity for entity in own if entity not in self._known]
        new = yield from self._load(unknown, [entity for entity in unknown if key_of[entity] in here])
        times = Counter(key_of.values())
        conflicts.shared = sorted(  # rarely any
            {key_of[entity] for entity in new if key_of[entity] in here or times[key_of[entity]] > 1}
        )  # type: ignore[type-var]  # keys are numbers or texts
        for entity, its in own.items():
            yield from self._add_all(entity, its, conflicts)
        self._keep(own)
        return conflicts

    # What is stored.

    def _load(
        self, entities: Sequence[Entity], stored: Sequence[Entity]
    ) -> Generator[Latest | Whole, object, list[Entity]]:
        """Learn what these entities have; of those that are not stored, nothing is asked. Those that have nothing yet."""
        found = cast(dict[Entity, Loaded], (yield Latest(stored)) if stored else {})
        new = []
        for entity in entities:
            loaded = found.get(entity)
            if loaded is None or (loaded.base is None and not loaded.changes):
                new.append(entity)
                loaded = Loaded()
            growing = Growing(entity) if loaded.base is None else Growing.from_base(entity, loaded.base)
            changes = loaded.changes
            if not all(map(growing.add, changes)):
                if loaded.base is not None:
                    changes = cast(list[Change], (yield Whole(entity)))
                growing = Growing.of(entity, changes)
            self._known[entity] = _Known(growing, len(loaded.changes), conflict=growing.conflict)
        return new

    # What is new.

    def _add_all(
        self, entity: Entity, ops: Sequence[tuple[int, Operation]], conflicts: Conflicts[Key]
    ) -> Generator[Whole, object, None]:
        known = self._known[entity]
        changes = [change_of(op) for _, op in ops]
        stored: list[Change] | None = None
        taken = walked = 0
        for place, (seq, _) in enumerate(ops):
            before = known.conflict
            if place >= taken and not known.growing.add(changes[place]):
                if stored is None:  # once for all that this push has of the entity
                    stored = cast(list[Change], (yield Whole(entity)))
                named = (parent for change in changes[place + 1 :] for parent in change.parents)
                walked += len(stored) + place
                taken = place + 1 if walked <= _WALKED_OPS_MAX else len(ops)
                known.growing = Growing.whole(entity, [*stored, *changes[:taken]], named)
                known.ops = len(stored) + place
            known.ops += 1
            conflict = known.conflict = known.growing.conflict
            if conflict is not None or before is not None:
                self.contended_seq = max(self.contended_seq, seq)
            if conflict is not None:
                conflicts.found[seq] = Conflicting(*conflict)
        known.growing.settle()
        if known.ops >= limits.ENTITY_BASE_OPS and (base := known.growing.base()) is not None:
            # everything has come together: what was before is not needed for what follows
            known.ops = 0
            conflicts.bases.append(Base(entity, ops[-1][0], base))

    def _keep(self, entities: Iterable[Entity]) -> None:
        """Keep these as the newest; the oldest give way."""
        for entity in entities:
            known = self._known[entity]
            self._known.move_to_end(entity)
            self._bytes += known.growing.size - known.size
            known.size = known.growing.size
        while self._bytes > limits.ENTITIES_KNOWN_BYTES_MAX and len(self._known) > 1:
            _, gone = self._known.popitem(last=False)
            self._bytes -= gone.size


def _entity_of(op: Operation) -> Entity:
    return Entity(op.clinic_id, op.entity_type, op.entity_id)
