"""`medxz-hub run` as a real process: TLS, its ready line, its stop, its lock, systemd, its sockets."""

import asyncio
import contextlib
import fcntl
import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from hub import desk
from hub.options import asked_or_opened
from medxz import limits
from medxz.ids import RandomIds
from medxz.program.errors import CommandFailed
from medxz.trust.certificates import client_context
from tests.system.hub_process import DEADLINE_S, HubProcess, a_push, an_op, answer, command, wait_until

IDS = RandomIds()
JSON = {"Content-Type": "application/json"}
DEVICE, USER = IDS.uuid7(), IDS.uuid7()

pytestmark = pytest.mark.slow


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubProcess]:
    process = HubProcess(tmp_path)
    yield process
    process.kill()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def checks(hub: HubProcess) -> dict[str, dict[str, object]]:
    told = httpx.get(f"{hub.url}/health", trust_env=False).json()["checks"]
    return {check["name"]: check for check in told}


def heard_until_silent(systemd: socket.socket) -> int:
    """How many messages come before none comes for longer than two were ever apart."""
    systemd.settimeout(0.5)
    for count in range(10):
        try:
            systemd.recv(4096)
        except TimeoutError:
            return count
    return 10


def test_one_ready_line(hub: HubProcess) -> None:
    """With --json stdout gets exactly one line, when the hub already serves; logs are JSON on stderr."""
    hub.start("--plain-http", "--no-mdns")
    assert hub.out.read_text() == f'{{"event":"ready","url":"{hub.url}"}}\n'
    assert httpx.get(f"{hub.url}/v1/info", trust_env=False).json()["server_id"] == hub.server_id
    status, _ = hub.stop()
    assert status == 0
    assert hub.out.read_text().count("\n") == 1
    events = [json.loads(line)["event"] for line in hub.log.read_text().splitlines()]
    assert events == ["hub ready", "hub stopping", "hub stopped"]


