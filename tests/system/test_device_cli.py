"""`medxz` as real processes against a real hub: what a clinician's device does on a day without misfortunes."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.system.hub_process import DEADLINE_S, HubProcess, answer, wait_until
from tests.system.tablet import PROGRAM, USER, Tablet


@pytest.fixture
def second(hub: HubProcess, tmp_path: Path) -> Iterator[Tablet]:
    tablet = Tablet(tmp_path / "second", hub).begin()
    yield tablet
    tablet.end()


def test_from_one_device_to_another(first: Tablet, second: Tablet) -> None:
    """An op goes from one device over the hub to another, its payload byte for byte, and its answer follows it back."""
    created = first.record('{"resourceType":"Patient","n":120.50,"digits":12345678901234567890123}')
    assert created.keys() == {"op_id", "entity_id", "device_seq"}
    assert created["device_seq"] == 1
    assert first.ask("status")["here"] == 1
    done = first.ask("sync")
    assert (done["accepted"], done["here"], done["hub"], done["cloud"]) == (1, 0, 1, 0)
    second.ask("sync")
    text = second.run("log", "--json", "--limit", "10000").stdout
    assert '"payload":{"resourceType":"Patient","n":120.50,"digits":12345678901234567890123}' in text
    update = second.record('{"n":121}', "--op", "update", "--id", created["entity_id"])
    second.ask("sync")
    first.ask("sync")
    ops = {op["op_id"]: op for op in first.ask("log", "--limit", "10000")["ops"]}
    assert ops[update["op_id"]]["parents"] == [created["op_id"]]
    assert ops[created["op_id"]]["safe"] == "hub"
    told = first.ask("status")
    assert {name: told[name] for name in ("here", "hub", "cloud", "parked", "open_conflicts")} == {
        "here": 0, "hub": 1, "cloud": 0, "parked": 0, "open_conflicts": 0,
    }  # fmt: skip
    assert told["target"] == first.hub.url


def test_the_log_in_pages(first: Tablet) -> None:
    """--limit and --after show every op once."""
    made = [first.record(f'{{"n":{number}}}')["op_id"] for number in range(3)]
    page = first.ask("log", "--limit", "2")
    rest = first.ask("log", "--limit", "2", "--after", page["next_cursor"])
    assert [op["op_id"] for op in page["ops"] + rest["ops"]] == made
    assert rest["next_cursor"] is None
    shown = first.run("log", "--limit", "2")
    assert len(shown.stdout.splitlines()) == 2
    assert "--after" in shown.stderr


def test_an_unlawful_payload_is_not_recorded(first: Tablet) -> None:
    """What is wrong with a payload is told by path, before anything is queued, and its values are not repeated."""
    payload = '{"status":"Mbeki","code":{"text":"Pulse"},"valueQuantity":{"value":"72"}}'
    done = first.run("record", "--type", "Observation", "--op", "create", "--payload", payload, "--json")
    told = json.loads(done.stderr)
    assert (done.returncode, told["code"]) == (2, "invalid")
    assert [problem["path"] for problem in told["problems"]] == ["status", "valueQuantity.value"]
    assert "Mbeki" not in done.stdout + done.stderr
    assert first.ask("status")["here"] == 0


def test_what_arrives_while_watching(first: Tablet, second: Tablet) -> None:
    """`watch` shows an op that another device pushes, and ends with status 0 when it is interrupted."""
    watching, events = second.watch()
    made = first.record('{"secret":"Mbeki"}')
    first.ask("sync")
    arrived = next(event for event in events if event.get("op_id") == made["op_id"])
    assert arrived["event"] == "op"
    assert "payload" not in arrived
    watching.send_signal(signal.SIGINT)
    _, errors = watching.communicate(timeout=DEADLINE_S)
    assert watching.returncode == 0, errors
    assert "Mbeki" not in errors


def test_what_the_hub_rejects_is_parked(first: Tablet) -> None:
    """An op that is rejected for good is shown with its code, and holds nothing up."""
    # a role may not write what the front desk does not hold
    token = answer(
        "token", "--data", first.hub.data, "--device", first.device_id, "--user", USER, "--role", "front_desk"
    )["access_token"]
    condition = '{"subject":{"display":"Mbeki"}}'
    bad = first.ask("record", "--type", "Condition", "--op", "create", "--payload", condition)
    first.ask("init", "--server", first.hub.url, "--token", token)
    good = first.record('{"n":1}')
    done = first.ask("sync")
    assert (done["rejected"], done["accepted"]) == (1, 1)
    told = first.ask("status")
    assert (told["parked"], told["hub"], told["here"]) == (1, 1, 0)
    assert [(op["op_id"], op["code"]) for op in told["parked_ops"]] == [(bad["op_id"], "forbidden")]
    assert good["op_id"] not in str(told["parked_ops"])
    shown = first.run("status")
    assert "forbidden" in shown.stdout
    assert "Mbeki" not in shown.stdout + shown.stderr


def test_a_copied_device_becomes_another(first: Tablet, tmp_path: Path) -> None:
    """A store that was copied, and goes on in both places, loses nothing: the second one gets an id of its own."""
    first.record('{"n":1}')
    copy = Tablet(tmp_path / "copy", first.hub, first.device_id)
    shutil.copytree(first.store, copy.store)
    shutil.copy(f"{first.store}.key", f"{copy.store}.key")
    first.record('{"by":"first"}')
    first.ask("sync")
    made = copy.record('{"by":"copy"}')
    done = copy.ask("sync")
    assert done["recorded_again"] == 1
    told = copy.ask("status")
    assert told["device_id"] != first.device_id
    assert (told["here"], told["hub"]) == (0, 1)
    first.ask("sync")
    ops = first.ask("log", "--limit", "10000")["ops"]
    payloads = [op["payload"] for op in ops if op["entity_id"] == made["entity_id"]]
    assert payloads == [{"by": "copy"}]


def test_over_tls_with_the_hubs_own_ca(tmp_path: Path) -> None:
    """With --ca the device takes the hub's own certificate; without it, nothing is sent."""
    hub = HubProcess(tmp_path).start("--no-mdns")
    try:
        ca = tmp_path / "ca.pem"
        ca.write_text(answer("ca", "--data", hub.data)["ca_certificate"])
        tablet = Tablet(tmp_path / "tablet", hub)
        token = hub.token(tablet.device_id, USER)
        tablet.ask("init", "--server", hub.url, "--token", token)
        tablet.record('{"n":1}')
        refused = tablet.run("sync")
        assert refused.returncode == 1
        assert "certificate" in refused.stderr.lower()
        assert "--ca" in refused.stderr, "what to do about it"
        tablet.ask("init", "--server", hub.url, "--token", token, "--ca", ca)
        assert tablet.ask("sync")["accepted"] == 1
    finally:
        hub.kill()


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("sync",), 1, "medxz init"),
        (("record", "--type", "Patient", "--op", "create", "--payload", "{}"), 1, "medxz init"),
        (("log", "--limit", "0"), 2, "--help"),
        (("record",), 2, "--help"),
        (("init", "--server", "http://127.0.0.1:1", "--token", "nonsense"), 2, "JWT"),
    ],
)
def test_failures_are_told_in_a_line(
    hub: HubProcess, tmp_path: Path, arguments: tuple[str, ...], status: int, says: str
) -> None:
    """What fails ends with the status of its kind, a line and a hint on stderr, and no stack trace."""
    done = Tablet(tmp_path / "none", hub).run(*arguments)
    assert done.returncode == status
    assert says in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    assert done.stdout == ""


