"""What people and programs do all day: record, correct, decide, come into step, read, push, let go of what is safe."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medxz.policy import policy_of
from tests.simulation.parties.foreign import Pusher, Reader
from tests.simulation.steps import content
from tests.simulation.steps.step import Step

if TYPE_CHECKING:
    from medxz.device.device import Recorded
    from medxz.op import Operation
    from tests.simulation.parties.device import TabletParty
    from tests.simulation.world import World

_SECOND_CREATE_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Create(Step):
    """A new entity; now and then a second create of one that is there."""

    who: int

    async def do(self, world: World) -> str | None:
        tablet, chance = await world.tablet_at_work(self.who, self.salt), self.chance()
        if tablet is None:
            return None
        entity_type, again = chance.choice(content.TYPES), None
        if (known := world.entities(tablet, entity_type)) and chance.random() < _SECOND_CREATE_SHARE:
            again = chance.choice(known)[1]
        made = await world.wrote(
            tablet,
            tablet.record(entity_type, content.whole(entity_type, chance, tablet.clinic_id), entity_id=again),
        )
        return made and f"{tablet.name} creates {entity_type} {made}"


@dataclass(frozen=True, slots=True)
class Edit(Step):
    """An update, or an amend, of an entity that the tablet knows."""

    who: int

    async def do(self, world: World) -> str | None:
        tablet, chance = await world.tablet_at_work(self.who, self.salt), self.chance()
        entity = await _known_to(world, tablet, chance) if tablet is not None else None
        if tablet is None or entity is None:
            return None
        made = await _edited(world, tablet, entity, chance)
        return made and f"{tablet.name} edits {entity[0]} as {made}"


@dataclass(frozen=True, slots=True)
class EditTogether(Step):
    """Several tablets edit the same entity before any of them hears of the others."""

    who: int

    async def do(self, world: World) -> str | None:
        tablet, chance = await world.tablet_at_work(self.who, self.salt), self.chance()
        entity = await _known_to(world, tablet, chance) if tablet is not None else None
        clinic = world.resident(tablet).clinic if tablet is not None else None
        if clinic is None or entity is None:
            return None
        able = [
            other
            for other in clinic.tablets
            if other.is_up and not other.device._store.locks.person().is_locked
        ]
        edits = [_edited(world, other, entity, random.Random(chance.getrandbits(32))) for other in able]
        made = [op_id for op_id in await asyncio.gather(*edits) if op_id]
        return f"{len(made)} tablets edit {entity[0]} {entity[1]}" if len(made) > 1 else None


@dataclass(frozen=True, slots=True)
class Retract(Step):
    """An entity is taken back."""

    who: int

    async def do(self, world: World) -> str | None:
        tablet, chance = await world.tablet_at_work(self.who, self.salt), self.chance()
        entity = await _known_to(world, tablet, chance) if tablet is not None else None
        if tablet is None or entity is None:
            return None
        made = await world.wrote(
            tablet, tablet.record(entity[0], '{"reason":"wrong chart"}', entity_id=entity[1], op="retract")
        )
        return made and f"{tablet.name} retracts {entity[0]} {made}"


@dataclass(frozen=True, slots=True)
class Resolve(Step):
    """Somebody decides an open conflict, by taking a side."""

    who: int

    async def do(self, world: World) -> str | None:
        tablet = await world.tablet_at_work(self.who, self.salt)
        if tablet is None:
            return None
        made = await world.wrote(tablet, _resolved(tablet, self.chance()))
        return made and f"{tablet.name} resolves as {made}"


@dataclass(frozen=True, slots=True)
class RecordNewer(Step):
    """A tablet with a newer program writes what nobody else understands: a later schema, or a type never heard of."""

    who: int

    async def do(self, world: World) -> str | None:
        tablet, chance = await world.tablet_at_work(self.who, self.salt), self.chance()
        if tablet is None:
            return None
        entity_type = chance.choice((*content.TYPES, content.UNHEARD_OF))
        payload = '{"newer":{"a":[1.10,2]},' + content.whole(content.UNHEARD_OF, chance, tablet.clinic_id)[1:]
        made = await world.wrote(
            tablet, tablet.record(entity_type, payload, schema_version=content.NEWER_VERSION)
        )
        return made and f"{tablet.name} creates {entity_type} {made} of a newer schema"


@dataclass(frozen=True, slots=True)
class Sync(Step):
    """Somebody presses the button, beside the tablet's own following."""

    who: int

    async def do(self, world: World) -> str | None:
        tablet = world.tablet(self.who, self.salt)
        if tablet is None:
            return None
        told = f"{tablet.name} syncs"
        return told if world.beside(told, tablet.sync()) else None


