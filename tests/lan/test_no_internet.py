"""A clinic whose cloud was last seen yesterday: all that people do goes on, but for letting somebody in for the first time."""

from __future__ import annotations

import json

import pytest

from medxz.commandline import NEEDS_THE_CLOUD
from tests.lan.clinic import Clinic, LanTablet
from tests.system.world import ADMIN
from tests.system.wrong_clock import Machine

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("lan")]

A_DAY_S = 26 * 3_600


@pytest.fixture
def tomorrow(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> Clinic:
    """Every machine's clock says so; nothing of the internet is there, and the hub was switched off over night."""
    machine = Machine(clinic.folder, "tomorrow")
    machine.set(A_DAY_S)
    for name, value in machine.environment.items():
        monkeypatch.setenv(name, value)
    clinic.wan.cut()
    clinic.hub.start()
    return clinic


def needs_the_cloud(tablet: LanTablet, *command: object) -> bool:
    """Whether it says so, in its words and by its status."""
    ended = tablet.tried(str(command[0]), *command[1:])
    return ended.returncode == NEEDS_THE_CLOUD and json.loads(ended.stderr)["code"] == "cloud_required"


def test_the_cloud_was_last_seen_yesterday(tomorrow: Clinic) -> None:
    """Sessions go on, tablets are unlocked, find their hub, see each other's work at once, and tell that it is
    safe at the hub and not in the cloud; only a first login and an enrolment are refused, and say what they need.
    """
    clinic, nora, dan = tomorrow, tomorrow.nora, tomorrow.dan
    taken = {one["server_id"] for one in nora.discovered()["found"] if one["taken"]}
    assert taken == {clinic.hub.server_id}

    reading = dan.application()
    reading.until(lambda event: event.get("standing") == "live", "the stream")
    assert nora.tried("list", "Patient").returncode != 0, "it has locked itself over night"
    nora.ask("unlock", "--password-file", clinic.cloud.password_file)
    op_id = nora.record("Without-the-internet")
    assert nora.sync()["target"] == clinic.hub.url
    reading.until(lambda event: event.get("op_id") == op_id, "the op on the other tablet", seconds=10)
    status = nora.status()
    assert (status["here"], status["hub"], status["cloud"]) == (0, 1, 0)
    assert clinic.hub.upstream() == "offline"
    assert nora.families() == {"Without-the-internet"}

    login = ("login", "--email", ADMIN, "--password-file", clinic.cloud.password_file)
    assert needs_the_cloud(nora, *login)
    assert nora.families() == {"Without-the-internet"}, "who is logged in stays so"
    newcomer = LanTablet(clinic.folder / "newcomer", nora.host, clinic.cloud, ADMIN)
    fingerprint = clinic.fingerprint
    enrolment = ("enroll", "--code", "7KQ2M9XF", "--server", clinic.hub.url, "--fp", fingerprint)
    assert needs_the_cloud(newcomer, *enrolment)
