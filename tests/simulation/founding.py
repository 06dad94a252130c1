"""From a shape to parties that serve: the cloud, its clinics with their people, hubs and tablets; and foreign clients.

Everybody is let in through the front door, on a network on which nothing is wrong yet.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final

from tests.simulation.parties.clinic import Clinic
from tests.simulation.parties.cloud import CloudParty
from tests.simulation.plan import ClinicShape
from tests.simulation.steps import content

if TYPE_CHECKING:
    from tests.simulation.parties.hub import HubParty
    from tests.simulation.world import World

SITES: Final = ("north", "south")
BEGIN_S: Final = 3.0
"""After this every tablet has the first charts, so that all can write about the same."""
_WRITERS: Final = ("nora", "dan")


async def found(world: World) -> None:
    """All that the plan's shape names."""
    cloud = CloudParty(world.make_machine("cloud"))
    await cloud.make()
    await cloud.start()
    world.move_in(cloud, None)
    for number, shape in enumerate(world.plan.shape.clinics):
        name = "ab"[number]
        clinic = Clinic(name, cloud, world.make_machine)
        world.clinics.append(clinic)
        await _found_clinic(world, clinic, shape)
    world.geography.apply()
    for clinic in world.clinics:
        await _add_foreigners(world, clinic)
        await _begin_charts(world, clinic)
    await asyncio.sleep(BEGIN_S)


async def _found_clinic(world: World, clinic: Clinic, shape: ClinicShape) -> None:
    sites = SITES[: len(shape.sites)]
    if not shape.is_alone:
        await clinic.found(sites)
    for site, of_site in zip(sites, shape.sites, strict=True):
        for number in range(of_site.hubs):
            name = f"{clinic.name}-{site}-hub-{number + 1}"
            hub = await (clinic.found_alone(name, site) if shape.is_alone else clinic.add_hub(name, site))
            world.move_in(hub, clinic)
        for number in range(of_site.tablets):
            name = f"{clinic.name}-{site}-tablet-{number + 1}"
            tablet = await clinic.add_tablet(name, site, user=_WRITERS[number % len(_WRITERS)])
            world.move_in(tablet, clinic)


async def _add_foreigners(world: World, clinic: Clinic) -> None:
    """A client that somebody else wrote, with a reader at the first hub and one at the cloud."""
    hub: HubParty = clinic.hubs[0]
    pusher = await clinic.add_pusher(f"{clinic.name}-laptop", hub.site, signs=True, at=hub)
    world.foreign(pusher, hub)
    world.foreign(clinic.add_reader(pusher, hub.url), hub)
    if not clinic.is_alone:
        world.foreign(clinic.add_reader(pusher, clinic.cloud.url), clinic.cloud)


async def _begin_charts(world: World, clinic: Clinic) -> None:
    chance, tablet = random.Random(f"charts {world.plan.seed}"), clinic.tablets[0]
    for entity_type in content.TYPES:
        payload = content.whole(entity_type, chance, clinic.clinic_id)
        await world.wrote(tablet, tablet.record(entity_type, payload))
