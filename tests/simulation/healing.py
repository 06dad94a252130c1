"""Healing: everything that was broken is whole again, and everybody gets the time to come into step; then all is checked.

Within a bounded time of the world's own everybody is in step, or that is the failure: a system that never loses anything
because it never gets anything anywhere is of no use to anybody.
"""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import TYPE_CHECKING, Final

from medxz.errors import Overloaded
from medxz.op import Operation
from medxz.scope import FRONT_DESK_TYPES
from tests.simulation import changing
from tests.simulation.checkers import Violation, check
from tests.simulation.parties.device import TabletParty
from tests.simulation.parties.foreign import Pusher, Reader
from tests.simulation.parties.hub import HubParty
from tests.simulation.residents import disk_of, machine_of

if TYPE_CHECKING:
    from tests.simulation.residents import Resident
    from tests.simulation.world import World

IN_STEP_S_MAX: Final = 1_800.0
START_S_MAX: Final = 120.0
_ROUND_S: Final = 1.5
_ROUND_S_MAX: Final = 60.0


class NotInStep(Exception):
    """All was well again, and still somebody lacks something after a time in which it should have come."""


async def heal(world: World) -> None:
    """Make all well, and wait until everybody is in step and every checker has looked. A Violation, or NotInStep."""
    world.trace.note("world", "healing")
    _repair(world)
    await world.settled()
    _repair(world)  # what went on beside may have broken something
    await _start(world)
    await changing.let_in_again(world)
    late: NotInStep | None = None
    try:
        await _wait_until_in_step(world)
    except NotInStep as error:  # what the checkers say of it tells more
        late = error
    await _readers_to_the_end(world)
    world.look()
    try:
        await check(world)
    except Violation as violation:
        raise (violation.because(str(late)) if late is not None else violation) from late
    if late is not None:
        raise late
    world.losses.healed()
    world.trace.note("world", "healed")


def _repair(world: World) -> None:
    _take_twins_away(world)
    world.geography.restore()
    for resident in world.present():
        machine = machine_of(resident.party)
        machine.clock.right()
        machine.clock.jump(world.days_ms)
        if machine.alive:
            disk = disk_of(resident.party)
            disk.free()
            disk.fail_syncs(0)
            disk.cut_at_write(1 << 60, lambda: None)


def _take_twins_away(world: World) -> None:
    """Somebody has noticed that there are two of one card: the copy is taken away."""
    for resident in world.present():
        if resident.twin_of is not None:
            world.look()
            resident.party.crash()
            resident.is_gone = True
            world.ledger.went_back(resident.party.name, None, world.now_s, gone=True)


async def _start(world: World) -> None:
    """A machine that was hurt may need to be started more than once; one that never starts is a failure."""
    for resident in world.present():
        until_s = world.now_s + START_S_MAX
        while not await world.started(resident.party):
            if world.now_s > until_s:
                raise NotInStep(f"{resident.party.name} does not start: {world.last_error}")
            await asyncio.sleep(1)


async def _wait_until_in_step(world: World) -> None:
    until_s, round_s = world.now_s + IN_STEP_S_MAX, _ROUND_S
    while True:
        await asyncio.sleep(round_s)
        for foreigner in world.foreigners:
            if isinstance(foreigner.client, Pusher) and not foreigner.at.is_gone:
                await world.tried(_pushed(foreigner.client))
        lacking = await _lacking(world) or await _found_in_step(world)
        if lacking is None:
            return
        world.trace.note("world", f"    {lacking}")
        if world.now_s > until_s:
            raise NotInStep(f"not in step {IN_STEP_S_MAX:.0f} s after all was well again: {lacking}")
        round_s = min(round_s * 1.5, _ROUND_S_MAX)


async def _found_in_step(world: World) -> str | None:
    """Everything is checked; unless somebody is not ready to tell what it has."""
    await _readers_to_the_end(world)
    world.look()
    try:
        await check(world)
    except Overloaded as behind:
        return f"somebody is behind with what is derived: {behind}"
    return None


async def _lacking(world: World) -> str | None:
    """Who still lacks what; None where nobody lacks anything."""
    for clinic in world.clinics:
        members = [one for one in world.present() if one.clinic is clinic]
        servers = [one.party for one in members if isinstance(one.party, HubParty)]
        logs = {hub.name: {op.op_id: op for op in await hub.ops()} for hub in servers}
        if not clinic.is_alone:
            logs[world.cloud.name] = {op.op_id: op for op in await world.cloud.ops(clinic.clinic_id)}
        everything = dict(chain.from_iterable(log.items() for log in logs.values()))
        for name, held in logs.items():
            if missing := everything.keys() - held.keys():
                return f"{name} lacks {len(missing)} ops that another server of {clinic.name} has"
        for tablet in _tablets_in_touch(members):
            if (lack := await _lack_of(tablet, list(everything.values()), clinic.is_alone)) is not None:
                return lack
    return None


async def _lack_of(tablet: TabletParty, everything: list[Operation], is_alone: bool) -> str | None:
    status = await tablet.status()
    waiting = status.here + (0 if is_alone else status.hub)
    if waiting:
        return f"{tablet.name} has {status.here} ops that are only here, {status.hub} that are on a hub"
    have = await tablet.have()
    for op in everything:
        is_told = tablet.scope == "full" or op.entity_type in FRONT_DESK_TYPES
        if is_told and op.device_seq not in have.get(op.device_id, ()):
            return f"{tablet.name} lacks {op.op_id}"
    return None


def _tablets_in_touch(members: list[Resident]) -> list[TabletParty]:
    return [one.party for one in members if isinstance(one.party, TabletParty) and not one.party.is_revoked]


async def _readers_to_the_end(world: World) -> None:
    for foreigner in world.foreigners:
        if isinstance(foreigner.client, Reader) and not foreigner.at.is_gone:
            await world.tried(_read_to_the_end(foreigner.client))


async def _pushed(pusher: Pusher) -> None:
    """What no server has taken yet; by a session that is not over."""
    if pusher.unsent:
        await pusher.login()
        await pusher.push()


async def _read_to_the_end(reader: Reader) -> None:
    while await reader.pull():
        pass