@contextlib.contextmanager
def in_use(hub: HubProcess) -> Iterator[None]:
    """As a command does that makes a token for a hub that does not run."""
    with (hub.data / "hub.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def opened_files(hub: HubProcess) -> set[str]:
    assert hub.process is not None
    assert hub.process.poll() is None, hub.log.read_text()
    found = set()
    for entry in Path(f"/proc/{hub.process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add(entry.readlink().name)
    return found


def test_a_start_beside_a_command(hub: HubProcess) -> None:
    """A hub that is started while a command has the store for a moment waits for it."""
    with in_use(hub):
        hub.launch("--plain-http")
        wait_until(lambda: "hub.lock" in opened_files(hub), "the hub's try")
    hub.wait_until_ready()


def test_a_command_beside_a_start(hub: HubProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that is asked for while a hub starts is given, by that hub or by the store, and not refused."""
    tried, refused = desk.answer_stopped, threading.Event()

    def once_more(*arguments: Any) -> dict[str, Any]:
        try:
            return tried(*arguments)
        except CommandFailed:
            refused.set()
            raise

    monkeypatch.setattr(desk, "answer_stopped", once_more)
    wanted = {"device": DEVICE, "user": USER, "role": "clinician"}
    with ThreadPoolExecutor(1) as commands:
        with in_use(hub):
            asked = commands.submit(asked_or_opened, hub.data, None, "token", wanted)
            assert refused.wait(DEADLINE_S)
        assert asked.result(DEADLINE_S).keys() == {"access_token"}


def test_tls_1_3_with_its_own_ca(hub: HubProcess) -> None:
    """Without --plain-http the hub speaks TLS 1.3 alone, with a certificate of the CA that init told of."""
    hub.start()
    assert hub.url.startswith("https://127.0.0.1:")
    root = answer("ca", "--data", hub.data)
    assert root["ca_fingerprint"] == hub.made["ca_fingerprint"]
    context = client_context(root["ca_certificate"].encode(), hub.server_id)
    with httpx.Client(verify=context, trust_env=False) as client:
        told = client.get(f"{hub.url}/v1/info")
        assert told.json()["server_id"] == hub.server_id
        stream = told.extensions["network_stream"]
        assert stream.get_extra_info("ssl_object").version() == "TLSv1.3"
    look_alike = client_context(root["ca_certificate"].encode(), IDS.uuid7())
    with httpx.Client(verify=look_alike, trust_env=False) as client, pytest.raises(httpx.ConnectError):
        client.get(f"{hub.url}/v1/info")
    old = ssl.create_default_context(cadata=root["ca_certificate"])
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with httpx.Client(verify=old, trust_env=False) as client, pytest.raises(httpx.ConnectError):
        client.get(f"{hub.url}/v1/info")


def test_the_certificate_stays(hub: HubProcess) -> None:
    """A restart serves the certificate that was served before: it is made anew when it is due, not each time."""
    served = []
    for _ in range(2):
        hub.start()
        port = int(hub.url.rpartition(":")[2])
        served.append(ssl.get_server_certificate(("127.0.0.1", port)))
        hub.stop()
    assert served[0] == served[1]


def test_an_operators_certificate(hub: HubProcess, tmp_path: Path) -> None:
    """--tls-cert and --tls-key are served in place of the hub's own; a pair that does not fit is told in a line."""
    foreign = trustme.CA().issue_cert("localhost", key_type=trustme.KeyType.ECDSA)
    foreign.private_key_pem.write_to_path(tmp_path / "key.pem")
    foreign.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    hub.start("--tls-cert", tmp_path / "cert.pem", "--tls-key", tmp_path / "key.pem")
    shown = ssl.get_server_certificate(("127.0.0.1", int(hub.url.rpartition(":")[2])))
    assert shown.split() == (tmp_path / "cert.pem").read_text().split()
    hub.stop()
    wrong = command(
        "run",
        "--data",
        hub.data,
        "--port",
        "0",
        "--tls-cert",
        tmp_path / "cert.pem",
        "--tls-key",
        tmp_path / "cert.pem",
    )
    assert wrong.returncode == 1
    assert "can't be served" in wrong.stderr


def test_tokens_both_ways(hub: HubProcess) -> None:
    """A token of the stopped hub and one of the running hub are both good, and the running one needs no key file."""
    before = hub.token(DEVICE, USER, "--ttl", "600")
    hub.start("--plain-http")
    key = hub.data.with_name("hub.key")
    key.rename(key.with_name("elsewhere"))
    during = hub.token(IDS.uuid7(), USER)
    for token in (before, during):
        told = httpx.get(f"{hub.url}/v1/sync/pull", headers=bearer(token), trust_env=False)
        assert told.status_code == 200, told.text
    tampered = httpx.get(f"{hub.url}/v1/sync/pull", headers=bearer(during[:-6] + "AAAAAA"), trust_env=False)
    assert tampered.json()["code"] == "token_invalid"


def test_a_hubs_token_has_no_device(hub: HubProcess) -> None:
    """With --role hub the device is left out, and the token opens what is for hubs."""
    hub.start("--plain-http")
    token = answer("token", "--data", hub.data, "--user", IDS.uuid7(), "--role", "hub")["access_token"]
    told = httpx.get(f"{hub.url}/v1/sync/watermarks", headers=bearer(token), trust_env=False)
    assert told.json()["received"] == {}


def test_scope_and_key_of_a_device(hub: HubProcess) -> None:
    """--scope holds for the device from then on, until another is given."""
    hub.start("--plain-http")
    device = IDS.uuid7()
    clinician = hub.token(device, USER, "--scope", "front_desk", "--public-key", "A" * 42 + "E")
    op = an_op(device, USER, 1)
    pushed = httpx.post(
        f"{hub.url}/v1/sync/push", content=a_push(op), headers=bearer(clinician) | JSON, trust_env=False
    )
    assert pushed.status_code == 200
    seen = httpx.get(f"{hub.url}/v1/sync/pull", headers=bearer(hub.token(device, USER)), trust_env=False)
    assert seen.json()["ops"] == []
    full = httpx.get(f"{hub.url}/v1/sync/pull", headers=bearer(hub.token(DEVICE, USER)), trust_env=False)
    assert len(full.json()["ops"]) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_loses_nothing_and_is_quick(hub: HubProcess, number: signal.Signals) -> None:
    """With a stream and a waiting pull open and a push answered, a stop takes less than 5 s and keeps the op."""
    await asyncio.to_thread(hub.start, "--plain-http")
    token = await asyncio.to_thread(hub.token, DEVICE, USER)
    op = an_op(DEVICE, USER, 1)
    async with httpx.AsyncClient(
        headers=bearer(token), base_url=hub.url, trust_env=False, timeout=30
    ) as client:
        pushed = await client.post("/v1/sync/push", content=a_push(op), headers=JSON)
        assert pushed.status_code == 200, pushed.text + hub.log.read_text()
        end = (await client.get("/v1/sync/pull")).json()["next_cursor"]
        waiting = asyncio.create_task(client.get("/v1/sync/pull", params={"cursor": end, "wait": 30}))
        async with client.stream("GET", "/v1/sync/stream") as stream:
            await anext(stream.aiter_lines())
            status, seconds = await asyncio.to_thread(hub.stop, number)
            with contextlib.suppress(httpx.HTTPError):
                await waiting
    assert status == 0
    assert seconds < limits.SHUTDOWN_S_MAX
    assert not hub.data.with_name("hub.sock").exists()
    await asyncio.to_thread(hub.start, "--plain-http")
    held = await asyncio.to_thread(
        httpx.get, f"{hub.url}/v1/sync/pull", headers=bearer(token), trust_env=False
    )
    assert [one["op_id"] for one in held.json()["ops"]] == [op["op_id"]]
    assert "no check was needed" in str((await asyncio.to_thread(checks, hub))["integrity"]["detail"])


def test_after_a_kill_it_starts_again(hub: HubProcess) -> None:
    """A killed hub leaves a socket and a lock that hinder nobody; the next start checks every row."""
    hub.start("--plain-http")
    token = hub.token(DEVICE, USER)
    op = an_op(DEVICE, USER, 1)
    httpx.post(f"{hub.url}/v1/sync/push", content=a_push(op), headers=bearer(token) | JSON, trust_env=False)
    hub.kill()
    assert hub.data.with_name("hub.sock").exists()
    hub.start("--plain-http")
    held = httpx.get(f"{hub.url}/v1/sync/pull", headers=bearer(token), trust_env=False).json()["ops"]
    assert [one["op_id"] for one in held] == [op["op_id"]]
    wait_until(lambda: "checked: 1 of 1" in str(checks(hub)["integrity"]["detail"]), "the check")


def test_a_second_process_is_refused(hub: HubProcess) -> None:
    """A second process on the same directory is refused in one line, and the first one serves on."""
    hub.start("--plain-http")
    for second in (
        command("run", "--data", hub.data, "--plain-http", "--port", "0"),
        command("run", "--data", hub.data.parent / "x" / ".." / "hub", "--plain-http", "--port", "0"),
    ):
        assert second.returncode == 1
        assert second.stderr.startswith(f"medxz-hub: another process uses {hub.data}\nhint: ")
        assert second.stderr.count("\n") == 2
    assert httpx.get(f"{hub.url}/health/ready", trust_env=False).status_code == 200


def test_a_port_in_use_is_told(hub: HubProcess) -> None:
    """A port that another program has is told in a line; nothing of the hub is left running."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = command("run", "--data", hub.data, "--plain-http", "--port", port)
    assert done.returncode == 1
    assert f"127.0.0.1 port {port} can't be served" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_problem_of_the_settings_at_once(hub: HubProcess) -> None:
    """Problems of file, environment and flags come together with status 2, as lines or as JSON."""
    (hub.data / "hub.toml").write_text("prot = 1\n")
    flags = ("run", "--data", hub.data, "--plain-http", "--host", "192.168.1.1", "--log-level", "loud")
    env = {"MEDXZ_HUB_KEEP_OWN_DAY": "3"}
    done = command(*flags, env=env)
    assert done.returncode == 2
    for part in (
        "prot",
        "did you mean port?",
        "MEDXZ_HUB_KEEP_OWN_DAY",
        "keep_own_days",
        "plain_http",
        "log_level",
    ):
        assert part in done.stderr
    told = json.loads(command(*flags, "--json", env=env).stderr)
    assert told["code"] == "configuration"
    assert len(told["problems"]) == 4


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1"])
def test_plain_http_is_refused_off_loopback(hub: HubProcess, host: str) -> None:
    """--plain-http with an address that others can reach ends with status 2 and opens no port."""
    done = command("run", "--data", hub.data, "--plain-http", "--host", host, "--port", "0")
    assert done.returncode == 2
    assert "refused" in done.stderr


def test_systemd_hears_of_it(hub: HubProcess, tmp_path: Path) -> None:
    """systemd is told when the hub is ready, that it lives, and that it stops; a hub that hangs says nothing."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(DEADLINE_S)
        hub.start("--plain-http", env={"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"})
        said = [systemd.recv(4096).decode() for _ in range(4)]
        assert said[0] == f"READY=1\nSTATUS=serves at {hub.url}"
        assert said[1:] == ["WATCHDOG=1"] * 3
        assert hub.process is not None
        hub.process.send_signal(signal.SIGSTOP)
        assert heard_until_silent(systemd) <= 1  # what was on its way when it froze, and no more
        hub.process.send_signal(signal.SIGCONT)
        systemd.settimeout(DEADLINE_S)
        assert systemd.recv(4096) == b"WATCHDOG=1"
        hub.stop()
        heard = systemd.recv(4096)
        deadline = time.monotonic() + DEADLINE_S
        while heard == b"WATCHDOG=1" and time.monotonic() < deadline:
            heard = systemd.recv(4096)
        assert heard == b"STOPPING=1"


def test_a_credential_holds_the_key(hub: HubProcess, tmp_path: Path) -> None:
    """With the key handed over by systemd, no key file is needed beside the data."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    key = hub.data.with_name("hub.key").rename(credentials / "medxz-hub.key_file")
    key.chmod(0o440)
    hub.start("--plain-http", env={"CREDENTIALS_DIRECTORY": str(credentials)})
    assert httpx.get(f"{hub.url}/health/ready", trust_env=False).status_code == 200


def test_nothing_private_lies_open(hub: HubProcess) -> None:
    """Key, store and directory are their owner's alone, and no private key or plain text lies in any file."""
    hub.start()
    hub.token(DEVICE, USER)
    hub.stop()
    assert hub.data.stat().st_mode & 0o777 == 0o700
    assert hub.data.with_name("hub.key").stat().st_mode & 0o777 == 0o600
    for file in hub.data.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file
        content = file.read_bytes()
        for secret in (b"PRIVATE KEY", b"SQLite format", USER.encode(), b"BEGIN CERTIFICATE"):
            assert secret not in content, file


def test_a_run_loads_what_it_needs() -> None:
    """A running hub has no terminal decoration, HTTP client or part of a cloud in its memory; help needs next to nothing."""
    program = """
import sys
import hub.cli
assert not {"pydantic", "aiohttp", "cryptography", "sqlcipher3"} & set(sys.modules), "help is slow"
from medxz.program.memory import start_lightly
start_lightly()
import hub.app
unneeded = (
    "rich", "httpx", "aiohttp.client", "asyncpg", "argon2", "pyotp", "hypothesis", "pydantic_settings",
)
loaded = [name for name in unneeded if sys.modules.get(name)]
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=DEADLINE_S)
