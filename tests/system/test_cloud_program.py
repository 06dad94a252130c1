"""`medxz-cloud run` as real processes, on files and on a PostgreSQL: what it serves, what it hears, how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import trustme

from medxz import limits
from tests.postgres import run_sql, start_server, stop_server
from tests.system.cloud_process import TIMEOUT_S, Desk, Relay, cloud_command
from tests.system.hub_process import wait_until
from tests.system.world import ADMIN, IDS, NURSE, PASSWORD

pytestmark = pytest.mark.slow


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> str | None:
    """None for files."""
    return None if request.param == "sqlite" else new_database(request.getfixturevalue("postgres_url"))


@pytest.fixture
def make_relay(tmp_path: Path) -> Iterator[Callable[..., Relay]]:
    """Makes relays of one cloud, and ends them with the test."""
    made: list[Relay] = []

    def make(name: str = "cloud", database: str | None = None) -> Relay:
        made.append(Relay(tmp_path, name, database))
        return made[-1]

    yield make
    for relay in made:
        relay.end()


@pytest.fixture
def relay(make_relay: Callable[..., Relay], database: str | None) -> Relay:
    """A cloud with one clinic, serving."""
    made = make_relay(database=database)
    made.init("North", "South")
    return made.start()


def new_database(url: str) -> str:
    name = f"t{IDS.uuid7().replace('-', '')}"
    asyncio.run(run_sql(url, f"CREATE DATABASE {name}"))
    return url.replace("/postgres?", f"/{name}?")


def add_nurse(relay: Relay) -> None:
    relay.ask(
        "user", "add", "--email", NURSE, "--name", "Nora", "--role", "clinician", "--password-file", "-",
        text=PASSWORD,
    )  # fmt: skip


class Stream:
    """A stream that is read in a thread of its own."""

    def __init__(self, desk: Desk, relay: Relay) -> None:
        self.op_ids: list[str] = []
        self.ended = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(desk, relay), daemon=True)
        self.status = 0
        self._thread.start()
        wait_until(lambda: self.status != 0, "the stream")

    def _read(self, desk: Desk, relay: Relay) -> None:
        with httpx.Client(timeout=TIMEOUT_S) as client:
            try:
                with client.stream("GET", f"{relay.url}/v1/sync/stream", headers=desk.headers) as told:
                    self.status = told.status_code
                    is_ops = False
                    for line in told.iter_lines():
                        if line.startswith("event:"):
                            is_ops = line == "event: ops"
                        elif is_ops and line.startswith("data:"):
                            self.op_ids += [str(op["op_id"]) for op in json.loads(line[5:])]
            except httpx.HTTPError:
                pass
        self.ended.set()


def test_a_device_from_its_code_to_its_ops(relay: Relay) -> None:
    """A code lets a device in, a person logs in at it, and what it pushes is what it pulls; then all of it is audited."""
    desk = Desk(relay)
    pushed = desk.push(5)
    assert desk.pulled() == pushed
    targets = desk.get("/v1/config").json()["targets"]
    assert [(target["kind"], target["url"]) for target in targets] == [("cloud", relay.url)]
    status = desk.get("/v1/sync/status").json()
    assert (status["received_through"], status["cloud_through"]) == (5, 5)
    entity_id = desk.get("/v1/sync/pull").json()["ops"][0]["entity_id"]
    assert desk.get(f"/v1/entities/Observation/{entity_id}").status_code == 200

    def events() -> set[str]:
        return {str(entry["event"]) for entry in desk.get("/v1/audit").json()["entries"]}

    wait_until(lambda: "read" in events(), "what was read to be noted")
    assert {"clinic_added", "user_added", "code_made", "enrolled", "login"} <= events()
    assert desk.get("/v1/audit/verify").json()["ok"]


def test_a_code_leads_to_where_it_serves(relay: Relay) -> None:
    """A code's text leads to the running cloud, and to its public URL where it has one."""
    told = relay.ask("code", "--for", "device", "--site", "North")
    assert told["url"] == f"{relay.url}/#c={told['code']}&fp={told['fp']}"
    relay.end(signal.SIGTERM)
    relay.start("--public-url", "https://cloud.example")
    assert relay.ask("code", "--for", "hub", "--site", "South")["url"].startswith("https://cloud.example/#c=")
    assert Desk(relay).get("/v1/config").json()["targets"][0]["url"] == "https://cloud.example"


