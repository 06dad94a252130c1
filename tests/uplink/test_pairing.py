"""A claimed hub asks its cloud for codes for devices of its own site, and passes nobody else's wish on."""

from __future__ import annotations

import pytest

from hub.pairing import PairRequest
from medxz.errors import CloudRequired
from tests.uplink.conftest import Box, Relay, until


async def test_a_claimed_hub_pairs_by_its_cloud(relay: Relay, north: Box) -> None:
    """The code is of the hub's site and scope, leads to the hub, and lets a device in by the name that was given."""
    await until(lambda: north.is_online, "that it runs with its cloud")
    made = await north.running.doors.pairing.pair(PairRequest(name="Reception", scope="front_desk"))
    config = north.running.storage.registry.config
    assert made.url == f"{north.url}/#c={made.code}&fp={made.fp}"
    assert config.ca_certificates
    request = {"code": made.code, "name": "tablet", "public_key": "A" * 43}
    answer = await north.http.post("/v1/enroll", json=request)
    assert answer.status_code == 200, answer.text
    [device] = await relay.admin.devices.list(relay.clinic_id)
    assert (device.name, device.scope, device.site_id) == (
        "Reception",
        "front_desk",
        north.running.identity.site_id,
    )
    again = await north.http.post("/v1/enroll", json=request)
    assert again.json() == answer.json()
    other = await north.http.post("/v1/enroll", json={**request, "public_key": "B" * 43})
    assert other.json()["code"] == "code_invalid"


async def test_without_its_cloud_a_claimed_hub_makes_no_codes(relay: Relay, north: Box) -> None:
    """It says that the cloud is needed."""
    await until(lambda: north.is_online, "that it runs with its cloud")
    await relay.stop()
    with pytest.raises(CloudRequired):
        await north.running.doors.pairing.pair(PairRequest())
