"""Machines on the Wi-Fi that look like the clinic's hub: whoever they are, they get not one byte of data."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.lan.clinic import NURSE, Clinic, LanHub, LanTablet
from tests.lan.lookalike import LookAlike, shown_by
from tests.system.hub_process import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("lan")]


def txt_of(clinic: Clinic) -> dict[str, str]:
    """What the real hub announces."""
    status = clinic.hub.told("status")
    return {
        "v": "1", "id": status["server_id"], "site": clinic.cloud.made["sites"][0]["site_id"], "tls": "1",
        "fp": clinic.fingerprint, "path": "/v1",
    }  # fmt: skip


def stand_in(clinic: Clinic, folder: Path) -> LookAlike:
    """The real hub is gone, and somebody has its address, its announcement and a forged certificate."""
    real, txt = shown_by(clinic.nora.host, clinic.hub.host.address), txt_of(clinic)
    clinic.hub.end(signal.SIGKILL)
    clinic.hub.host.unplug()
    host = clinic.lan.host("stranger")
    host.move(int(clinic.hub.host.address.rpartition(".")[2]))
    return LookAlike(host, folder, real, txt)


def test_who_takes_the_hubs_place_gets_nothing(clinic: Clinic, tmp_path: Path) -> None:
    """A forged hub at the very address of the real one, announced as the real one, is told nothing by a tablet that
    syncs, by one that looks for hubs, or by one that enrols; what was to be told to the hub goes to the cloud.
    """
    clinic.start()
    clinic.nora.sync()
    code = clinic.nora.code()
    forged = stand_in(clinic, tmp_path / "forged")

    clinic.nora.record("Confidential")
    found = clinic.nora.discovered("--wait", "2")["found"]
    forged.until_met()
    assert {one["code"] for one in found if one["url"].startswith(clinic.hub.url)} == {"untrusted"}, found
    assert not any(one["taken"] for one in found if one["kind"] == "hub"), found
    clinic.nora.until_in_the_cloud()

    newcomer = LanTablet(tmp_path / "newcomer", clinic.nora.host, clinic.cloud, NURSE)
    refused = newcomer.tried("enroll", "--code", code["code"], "--server", clinic.hub.url, "--fp", code["fp"])
    assert refused.returncode == 1, refused.stderr
    assert forged.heard() == b""


def test_the_hub_of_another_clinic_is_not_even_asked(clinic: Clinic, tmp_path: Path) -> None:
    """A real hub of another clinic on the same LAN is passed over unasked, and refused when a person types its address;
    the clinic's own is taken beside it.
    """
    clinic.start()
    stranger = LanHub(tmp_path / "strange", clinic.cloud, clinic.lan.host("stranger"), "strange")
    stranger.begin_alone()

    codes: dict[tuple[str, str], str] = {}

    def is_heard() -> bool:
        found = clinic.nora.discovered("--server", stranger.url, "--wait", "2")["found"]
        codes.update({(one["source"], one["url"]): one["code"] for one in found})
        return ("mdns", stranger.url) in codes

    wait_until(is_heard, "the other clinic's hub to be heard")
    assert codes["mdns", stranger.url] == "other_clinic"
    assert codes["typed", stranger.url] == "untrusted"
    assert codes["last", clinic.hub.url] == "taken"