def test_who_is_disabled_is_out_at_once(relay: Relay) -> None:
    """A person disabled by a command loses their session, their stream and the way back in; others stay."""
    add_nurse(relay)
    boss, nurse = Desk(relay), Desk(relay, email=NURSE)
    stream = Stream(nurse, relay)
    relay.ask("user", "disable", "--email", NURSE)
    assert stream.ended.wait(TIMEOUT_S)
    wait_until(lambda: nurse.get("/v1/sync/status").status_code == 401, "the end of the session")
    assert nurse.get("/v1/sync/status").json()["code"] == "session_revoked"
    refused = nurse.post(
        "/v1/auth/login", {"email": NURSE, "password": PASSWORD, "device_id": nurse.device_id}, token=None
    )
    assert (refused.status_code, refused.json()["code"]) == (401, "credentials_invalid")
    assert boss.get("/v1/sync/status").status_code == 200
    relay.ask("user", "disable", "--email", NURSE, "--undo")
    nurse.login(NURSE)
    assert nurse.push()


def test_a_revoked_device_is_out_at_once(relay: Relay) -> None:
    """A device revoked by a command gets nothing more."""
    desk = Desk(relay)
    relay.ask("device", "revoke", "--device", desk.device_id)
    wait_until(lambda: desk.get("/v1/sync/pull").status_code == 401, "the end of the device")
    [listed] = relay.ask("device", "list")["devices"]
    assert (listed["device_id"], listed["revoked"]) == (desk.device_id, True)


def test_a_revoked_session_is_over(relay: Relay) -> None:
    """A session ended by a command is over at once; its person logs in again on the same device."""
    desk = Desk(relay)
    [session] = relay.ask("session", "list")["sessions"]
    assert (session["device_id"], session["revoked"]) == (desk.device_id, False)
    relay.ask("session", "revoke", "--session", session["session_id"])
    wait_until(lambda: desk.get("/v1/sync/pull").status_code == 401, "the end of the session")
    desk.login()
    assert desk.push()


def test_clinics_are_apart(relay: Relay) -> None:
    """A second clinic has people, devices and ops of its own, and none of the first one's."""
    one = Desk(relay)
    theirs = relay.ask(
        "clinic", "add", "--clinic", "Hillside", "--site", "North", "--admin-email", ADMIN,
        "--admin-password-file", "-", text=PASSWORD,
    )  # fmt: skip
    first = next(clinic for clinic in relay.ask("clinic", "list")["clinics"] if clinic["name"] == "Riverside")
    assert one.clinic_id == first["clinic_id"]
    other = Desk(relay, "--clinic", theirs["clinic_id"])
    assert other.clinic_id == theirs["clinic_id"]
    ours, of_others = one.push(3), other.push(2)
    assert (one.pulled(), other.pulled()) == (ours, of_others)
    strange = one.an_op() | {"clinic_id": other.clinic_id}
    [result] = one.post("/v1/sync/push", {"ops": [strange]}).json()["results"]
    assert (result["status"], result["code"]) == ("rejected", "wrong_clinic")
    unnamed = cloud_command("user", "list", "--data", relay.data, *relay.where, "--json")
    assert unnamed.returncode == 2
    assert "--clinic" in unnamed.stderr


def test_a_kill_takes_nothing_with_it(relay: Relay) -> None:
    """What was acknowledged before a kill is there after the next start, with its session and its numbers."""
    desk = Desk(relay)
    pushed = desk.push(20)
    relay.end(signal.SIGKILL)
    relay.start()
    assert desk.pulled() == pushed
    assert desk.get("/v1/sync/status").json()["received_through"] == 20
    assert desk.push()


def test_it_stops_in_time_under_load(relay: Relay) -> None:
    """Told to end while devices push, it ends in time with status 0, and every acknowledged op is there afterwards."""
    desks = [Desk(relay) for _ in range(3)]
    acknowledged: list[str] = []
    stopping = threading.Event()

    def push(desk: Desk) -> None:
        while not stopping.is_set():
            try:
                acknowledged.extend(desk.push(20))
            except (httpx.HTTPError, AssertionError):
                return

    pushing = [threading.Thread(target=push, args=(desk,)) for desk in desks]
    stream = Stream(desks[0], relay)
    for thread in pushing:
        thread.start()
    wait_until(lambda: len(acknowledged) >= 200, "pushes")
    begun = time.monotonic()
    status = relay.end(signal.SIGTERM)
    took_s = time.monotonic() - begun
    stopping.set()
    for thread in pushing:
        thread.join(TIMEOUT_S)
    assert stream.ended.wait(TIMEOUT_S)
    assert status == 0
    assert took_s < limits.SHUTDOWN_S_MAX + 1  # the process has to be gone too
    relay.start()
    assert set(acknowledged) <= set(desks[0].pulled())


