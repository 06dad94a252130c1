"""What happens to machines and disks: power cuts at any moment, disks that are full or lie, and backups that are put back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.simulation.residents import disk_of
from tests.simulation.steps.step import Step

if TYPE_CHECKING:
    from tests.simulation.world import World


@dataclass(frozen=True, slots=True)
class Crash(Step):
    """Power off, at this moment. Healing, or `PowerOn`, brings it back."""

    who: int

    async def do(self, world: World) -> str | None:
        party = world.party(self.who)
        if party is None or not party.machine.alive:
            return None
        party.crash()
        return f"{party.name} crashes"


@dataclass(frozen=True, slots=True)
class CrashInCommit(Step):
    """Power off in the middle of what is being written, at one of the next writes to its disk."""

    who: int
    few: int
    share: float

    async def do(self, world: World) -> str | None:
        party = world.party(self.who)
        if party is None or not party.is_up:
            return None
        at_write = self.few + int(self.share * 40)

        def crash() -> None:
            world.felt["crashes in the middle of a write"] += 1
            party.crash()

        disk_of(party).cut_at_write(at_write, crash)
        return f"{party.name} will crash at write {at_write}"


@dataclass(frozen=True, slots=True)
class PowerOn(Step):
    """Somebody starts what is off."""

    who: int

    async def do(self, world: World) -> str | None:
        off = [one.party for one in world.present() if not one.party.is_up]
        if not off:
            return None
        party = off[self.who % len(off)]
        return f"{party.name} starts" if await world.started(party) else None


@dataclass(frozen=True, slots=True)
class Restart(Step):
    """Stopped as an operator does it, and started again."""

    who: int

    async def do(self, world: World) -> str | None:
        party = world.party(self.who)
        if party is None or not party.is_up:
            return None
        await world.tried(party.stop())
        return f"{party.name} restarts" if await world.started(party) else None


@dataclass(frozen=True, slots=True)
class TakeCopy(Step):
    """A backup of a machine, as who stops it and copies its files makes one."""

    who: int

    async def do(self, world: World) -> str | None:
        party = world.party(self.who)
        if party is None or not party.is_up:
            return None
        return f"{party.name} is copied" if await world.tried(world.copies.take(party)) else None


@dataclass(frozen=True, slots=True)
class PutBack(Step):
    """A machine's storage becomes what it was when it was copied, and nobody is told."""

    who: int

    async def do(self, world: World) -> str | None:
        party = world.copies.one(self.who)
        if party is None or not world.losses.may_lose(party):
            return None
        world.copies.put_back(party)
        started = await world.started(party)
        return f"{party.name} goes back to its copy{'' if started else ', and is off'}"


@dataclass(frozen=True, slots=True)
class FillDisk(Step):
    """No byte more fits on a disk."""

    who: int

    async def do(self, world: World) -> str | None:
        party = world.party(self.who)
        if party is None or not party.machine.alive:
            return None
        disk_of(party).fill()
        return f"{party.name}: disk full"


@dataclass(frozen=True, slots=True)
class FreeDisk(Step):
    """There is room again."""

    who: int

    async def do(self, world: World) -> str | None:
        party = world.party(self.who)
        if party is None or not party.machine.alive:
            return None
        disk_of(party).free()
        return f"{party.name}: disk free"


@dataclass(frozen=True, slots=True)
class FailSyncs(Step):
    """The next syncs of a disk fail, and what they were to bring down is lost."""

    who: int
    few: int

    async def do(self, world: World) -> str | None:
        party = world.party(self.who)
        if party is None or not party.machine.alive:
            return None
        disk_of(party).fail_syncs(self.few)
        return f"{party.name}: the next {self.few} syncs fail"
