"""What is decided in a world about who is who: by people, at the cloud or beside a machine, while anything may be broken.

A call of this file raises what the parties raise where something is out of reach; what was done by then stays done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.parties.cloud import CloudParty
from tests.simulation.parties.device import TabletParty
from tests.simulation.parties.foreign import Pusher
from tests.simulation.parties.hub import HubParty

if TYPE_CHECKING:
    from tests.simulation.world import World


async def replace(world: World, hub: HubParty) -> str:
    """It burns, with its card, and what runs from a copy of that is out with it; a new box is claimed in its place."""
    resident = world.resident(hub)
    clinic = resident.clinic
    assert clinic is not None
    world.look()
    for one in world.present():
        if isinstance(one.party, HubParty) and one.party.server_id == hub.server_id:
            one.party.crash()
            one.is_gone = one.party.is_revoked = True
            world.ledger.went_back(one.party.name, None, world.now_s, gone=True)
    new = await clinic.add_hub(world.new_name(hub.name), hub.site, replaces=hub)
    world.move_in(new, clinic)
    for foreigner in world.foreigners:
        if foreigner.at.clinic is clinic and foreigner.at.is_gone and isinstance(foreigner.client, Pusher):
            foreigner.client.server_url, foreigner.at = new.url, world.resident(new)
    return new.name


async def copy_card(world: World, hub: HubParty) -> str:
    """A second hub with the same card, in the same building."""
    clinic = world.resident(hub).clinic
    assert clinic is not None
    began_s = world.now_s
    twin = await clinic.copy_hub(hub, world.new_name(hub.name))
    world.move_in(twin, clinic).twin_of = world.resident(hub)
    world.ledger.went_back(twin.name, began_s, began_s)
    return twin.name


async def clone(world: World, tablet: TabletParty) -> str:
    """A second tablet with the same storage, in the same building."""
    clinic = world.resident(tablet).clinic
    assert clinic is not None
    twin = await clinic.clone_tablet(tablet, world.new_name(tablet.name))
    world.move_in(twin, clinic)
    if tablet.is_revoked:
        twin.is_revoked = True
        world.ledger.is_revoked(twin.name, world.now_s)
    return twin.name


def carry_on(world: World, who: int, salt: int) -> str | None:
    """A client that somebody else wrote goes on at another server of its clinic; None where there is no other."""
    pusher = world.foreigner(Pusher, who)
    if pusher is None:
        return None
    clinic = next(clinic for clinic in world.clinics if pusher in clinic.pushers)
    [at] = [foreigner for foreigner in world.foreigners if foreigner.client is pusher]
    servers: list[CloudParty | HubParty] = [] if clinic.is_alone else [clinic.cloud]
    servers += [hub for hub in clinic.hubs if not hub.is_revoked and world.resident(hub).twin_of is None]
    others = [server for server in servers if server is not at.at.party]
    if not others:
        return None
    new = others[salt % len(others)]
    pusher.server_url, at.at = new.url, world.resident(new)
    return f"{pusher.name} goes on at {new.name}"


async def revoke(world: World, tablet: TabletParty) -> bool:
    """It is let in nowhere any more, as soon as hubs have heard of it."""
    resident = world.resident(tablet)
    assert resident.clinic is not None
    world.look()
    await resident.clinic.revoke_tablet(tablet)
    for one in (
        world.residents
    ):  # with it goes whatever got another id by its id: its clones, or it as one of theirs
        if isinstance(one.party, TabletParty) and _family(one.party) == _family(tablet):
            one.party.is_revoked = True
            world.ledger.is_revoked(one.party.name, world.now_s)
    return True


async def lock_out(world: World, tablet: TabletParty) -> bool:
    """The person at a tablet is locked out: every session of theirs has ended, wherever it is."""
    clinic = world.resident(tablet).clinic
    assert clinic is not None
    name = tablet.email.partition("@")[0]
    await clinic.disable_user(name)
    world.locked_out.add((clinic.name, name))
    return True


async def let_in_again(world: World) -> None:
    """Whoever was ever locked out works here again: a cloud that went back may have locked them out once more."""
    for clinic in world.clinics:
        for of_clinic, name in sorted(world.locked_out):
            if of_clinic == clinic.name:
                await clinic.disable_user(name, disabled=False)


async def adopt(world: World) -> str | None:
    """The clinic that began alone, if there is one that still is."""
    for clinic in world.clinics:
        if clinic.is_alone:
            await clinic.adopt(clinic.hubs[0])
            return clinic.name
    return None


def _family(tablet: TabletParty) -> str:
    return tablet.name.partition("+")[0]
