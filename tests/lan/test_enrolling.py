"""A tablet that comes to a clinic: it finds the hub by itself, and tells it nothing before it has proven whose it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lan.clinic import NURSE, Clinic, LanHub, LanTablet

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("lan")]


@pytest.fixture
def newcomer(clinic: Clinic, tmp_path: Path) -> LanTablet:
    return LanTablet(tmp_path / "newcomer", clinic.lan.host("newcomer"), clinic.cloud, NURSE)


def test_a_code_is_enough_where_there_is_one_hub(clinic: Clinic, newcomer: LanTablet) -> None:
    """With a code and the clinic's fingerprint, and no address, a tablet enrols at the one hub that the LAN has, and whom
    it lets log in sees the clinic's data.
    """
    clinic.start()
    clinic.nora.record("Early")
    clinic.nora.sync()
    made = newcomer.code()
    assert newcomer.enrol("--code", made["code"], "--fp", made["fp"])["target"] == clinic.hub.url
    newcomer.login()
    newcomer.sync()
    assert newcomer.families() == {"Early"}


def test_a_printed_code_holds_when_the_hub_has_moved(clinic: Clinic, newcomer: LanTablet) -> None:
    """A QR's text names an address that the hub no longer has: by its fingerprint the hub is found all the same."""
    clinic.start()
    made = newcomer.code()
    printed = f"{clinic.hub.url}/#c={made['code']}&fp={made['fp']}"
    clinic.hub.host.move(200)
    assert newcomer.enrol("--code", printed)["target"] == f"https://{clinic.hub.host.address}:8443"
    newcomer.login()


def test_which_of_two_hubs_is_for_a_person_to_say(clinic: Clinic, newcomer: LanTablet) -> None:
    """Where two clinics' hubs announce themselves, a bare code is sent to neither; the answer lists both."""
    clinic.start()
    stranger = LanHub(
        newcomer.store.with_name("strange"), clinic.cloud, clinic.lan.host("strange"), "strange"
    )
    stranger.begin_alone()
    heard = newcomer.until_heard(2)
    refused = newcomer.tried("enroll", "--code", newcomer.code()["code"])
    assert refused.returncode == 2, refused.stderr
    for hub in heard:
        assert hub["url"] in refused.stderr


def test_a_hub_by_itself_pairs_a_tablet(clinic: Clinic, newcomer: LanTablet) -> None:
    """A clinic that begins with a hub alone: the text that the hub shows has its address on the LAN, and takes a tablet
    from there to a synced op.
    """
    alone = LanHub(newcomer.store.with_name("alone"), clinic.cloud, clinic.lan.host("alone"), "alone")
    alone.begin_alone()
    alone.told(
        "user", "add", "--email", NURSE, "--name", "Nora", "--role", "clinician",
        "--password-file", clinic.cloud.password_file,
    )  # fmt: skip
    paired = alone.told("pair", "--name", "Nora's")
    assert paired["url"].startswith(f"{alone.url}/#c=")
    assert newcomer.enrol("--code", paired["url"])["target"] == alone.url
    newcomer.login()
    newcomer.record("First")
    assert newcomer.sync()["accepted"] == 1
