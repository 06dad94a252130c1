"""What happens to who is who: moves, replacements, revocations, keys, and one identity in two places."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.simulation import changing
from tests.simulation.parties.device import TabletParty
from tests.simulation.steps import content
from tests.simulation.steps.step import Step

if TYPE_CHECKING:
    from tests.simulation.world import World

_UNHEARD_SHARE: Final = 0.7


@dataclass(frozen=True, slots=True)
class MoveTablet(Step):
    """A tablet is carried to the other site: other hubs, nothing of the first in reach."""

    who: int

    async def do(self, world: World) -> str | None:
        tablet = world.tablet(self.who, self.salt)
        clinic = world.resident(tablet).clinic if tablet is not None else None
        if tablet is None or clinic is None or len(clinic.sites) < 2:
            return None
        [site] = [site for site in clinic.sites if site != tablet.site]
        tablet.site = site
        world.geography.restore()
        world.beside(f"{tablet.name} looks around", clinic.move_site(tablet, site))
        return f"{tablet.name} is carried to {site}, and the network is whole"


@dataclass(frozen=True, slots=True)
class MoveLaptop(Step):
    """A client that somebody else wrote goes on at another server: what the first has taken it does not push again."""

    who: int

    async def do(self, world: World) -> str | None:
        return changing.carry_on(world, self.who, self.salt)


@dataclass(frozen=True, slots=True)
class ReplaceHub(Step):
    """A hub is gone for good, with its card, and a new one is claimed in its place: of a clinic that has a cloud."""

    who: int

    async def do(self, world: World) -> str | None:
        hub = world.hub(self.who, self.salt)
        clinic = world.resident(hub).clinic if hub is not None else None
        if hub is None or clinic is None or clinic.is_alone or not world.losses.may_lose(hub):
            return None
        new = await world.tried(changing.replace(world, hub))
        return f"{hub.name} is destroyed" + (f", {new} takes its place" if new else "")


@dataclass(frozen=True, slots=True)
class RevokeTablet(Step):
    """A tablet was stolen: it is let in nowhere any more."""

    who: int

    async def do(self, world: World) -> str | None:
        tablet = world.tablet(self.who, self.salt)
        if tablet is None or tablet.is_revoked:
            return None
        return f"{tablet.name} is revoked" if await world.tried(changing.revoke(world, tablet)) else None


@dataclass(frozen=True, slots=True)
class LockOut(Step):
    """The person at a tablet may work nowhere, until healing: every session of theirs has ended."""

    who: int

    async def do(self, world: World) -> str | None:
        tablet = world.tablet(self.who, self.salt)
        if tablet is None:
            return None
        done = await world.tried(changing.lock_out(world, tablet))
        return f"{tablet.email} is locked out" if done else None


@dataclass(frozen=True, slots=True)
class RotateKeys(Step):
    """The cloud signs with a new key from now on."""

    async def do(self, world: World) -> str | None:
        return (
            "the cloud signs with a new key"
            if await world.tried(world.clinics[0].rotate_key(at_once=self.salt % 2 == 0))
            else None
        )


@dataclass(frozen=True, slots=True)
class CopyCard(Step):
    """A hub's card is copied, and a second hub runs from the copy beside it, until healing takes one of them away."""

    who: int

    async def do(self, world: World) -> str | None:
        hub = world.hub(self.who, self.salt)
        if hub is None or not world.losses.may_lose(hub):
            return None
        twin = await world.tried(changing.copy_card(world, hub))
        return f"{twin} runs from a copy of the card of {hub.name}" if twin else None


@dataclass(frozen=True, slots=True)
class CloneTablet(Step):
    """A tablet's storage is copied to another, and both are used; mostly where neither can be heard."""

    who: int

    async def do(self, world: World) -> str | None:
        tablet, chance = world.tablet(self.who, self.salt), self.chance()
        if tablet is None:
            return None
        clone = await world.tried(changing.clone(world, tablet))
        if not clone:
            return None
        if chance.random() < _UNHEARD_SHARE:
            twin = next(one.party for one in world.present() if one.party.name == clone)
            assert isinstance(twin, TabletParty)
            for one, other in itertools.product((tablet, twin), world.present()):
                if other.party is not one:
                    world.network.cut(one.name, other.party.name)
            for one in (tablet, twin):
                payload = content.whole("Patient", chance, one.clinic_id)
                await world.wrote(one, one.record("Patient", payload))
        return f"{clone} is a clone of {tablet.name}"


@dataclass(frozen=True, slots=True)
class Adopt(Step):
    """A hub that began alone is claimed by the cloud, with all that it has."""

    async def do(self, world: World) -> str | None:
        adopted = await world.tried(changing.adopt(world))
        return f"{adopted} is adopted by the cloud" if adopted else None
