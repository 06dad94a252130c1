"""A tablet on another LAN of the clinic's, to which the router carries everything but multicast: nothing is heard there."""

from __future__ import annotations

import pytest

from tests.lan.clinic import HUB_NAME, Clinic, LanTablet

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("lan")]


@pytest.fixture
def ward(clinic: Clinic) -> LanTablet:
    """Nora's tablet, carried to where mDNS does not reach."""
    host = clinic.network.lan("ward").host("ward")
    return LanTablet(clinic.nora.store, host, clinic.cloud, clinic.nora.email)


def found_by(tablet: LanTablet, clinic: Clinic, *how: object) -> dict[str, str]:
    """By which source the hub is taken at its present address; empty where it isn't."""
    found = tablet.discovered(*how)["found"]
    return {
        one["source"]: one["url"]
        for one in found
        if one["taken"] and one["server_id"] == clinic.hub.server_id
    }


def moved(clinic: Clinic, number: int) -> None:
    clinic.hub.host.move(number)
    clinic.hub.url = f"https://{clinic.hub.host.address}:{clinic.hub.port}"


def test_a_hub_is_found_where_mdns_does_not_reach(clinic: Clinic, ward: LanTablet) -> None:
    """Behind a router the hub is found by its last good address, by an address that a person types, which is then
    remembered, and by the DNS name that the clinic gave it, though it moves each time.
    """
    clinic.start()
    assert found_by(ward, clinic) == {"last": clinic.hub.url}
    ward.record("Behind-the-router")
    assert ward.sync()["target"] == clinic.hub.url

    clinic.wan.cut()
    moved(clinic, 200)
    assert found_by(ward, clinic) == {}
    assert found_by(ward, clinic, "--server", clinic.hub.url) == {"typed": clinic.hub.url}
    assert found_by(ward, clinic) == {"last": clinic.hub.url}
    assert ward.sync()["target"] == clinic.hub.url

    ward.host.knows(HUB_NAME, clinic.lan.address(201))
    moved(clinic, 201)
    by_name = f"https://{HUB_NAME}:{clinic.hub.port}"
    assert found_by(ward, clinic) == {"name": by_name}
    ward.record("By-its-name")
    assert ward.sync()["target"] == by_name