@pytest.fixture
def own_postgres() -> Iterator[Path]:
    """The folder of a PostgreSQL that a test may stop; a place that its own user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="medxz-pg-own-", dir="/tmp"))
    yield folder
    stop_server(folder)
    shutil.rmtree(folder, ignore_errors=True)


def test_it_stops_in_time_without_its_database(make_relay: Callable[..., Relay], own_postgres: Path) -> None:
    """A database that hangs keeps nobody waiting for the stop, and what was acknowledged is in it afterwards."""
    relay = make_relay(database=start_server(own_postgres))
    relay.init()
    desk = Desk(relay.start())
    pushed = desk.push(3)
    server = int((own_postgres / "postmaster.pid").read_text().split()[0])
    hung = [server, *map(int, Path(f"/proc/{server}/task/{server}/children").read_text().split())]
    for pid in hung:
        os.kill(pid, signal.SIGSTOP)
    try:
        asking = threading.Thread(target=lambda: _ignored(desk.push), daemon=True)
        asking.start()
        health = httpx.get(f"{relay.url}/health", timeout=TIMEOUT_S).json()
        assert not health["ok"]
        begun = time.monotonic()
        relay.end(signal.SIGTERM)
        assert time.monotonic() - begun < limits.SHUTDOWN_S_MAX + 1
    finally:
        for pid in hung:
            os.kill(pid, signal.SIGCONT)
    asking.join(TIMEOUT_S)
    relay.start()
    assert desk.pulled()[:3] == pushed
    relay.end(signal.SIGTERM)


def _ignored(push: Callable[[], object]) -> None:
    with suppress(httpx.HTTPError, AssertionError):
        push()


def test_one_process_serves_a_directory(relay: Relay) -> None:
    """A second process on the same directory is refused, and the first one goes on."""
    second = cloud_command("run", "--data", relay.data, *relay.where, "--plain-http", "--port", "0", "--json")
    assert second.returncode == 1
    assert json.loads(second.stderr.splitlines()[-1])["code"] == "in_use"
    assert httpx.get(f"{relay.url}/health/live").status_code == 200


def test_health_and_figures(relay: Relay) -> None:
    """/health answers for the database and all clinics, and /metrics counts over all of them."""
    Desk(relay).push(3)
    health = httpx.get(f"{relay.url}/health").json()
    assert health["ok"], health
    assert {"writer", "database", "disk", "integrity", "views"} == {
        check["name"] for check in health["checks"]
    }
    figures = httpx.get(f"{relay.url}/metrics").text
    assert "medxz_open_clinics 1.0" in figures
    assert 'medxz_pushed_ops_total{status="accepted"} 3.0' in figures


def test_pages_of_other_places_ask_where_it_is_allowed(relay: Relay) -> None:
    """Origins that were set are told that they may ask; by default nobody is."""
    origin = {"Origin": "https://app.example"}
    assert "access-control-allow-origin" not in httpx.get(f"{relay.url}/v1/info", headers=origin).headers
    relay.end(signal.SIGTERM)
    relay.start("--cors-origin", "https://app.example")
    allowed = httpx.get(f"{relay.url}/v1/info", headers=origin).headers
    assert allowed["access-control-allow-origin"] == "https://app.example"


def test_a_clinic_that_went_back_begins_an_epoch_for_all(make_relay: Callable[..., Relay]) -> None:
    """Files that were put back to an earlier state are found by a cursor, and every clinic gets the new epoch."""
    relay = make_relay()
    relay.init()
    relay.start()
    one = Desk(relay)
    hillside = relay.ask(
        "clinic", "add", "--clinic", "Hillside", "--site", "North", "--admin-email", ADMIN,
        "--admin-password-file", "-", text=PASSWORD,
    )["clinic_id"]  # fmt: skip
    other = Desk(relay, "--clinic", hillside)
    one.push(2)
    other.push(1)
    relay.end(signal.SIGTERM)
    log = relay.data / "clinics" / one.clinic_id / "log.db"
    earlier = log.read_bytes()
    relay.start()
    epoch = httpx.get(f"{relay.url}/v1/info").json()["epoch"]
    lost = one.push(3)
    cursor = one.get("/v1/sync/pull").json()["next_cursor"]
    theirs = other.get("/v1/sync/pull").json()["next_cursor"]
    relay.end(signal.SIGTERM)
    log.write_bytes(earlier)
    relay.start()
    refused = one.get(f"/v1/sync/pull?cursor={cursor}")
    assert (refused.status_code, refused.json()["code"]) == (409, "cursor_epoch_changed")
    assert httpx.get(f"{relay.url}/v1/info").json()["epoch"] != epoch
    assert other.get(f"/v1/sync/pull?cursor={theirs}").json()["code"] == "cursor_epoch_changed"
    assert not set(lost) & set(one.pulled())


def test_its_own_root_is_trusted_when_it_was_told(make_relay: Callable[..., Relay], tmp_path: Path) -> None:
    """Without a certificate of the operator's it serves by its own root, and `ca show` gives that to clients."""
    relay = make_relay()
    relay.init()
    relay.start(tls=True)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{relay.url}/v1/info")
    root = tmp_path / "root.pem"
    root.write_text(relay.ask("ca", "show")["ca_certificate"])
    told = httpx.get(f"{relay.url}/v1/info", verify=ssl.create_default_context(cafile=str(root)))
    assert told.json()["kind"] == "cloud"


