"""Two hubs on one LAN: a site that loses one of them, with no internet at all, goes on."""

from __future__ import annotations

import signal

import pytest

from tests.lan.clinic import Clinic, LanHub
from tests.system.hub_process import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("lan")]


def is_in_step(hub: LanHub) -> bool:
    """Whether it reads the other one's log."""
    neighbours = hub.told("status")["neighbours"]
    return [one["state"] for one in neighbours] == ["online"]


def test_a_site_survives_the_loss_of_a_hub_without_internet(clinic: Clinic) -> None:
    """What was pushed to one hub is at the other without any cloud; when the first dies, both tablets find the second,
    see everything and go on; and when all is back, everything is at both hubs and in the cloud.
    """
    clinic.start()
    clinic.second.start()
    for hub in (clinic.hub, clinic.second):
        wait_until(lambda hub=hub: is_in_step(hub), f"{hub.data.name} to read the other's log")  # type: ignore[misc]
    clinic.wan.cut()

    clinic.nora.record("Only-on-the-LAN")
    assert clinic.nora.sync()["target"] == clinic.hub.url
    wait_until(lambda: clinic.second.has(1), "the other hub to have it")
    clinic.hub.end(signal.SIGKILL)
    clinic.hub.host.unplug()

    told = clinic.dan.sync()
    assert told["target"] == clinic.second.url
    assert clinic.dan.families() == {"Only-on-the-LAN"}
    clinic.nora.record("After-the-loss")
    assert clinic.nora.sync()["target"] == clinic.second.url
    clinic.dan.sync()
    assert clinic.dan.families() == {"Only-on-the-LAN", "After-the-loss"}
    assert clinic.nora.status()["cloud"] == 0

    clinic.wan.mend()
    clinic.nora.until_in_the_cloud()
    clinic.hub.host.plug()
    clinic.hub.start()
    wait_until(lambda: clinic.hub.has(2), "the first hub to have what it missed")
    assert clinic.hub.told("status")["ops"] == clinic.second.told("status")["ops"] == 2
