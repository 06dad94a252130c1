"""A hub and its cloud about the fleet: how the hub is arrives there, and what is wanted of it arrives here."""

from __future__ import annotations

import asyncio

from cloud.fleet.hubs import Hubs
from cloud.releases import Release
from hub.update.remote import read_remote, with_remote
from medxz.service.fleet import HubsAsked
from medxz.wire import RingRequest, RingSettings
from tests.uplink.conftest import Box, Relay, until


async def nothing() -> list[Release]:
    return []


async def test_a_hub_reports_by_itself(relay: Relay, north: Box) -> None:
    """Soon after it is connected its cloud knows how it is, and it has the settings of its ring for its next start."""
    hubs = Hubs(relay.running.store.authority, nothing)
    await hubs.set_ring("all", RingRequest(settings=RingSettings(log_level="debug")))
    assert north.running.reporting is not None
    running = asyncio.create_task(north.running.reporting.run())
    try:

        async def is_known() -> bool:
            [hub] = (await hubs.page(HubsAsked(), ("", ""), 10)).hubs
            return hub.reported_at is not None

        await until(is_known, "its report")
        [hub] = (await hubs.page(HubsAsked(), ("", ""), 10)).hubs
        assert (hub.name, hub.ring, hub.backlog, hub.settings_revision) == ("North", "all", 0, 0)
        assert hub.version is not None
        assert hub.health in {"ok", "unwell"}
        file = north.settings.places.remote
        await until(lambda: read_remote(file).revision == 1, "the settings")
        assert with_remote(north.settings, read_remote(file)).log_level == "debug"
    finally:
        running.cancel()
        await asyncio.wait([running])