def test_bad_payloads_are_refused_with_their_field(first: Tablet) -> None:
    """What is no payload is refused before it is recorded, and its text is not repeated."""
    for payload in ("not json Mbeki", "[1]", '{"a":1,"a":"Mbeki"}', '{"a":NaN}', '{"a":"\\ud800"}'):
        done = first.run("record", "--type", "Patient", "--op", "create", "--payload", payload)
        assert done.returncode == 2
        assert "payload" in done.stderr
        assert "Mbeki" not in done.stderr
    assert first.ask("log")["ops"] == []


def test_a_payload_from_a_file(first: Tablet, tmp_path: Path) -> None:
    """A file may be written over several lines; nothing but the line breaks between its members is left out."""
    file = tmp_path / "payload.json"
    file.write_text('{\n\t"n": 120.50,\n\t"text": "a\\tb"\n}\n')
    first.ask("record", "--type", "Patient", "--op", "create", "--payload", f"@{file}")
    assert '"payload":{"n": 120.50,"text": "a\\tb"}' in first.run("log", "--json").stdout


def test_no_server_there(first: Tablet) -> None:
    """Without a server recording goes on, and sync says what is the matter in a line and a hint."""
    token = first.hub.token(first.device_id, USER)
    first.ask("init", "--server", "http://127.0.0.1:1", "--token", token)
    first.record('{"n":1}')
    done = first.run("sync", "--json")
    assert done.returncode == 1
    told = json.loads(done.stderr)
    assert told["code"] == "unreachable"
    assert told["hint"]
    assert first.ask("status")["here"] == 1


class NeedsTheCloud(BaseHTTPRequestHandler):
    """A server that can do nothing of it by itself."""

    def do_GET(self) -> None:
        body = json.dumps(
            {
                "type": "about:blank", "title": "This needs the cloud", "status": 503, "detail": "offline",
                "code": "cloud_required", "request_id": "r",
            }
        ).encode()  # fmt: skip
        self.send_response(503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *told: object) -> None:
        """Nothing: the test says what it needs."""


