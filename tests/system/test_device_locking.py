"""A tablet that is locked, one whose user has a narrow role, and a code that was typed: real programs, a real terminal."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medxz.clock import SystemClock
from medxz.device.device import raw_key
from medxz.device.keyfile import read_key
from medxz.device.store import DeviceStore
from medxz.device.store.locks import AUTO_LOCK_MS
from medxz.trust.certificates import to_compare
from tests.system.hub_process import DEADLINE_S, environment
from tests.system.terminal import Terminal
from tests.system.world import CLOUD, DEVICE, NURSE, PASSWORD, CloudProcess, EnrolledTablet, SiteHub

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("device-locking")]

DESK = "dora@clinic.example"
PATIENT = (
    "--type",
    "Patient",
    "--op",
    "create",
    "--payload",
    '{"resourceType":"Patient","name":[{"family":"Ott"}]}',
)
PULSE = ("--type", "Observation", "--op", "create", "--payload", '{"status":"final","code":{"text":"Pulse"}}')


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudProcess]:
    made = CloudProcess(tmp_path_factory.mktemp("locking"), "North")
    made.add_user(NURSE)
    made.add_user(DESK, "front_desk")
    yield made.start()
    made.end()


@pytest.fixture(scope="module")
def hub(cloud: CloudProcess) -> Iterator[SiteHub]:
    made = SiteHub(cloud.folder, cloud, "North")
    made.claim()
    made.url = f"https://127.0.0.1:{made.port}"
    made.run("--no-mdns", plain=False)
    yield made
    made.end()


@pytest.fixture
def tablet(tmp_path: Path, cloud: CloudProcess) -> EnrolledTablet:
    return EnrolledTablet(tmp_path / "tablet", cloud, cloud, "North", NURSE)


def command(store: Path, name: str, *arguments: object) -> list[object]:
    return [*DEVICE, name, "--store", store, *arguments]


def run(store: Path, name: str, *arguments: object, text: str | None = None) -> tuple[int, dict[str, Any]]:
    """A command's status, and what it told: its answer, or what is wrong."""
    done = subprocess.run(
        [*map(str, command(store, name, *arguments)), "--json"],
        env=environment(), capture_output=True, text=True, timeout=DEADLINE_S, check=False, input=text,
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout or done.stderr)


def unlock(store: Path, password: str = PASSWORD) -> tuple[int, dict[str, Any]]:
    return run(store, "unlock", "--password-file", "-", text=password + "\n")


def test_locked_and_opened_again(cloud: CloudProcess, tablet: EnrolledTablet) -> None:
    """Locked, it shows and records nothing and goes on syncing; with no server at hand its password opens it."""
    store = tablet.store
    assert run(store, "record", *PATIENT)[0] == 0
    assert run(store, "lock") == (0, {"locked": True})
    for refused in (
        ("record", *PATIENT),
        ("list", "Patient"),
        ("search", "Ott"),
        ("log",),
        ("conflicts",),
        ("logout",),
    ):
        status, told = run(store, *refused)
        assert (status, told["code"]) == (1, "locked"), refused
        assert "medxz unlock" in told["hint"]
    assert run(store, "sync")[1]["accepted"] == 1
    status, told = run(store, "status")
    assert (status, told["locked"], told["cloud"]) == (0, True, 1)
    cloud.end()
    try:
        status, told = run(store, "login", "--email", DESK, "--password-file", cloud.password_file)
        assert (status, told["code"]) == (1, "unreachable")
        assert "needs a server" in told["hint"]
        status, told = unlock(store, "not the password at all")
        assert (status, told["code"]) == (1, "password_wrong")
        assert unlock(store) == (0, {"locked": False})
        assert len(run(store, "search", "Ott")[1]["entities"]) == 1
    finally:
        cloud.start()


def test_each_process_waits(tablet: EnrolledTablet) -> None:
    """Wrong passwords make the next one wait, the right one too, whichever process asks."""
    run(tablet.store, "lock")
    codes = [unlock(tablet.store, "not the password at all")[1]["code"] for _ in range(4)]
    assert codes == ["password_wrong"] * 3 + ["try_later"]
    assert unlock(tablet.store)[1]["code"] == "try_later"


def test_an_hour_without_use(tablet: EnrolledTablet) -> None:
    """A tablet that nobody used for an hour is locked; that it synced does not count."""
    store = tablet.store
    run(store, "record", *PATIENT)
    held = DeviceStore(store, raw_key(read_key(store, None)), SystemClock())
    with held._file.transaction() as connection:
        connection.execute("UPDATE locking SET used_ms = used_ms - ?", (AUTO_LOCK_MS,))
    held.close()
    assert run(store, "sync")[0] == 0
    assert run(store, "show", "Patient", tablet.device_id)[1]["code"] == "locked"
    assert unlock(store)[0] == 0
    assert run(store, "list", "Patient")[0] == 0