@dataclass(frozen=True, slots=True)
class Read(Step):
    """A foreign client follows a server's cursor for so many pages."""

    who: int
    few: int

    async def do(self, world: World) -> str | None:
        reader = world.foreigner(Reader, self.who)
        if reader is None:
            return None
        doing = (
            reader.stream(5.0 * self.few)
            if reader.cursor and self.salt % 3 == 0
            else _pages(reader, self.few)
        )
        return reader.name if world.beside(reader.name, doing) else None


@dataclass(frozen=True, slots=True)
class Push(Step):
    """A foreign client pushes ops of its own making."""

    who: int
    few: int

    async def do(self, world: World) -> str | None:
        pusher = world.foreigner(Pusher, self.who)
        if pusher is None or not pusher.machine.alive:
            return None
        chance = self.chance()
        for _ in range(self.few):
            entity_type = chance.choice(content.TYPES)
            payload = content.whole(entity_type, chance, pusher.clinic_id)
            world.wrote_about(pusher.make(entity_type, json.loads(payload)))
        world.beside(f"{pusher.name} pushes", pusher.push())
        return f"{pusher.name} pushes {self.few} ops"


@dataclass(frozen=True, slots=True)
class Forget(Step):
    """A tablet lets go of what it may."""

    who: int

    async def do(self, world: World) -> str | None:
        tablet = world.tablet(self.who, self.salt)
        if tablet is None:
            return None
        gone = await let_go(world, tablet)
        return f"{tablet.name} forgets {gone} ops" if gone else None


async def let_go(world: World, tablet: TabletParty) -> int:
    """A tablet forgets what it may; how many ops."""
    gone = await world.tried(tablet.forget())
    if gone:
        in_cloud = await _in_cloud(world, tablet)
        world.ledger.forgot(tablet.name, gone, world.now_s, in_cloud=in_cloud)
    return len(gone or ())


async def _in_cloud(world: World, tablet: TabletParty) -> list[str] | None:
    """What the cloud's own store has now of the tablet's clinic; None where nobody can look."""
    clinic = world.resident(tablet).clinic
    if clinic is not None and clinic.is_alone:
        return []
    if not world.cloud.is_up:
        return None
    ops = await world.tried(world.cloud.ops(tablet.clinic_id))
    return None if ops is None else [op.op_id for op in ops]


async def _known_to(world: World, tablet: TabletParty, chance: random.Random) -> tuple[str, str] | None:
    """One of the entities that are shared, which this tablet has heard of: the later ones rather than the first."""
    shared = world.entities(tablet)
    for entity in chance.sample(shared, min(4, len(shared))):
        heads = await world.tried(tablet.machine.call(tablet.device.heads(*entity)))
        if heads:
            return entity
    return None


async def _edited(
    world: World, tablet: TabletParty, entity: tuple[str, str], chance: random.Random
) -> str | None:
    """An update, or an amend, as the entity stands on this tablet."""

    async def written() -> Recorded:
        how, parents = await _lawful(tablet, entity, chance, wants_update=chance.random() < 0.7)
        payload = content.patch if how == "update" else content.whole
        return await tablet.record(
            entity[0],
            payload(entity[0], chance, tablet.clinic_id),
            entity_id=entity[1],
            op=how,
            parents=parents,
        )

    return await world.wrote(tablet, written())


async def _lawful(
    tablet: TabletParty, entity: tuple[str, str], chance: random.Random, *, wants_update: bool
) -> tuple[str, tuple[str, ...] | None]:
    """How it can be edited, and after which heads: only where fields merge by themselves after several."""
    view = await tablet.machine.call(tablet.device.get(*entity))
    policy = policy_of(entity[0])
    can_update = policy != "append" and view is not None and view.retracted is None
    heads = view.heads if view is not None else ()
    one = (chance.choice(heads),) if len(heads) > 1 and policy != "merge" else None
    return "update" if wants_update and can_update else "amend", one


async def _resolved(tablet: TabletParty, chance: random.Random) -> list[Operation] | None:
    """A side of one of the conflicts that the tablet shows is taken."""
    portion = await tablet.machine.call(tablet.device.conflicts())
    edits = [conflict for conflict in portion.rows if conflict.kind != "duplicate"]
    if not edits:
        return None
    conflict = chance.choice(edits)
    return await tablet.resolve(conflict.conflict_id, take=chance.choice(conflict.sides).op_id)


async def _pages(reader: Reader, count: int) -> None:
    for _ in range(count):
        await reader.pull(limit=7)