def test_the_operators_certificate_is_served(make_relay: Callable[..., Relay], tmp_path: Path) -> None:
    """With --tls-cert and --tls-key it shows that certificate."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    issued.private_key_pem.write_to_path(str(key))
    chain.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    relay = make_relay()
    relay.init()
    relay.start("--tls-cert", chain, "--tls-key", key, tls=True)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    assert httpx.get(f"{relay.url}/v1/info", verify=trusting).status_code == 200


@pytest.fixture
def two_relays(make_relay: Callable[..., Relay], postgres_url: str) -> tuple[Relay, Relay]:
    """Two processes of one cloud; the second one's directory was never made."""
    database = new_database(postgres_url)
    first, second = make_relay("first", database), make_relay("second", database)
    first.init("North")
    return first.start(), second.start()


def test_relays_of_one_database_are_one_cloud(two_relays: tuple[Relay, Relay]) -> None:
    """An op pushed to one relay is in the other's stream; sessions, devices and lists are good at both."""
    first, second = two_relays
    desk = Desk(first)
    stream = Stream(desk, second)
    pushed = desk.push(3)
    wait_until(lambda: stream.op_ids == pushed, "the ops at the other relay")
    assert desk.pulled(second) == pushed
    infos = [httpx.get(f"{relay.url}/v1/info").json() for relay in two_relays]
    assert infos[0]["server_id"] == infos[1]["server_id"]
    assert infos[0]["epoch"] == infos[1]["epoch"]
    assert desk.get("/v1/entities/Observation", second).json()["entities"]
    first.ask("user", "passwd", "--email", ADMIN, "--password-file", "-", text="another walk by the river")
    wait_until(lambda: desk.get("/v1/sync/status", second).status_code == 401, "the session's end")


def test_a_relay_that_dies_leaves_the_cloud_to_the_other(two_relays: tuple[Relay, Relay]) -> None:
    """With one relay killed, the other has everything that it acknowledged, and takes its devices on."""
    first, second = two_relays
    desk = Desk(first)
    pushed = desk.push(10)
    first.end(signal.SIGKILL)
    assert desk.pulled(second) == pushed
    desk.relay = second
    assert desk.push()
    assert first.ask("audit", "verify")["ok"]


def test_a_relay_needs_the_clouds_key(two_relays: tuple[Relay, Relay], tmp_path: Path) -> None:
    """A relay with another key, or none, is refused, and the refusal says which key it needs."""
    first, _ = two_relays
    for content in (None, "ab" * 32 + "\n"):
        key = tmp_path / "wrong.key"
        if content is not None:
            key.write_text(content)
            key.chmod(0o600)
        refused = cloud_command(
            "run", "--data", tmp_path / "third", "--key-file", key, "--database", first.database,
            "--plain-http", "--port", "0",
        )  # fmt: skip
        assert refused.returncode == 1, refused.stderr
        assert "key" in refused.stderr