def test_beside_a_watch(cloud: CloudProcess, tablet: EnrolledTablet, tmp_path: Path) -> None:
    """While `watch` holds the store it can be locked and unlocked; it tells what comes, and payloads only when open."""
    other = EnrolledTablet(tmp_path / "other", cloud, cloud, "North", NURSE)
    watching = subprocess.Popen(
        [*map(str, command(tablet.store, "watch", "--payload", "--json"))],
        env=environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with watching:
        assert watching.stdout is not None
        events = map(json.loads, iter(watching.stdout.readline, ""))
        while next(events)["event"] != "live":
            pass
        payloads = []
        for locked in (True, False):
            assert (run(tablet.store, "lock") if locked else unlock(tablet.store))[0] == 0
            op_id = other.record("Ott")
            other.sync()
            arrived = next(event for event in events if event.get("op_id") == op_id)
            payloads.append(arrived["payload"])
            assert run(tablet.store, "list", "Patient")[0] == (1 if locked else 0)
        watching.kill()
    assert payloads[0] is None
    assert payloads[1]["name"] == [{"family": "Ott"}]


def test_the_password_on_a_terminal(tablet: EnrolledTablet) -> None:
    """A person is asked for the password, which is not shown; without a terminal the command says what it wants."""
    run(tablet.store, "lock")
    assert run(tablet.store, "unlock", text="")[0] == 2
    with Terminal(command(tablet.store, "unlock")) as terminal:
        terminal.until("password")
        terminal.type(PASSWORD)
        assert terminal.ended() == 0
        assert PASSWORD not in terminal.said
    assert run(tablet.store, "status")[1]["locked"] is False


def test_a_front_desk_at_a_full_tablet(cloud: CloudProcess, tablet: EnrolledTablet) -> None:
    """Who has that role sees and records its types alone, also when an administrator gives the role meanwhile."""
    store = tablet.store
    run(store, "record", *PATIENT)
    pulse = run(store, "record", *PULSE)[1]["entity_id"]
    run(store, "login", "--email", DESK, "--password-file", cloud.password_file)
    assert {op["entity_type"] for op in run(store, "log")[1]["ops"]} == {"Patient"}
    assert run(store, "record", *PATIENT)[0] == 0
    for refused in (("list", "Observation"), ("show", "Observation", pulse), ("record", *PULSE)):
        status, told = run(store, *refused)
        assert (status, told["code"]) == (1, "forbidden"), refused
    assert run(store, "sync")[1]["accepted"] == 3  # the nurse's pulse too
    assert run(store, "login", "--email", NURSE, "--password-file", cloud.password_file)[0] == 0
    assert len(run(store, "list", "Observation")[1]["entities"]) == 1


def test_a_typed_code_is_compared(cloud: CloudProcess, hub: SiteHub, tmp_path: Path) -> None:
    """Through a hub a typed code goes out after a yes to the characters that stand by it; then somebody logs in there."""
    told = cloud.command("code", "--for", "device", "--site", "North")
    characters = to_compare(told["fp"])
    store = tmp_path / "typed"
    enroll = command(store, "enroll", "--code", told["code"], "--server", hub.url)
    done = subprocess.run(
        list(map(str, enroll)),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 2
    assert f"--fp '{characters}'" in done.stderr
    with Terminal(enroll) as terminal:
        terminal.until("[y/N]")
        assert characters in terminal.said
        terminal.type("")
        assert terminal.ended() == 1
        assert "not sent" in terminal.said
    with Terminal(enroll) as terminal:
        terminal.until("[y/N]")
        terminal.type("y")
        assert terminal.ended() == 0, terminal.said
    assert run(store, "login", "--email", NURSE, "--password-file", cloud.password_file)[0] == 0
    assert run(store, "record", *PATIENT)[0] == 0
    assert run(store, "sync")[1]["accepted"] == 1


def test_the_characters_are_given(cloud: CloudProcess, hub: SiteHub, tmp_path: Path) -> None:
    """What the cloud prints beside a code is what `--fp` takes; other characters send nothing."""
    made = subprocess.run(
        [*CLOUD, "code", "--data", str(cloud.data), "--for", "device", "--site", "North"],
        env=environment(), capture_output=True, text=True, timeout=DEADLINE_S, check=True,
    ).stdout  # fmt: skip
    code, characters = made.split()[0], made.strip().rpartition(": ")[2]
    assert len(characters) == 19
    wrong = "0000 " + characters[5:]
    status, told = run(tmp_path / "d", "enroll", "--code", code, "--server", hub.url, "--fp", wrong)
    assert (status, "not sent" in told["message"]) == (1, True)
    assert run(tmp_path / "d", "enroll", "--code", code, "--server", hub.url, "--fp", characters)[0] == 0


def test_no_token_in_the_clear(tablet: EnrolledTablet, tmp_path: Path) -> None:
    """A device takes no address of another machine without TLS, for a token or for a code."""
    held = DeviceStore(tablet.store, raw_key(read_key(tablet.store, None)), SystemClock())
    token = held.session().access_token
    held.close()
    for name, *arguments in (("init", "--token", token), ("enroll", "--code", "7KQ2M9XF")):
        status, told = run(tmp_path / "d", name, *arguments, "--server", "http://192.0.2.1:8443")
        assert (status, told["code"]) == (2, "configuration")
    assert not (tmp_path / "d").exists()
