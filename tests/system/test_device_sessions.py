"""Devices that enrol, people who log in, and sessions that last, against a real cloud."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medxz.clock import SystemClock
from medxz.device.device import raw_key
from medxz.device.keyfile import read_key
from medxz.device.store import DeviceStore
from medxz.device.store.identity import change_identity
from tests.system.cutting_relay import CuttingRelay
from tests.system.hub_process import DEADLINE_S, environment
from tests.system.world import DEVICE, CloudProcess, EnrolledTablet

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("device-sessions")]

NURSE = "nora@clinic.example"
DOCTOR = "dan@clinic.example"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudProcess]:
    made = CloudProcess(tmp_path_factory.mktemp("sessions"), "North", "South")
    made.add_user(NURSE)
    made.add_user(DOCTOR)
    yield made.start()
    made.end()


@pytest.fixture
def tablet(tmp_path: Path, cloud: CloudProcess) -> EnrolledTablet:
    return EnrolledTablet(tmp_path / "tablet", cloud, cloud, "North", NURSE)


def run(store: Path, command: str, *arguments: object, text: str | None = None) -> tuple[int, dict[str, Any]]:
    """A command's status, and what it told: its answer, or what is wrong."""
    done = subprocess.run(
        [*DEVICE, command, "--store", str(store), *map(str, arguments), "--json"],
        env=environment(), capture_output=True, text=True, timeout=DEADLINE_S, check=False, input=text,
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout or done.stderr)


def changed(store: Path, **columns: object) -> None:
    """As time, or another place, would have it."""
    held = DeviceStore(store, raw_key(read_key(store, None)), SystemClock())
    with held._file.transaction() as connection:
        if url := columns.get("server_url"):
            connection.execute("UPDATE target SET url = ? WHERE kind = 'cloud'", (url,))
        change_identity(connection, **columns)
    held.close()


def tokens(store: Path) -> tuple[str, str | None]:
    held = DeviceStore(store, raw_key(read_key(store, None)), SystemClock())
    session = held.session()
    held.close()
    return session.access_token, session.refresh_token


def test_two_people_on_one_tablet(cloud: CloudProcess, tmp_path: Path) -> None:
    """By a QR's text a tablet enrols; each who logs in is the author of what is recorded then, and all of it arrives."""
    qr = cloud.command("code", "--for", "device", "--site", "South")["url"]
    store = tmp_path / "shared"
    status, enrolled = run(store, "enroll", "--code", qr, "--name", "Room 2")
    assert (status, enrolled["clinic_id"], enrolled["target"]) == (0, cloud.clinic_id, cloud.url)
    payload = ("--type", "Patient", "--op", "create", "--payload", '{"resourceType":"Patient"}')
    assert run(store, "record", *payload)[0] == 2  # whose would it be?
    authors = []
    for email in (NURSE, DOCTOR):
        status, who = run(
            store, "login", "--email", email, "--password-file", "-", text=cloud.password_file.read_text()
        )
        assert (status, who["email"], who["roles"]) == (0, email, ["clinician"])
        authors.append(who["user_id"])
        assert run(store, "record", *payload)[0] == 0
    assert run(store, "sync")[1]["accepted"] == 2
    elsewhere = EnrolledTablet(tmp_path / "elsewhere", cloud, cloud, "North", DOCTOR)
    elsewhere.sync()
    assert [op["user_id"] for op in elsewhere.ask("log")["ops"]] == authors


def test_who_is_not_let_in(cloud: CloudProcess, tablet: EnrolledTablet, tmp_path: Path) -> None:
    """A wrong password, another clinic's fingerprint and a code that was used are told by code, and change nothing."""
    wrong = tmp_path / "wrong"
    wrong.write_text("not the password at all\n")
    status, told = run(tablet.store, "login", "--email", NURSE, "--password-file", wrong)
    assert (status, told["code"]) == (1, "credentials_invalid")
    tablet.sync()
    code = cloud.code("device", "North")
    assert run(tmp_path / "a", "enroll", "--code", code, "--server", cloud.url)[0] == 0
    status, told = run(tmp_path / "b", "enroll", "--code", code, "--server", cloud.url)
    assert (status, told["code"]) == (1, "code_invalid")
    status, told = run(tmp_path / "c", "enroll", "--code", "7KQ2M9XF")
    assert (status, told["code"]) == (2, "configuration")
    status, told = run(tmp_path / "a", "enroll", "--code", code, "--server", cloud.url)
    assert (status, told["code"]) == (2, "configuration")