def test_what_needs_the_cloud(first: Tablet) -> None:
    """What a server can't do without the cloud ends with status 3, at once."""
    with ThreadingHTTPServer(("127.0.0.1", 0), NeedsTheCloud) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        first.ask("init", "--server", url, "--token", first.hub.token(first.device_id, USER))
        done = first.run("sync", "--json")
        server.shutdown()
    assert done.returncode == 3
    assert json.loads(done.stderr)["code"] == "cloud_required"


def test_an_ended_token(first: Tablet) -> None:
    """A token that has ended is told as that, with what to do."""
    ended = answer(
        "token", "--data", first.hub.data, "--device", first.device_id, "--user", USER, "--role", "clinician",
        "--ttl", "1",
    )["access_token"]  # fmt: skip
    first.ask("init", "--server", first.hub.url, "--token", ended)

    def has_ended() -> bool:
        done = first.run("sync")
        return done.returncode == 1 and "token_expired" in done.stderr and "medxz init" in done.stderr

    wait_until(has_ended, "the token's end")


def test_one_process_at_a_time(first: Tablet) -> None:
    """While `watch` runs the store is in use: another writer says so, a reader reads."""
    watching, _ = first.watch()
    refused = first.run("record", "--type", "Patient", "--op", "create", "--payload", "{}")
    assert refused.returncode == 1
    assert "in use" in refused.stderr
    assert first.ask("status")["here"] == 0
    watching.send_signal(signal.SIGTERM)
    watching.communicate(timeout=DEADLINE_S)
    assert watching.returncode == 0


def test_the_key_lies_beside_the_store(first: Tablet) -> None:
    """The key file is made once, with mode 0600, outside the store; without it the store does not open."""
    key = Path(f"{first.store}.key")
    assert key.stat().st_mode & 0o777 == 0o600
    assert len(key.read_text().strip()) == 64
    assert {file.name: file.stat().st_mode & 0o077 for file in first.store.iterdir()} == {
        "device.db": 0, "lock": 0,
    }  # fmt: skip
    moved = key.rename(key.with_suffix(".moved"))
    lost = first.run("status")
    assert lost.returncode == 1
    assert "key" in lost.stderr
    again = first.run("init", "--server", first.hub.url, "--token", first.hub.token(first.device_id, USER))
    assert again.returncode == 1, "no new key for a store that is there"
    assert first.run("status", "--key-file", moved).returncode == 0


def test_a_key_that_a_power_cut_left_empty(hub: HubProcess, tmp_path: Path) -> None:
    """An empty key file without a store is made anew; beside a store it is refused."""
    tablet = Tablet(tmp_path / "tablet", hub)
    key = Path(f"{tablet.store}.key")
    key.touch(mode=0o600)
    tablet.begin()
    assert len(key.read_text().strip()) == 64
    key.write_bytes(b"")
    token = hub.token(tablet.device_id, USER)
    assert tablet.run("init", "--server", hub.url, "--token", token).returncode == 1
    assert key.read_bytes() == b""


def test_a_key_that_is_no_secret(first: Tablet, tmp_path: Path) -> None:
    """A key file that others may read, or that lies in the store that it opens, is refused with the way out."""
    key = Path(f"{first.store}.key")
    key.chmod(0o644)
    refused = first.run("status")
    assert refused.returncode == 1
    assert f"chmod 600 {key}" in refused.stderr
    inside = Tablet(tmp_path / "inside", first.hub)
    token = first.hub.token(inside.device_id, USER)
    refused = inside.run(
        "init", "--server", first.hub.url, "--token", token, "--key-file", inside.store / "key"
    )
    assert refused.returncode == 2
    assert "outside" in refused.stderr
    assert not inside.store.exists()


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_the_program_alone(arguments: tuple[str, ...]) -> None:
    """Without a command it shows its help, as wrong usage; asked for its help, it shows it with an example."""
    done = subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == (0 if arguments else 2)
    shown = done.stdout if arguments else done.stderr
    assert shown.startswith("Usage: medxz ")
    assert "Example:" in shown


@pytest.mark.parametrize(
    "command",
    [
        "init", "record", "log", "sync", "watch", "status", "show", "list", "search", "history", "conflicts",
        "resolve",
    ],
)  # fmt: skip
def test_every_command_has_an_example(command: str) -> None:
    """--help of every command shows an example and the --json flag."""
    done = subprocess.run([*PROGRAM, command, "--help"], capture_output=True, text=True, check=True)
    assert "Example:" in done.stdout
    assert "--json" in done.stdout