def test_a_session_outlives_its_tokens_and_lost_answers(cloud: CloudProcess, tablet: EnrolledTablet) -> None:
    """Tokens are exchanged when they are due; an exchange whose answer is lost is made again, and costs nobody a login."""
    first = tokens(tablet.store)
    changed(tablet.store, token_ends_ms=1)
    tablet.record("After-the-token")
    assert tablet.sync()["accepted"] == 1
    second = tokens(tablet.store)
    assert first[0] != second[0]
    assert first[1] != second[1]
    with CuttingRelay(cloud.port) as relay:
        changed(tablet.store, token_ends_ms=1, server_url=relay.url)
        relay.cut = 1
        tablet.sync()  # it asks again by itself
        assert relay.lost == 1
        third = tokens(tablet.store)
        assert third[1] not in {first[1], second[1]}
        changed(tablet.store, token_ends_ms=1)
        tablet.sync()
        assert tokens(tablet.store)[1] != third[1]


def test_an_enrolment_whose_answer_is_lost(cloud: CloudProcess, tmp_path: Path) -> None:
    """The same command once more gives the device that the code was good for."""
    code = cloud.code("device", "North")
    with CuttingRelay(cloud.port) as relay:
        relay.cut = 1
        status, told = run(tmp_path / "d", "enroll", "--code", code, "--server", relay.url)
        assert (status, told["code"], relay.lost) == (1, "unreachable", 1)
        assert run(tmp_path / "d", "enroll", "--code", code, "--server", relay.url)[0] == 0


def test_a_stolen_session_ends_for_both(tablet: EnrolledTablet, tmp_path: Path) -> None:
    """Who takes a copy's old token after its successor was used ends the session; recording goes on, a login mends it."""
    tablet.sync()
    thief = tmp_path / "thief"
    shutil.copytree(tablet.store, thief)
    shutil.copy(tablet.store.with_name("tablet.key"), thief.with_name("thief.key"))
    for _ in range(2):  # its successor has been used
        changed(tablet.store, token_ends_ms=1)
        tablet.sync()
    changed(thief, token_ends_ms=1)
    status, told = run(thief, "sync")
    assert (status, told["code"]) == (1, "session_revoked")
    changed(tablet.store, token_ends_ms=1)
    status, told = run(tablet.store, "sync")
    assert (status, told["code"]) == (1, "session_revoked")
    assert "log in again" in told["hint"]
    tablet.record("While-nobody-was-logged-in")
    status, told = run(tablet.store, "sync")
    assert (status, told["code"]) == (1, "login_needed")
    tablet.login()
    assert tablet.sync()["accepted"] == 1


def test_a_device_that_was_revoked(cloud: CloudProcess, tablet: EnrolledTablet) -> None:
    """It is told so, and what is recorded there stays there."""
    tablet.sync()
    cloud.command("device", "revoke", "--device", tablet.device_id)
    tablet.record("Nobody-will-know")
    status, told = run(tablet.store, "sync")
    assert (status, told["code"]) == (1, "session_revoked")
    assert tablet.status()["here"] == 1


def test_logging_out(cloud: CloudProcess, tablet: EnrolledTablet, tmp_path: Path) -> None:
    """After a logout the cloud takes neither token any more, and the next login carries on what was recorded."""
    tablet.record("Before")
    copy = tmp_path / "copy"
    shutil.copytree(tablet.store, copy)
    shutil.copy(tablet.store.with_name("tablet.key"), copy.with_name("copy.key"))
    assert run(tablet.store, "logout")[1] == {"logged_out": True, "server_told": True}
    assert run(tablet.store, "sync")[1]["code"] == "login_needed"
    status, told = run(copy, "sync")
    assert (status, told["code"]) == (1, "session_revoked")
    tablet.login()
    assert tablet.sync()["accepted"] == 1


def test_signed_ops(cloud: CloudProcess, tablet: EnrolledTablet, tmp_path: Path) -> None:
    """Where the clinic comes to want signatures, also what was recorded before is signed, by the enrolled key."""
    tablet.record("Before")
    cloud.command("clinic", "config", "set", "require_signed_ops", "true")
    try:
        tablet.record("After")
        assert tablet.sync()["accepted"] == 2
        elsewhere = EnrolledTablet(tmp_path / "elsewhere", cloud, cloud, "South", DOCTOR)
        elsewhere.sync()
        signed = [op for op in elsewhere.ask("log", "--limit", "1000")["ops"] if op.get("signature")]
        assert len(signed) == 2
    finally:
        cloud.command("clinic", "config", "set", "require_signed_ops", "false")
