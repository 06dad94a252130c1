"""Real hubs on machines whose clocks are wrong: libfaketime gives each process a clock of the day of its own."""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from cryptography import x509

from medxz.clock import SystemClock, parse_time
from medxz.trust.certificates import client_context
from medxz.trust.dates import judge_dates_by
from tests.making import HandClock
from tests.system.hub_process import CLINIC, HubProcess, a_push, an_op, command, wait_until
from tests.system.world import HUB, NURSE, CloudProcess, EnrolledTablet, SiteHub, done, free_port
from tests.system.wrong_clock import Machine

pytestmark = pytest.mark.slow

DAY_MS = 86_400_000


def now_ms() -> int:
    return SystemClock().now_ms()


def is_now(text: str) -> bool:
    return abs(parse_time(text) - now_ms()) < 30_000


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path, "machine")


# ----------------------------------------------------------------------------------------- a hub by itself


def test_a_hub_by_itself_boots_in_1970(tmp_path: Path, machine: Machine) -> None:
    """It goes on from where it stood, says that it has doubts, and serves; a time server sets it right while it runs."""
    hub = HubProcess(tmp_path)
    try:
        hub.start("--plain-http", "--no-mdns", env=machine.environment)
        device, user = fixed_ids(hub)
        token = hub.token(device, user)
        push(hub, token, an_op(device, user, 1))
        assert clock_of(hub)["by"] == "machine"
        hub.stop()

        machine.boot_in_1970()
        hub.start("--plain-http", "--no-mdns", env=machine.environment)
        told = clock_of(hub)
        assert (told["trusted"], told["by"], told["machine"][:4]) == (False, "floor", "1970")
        assert is_now(told["now"])
        assert is_now(httpx.get(f"{hub.url}/v1/info").json()["time"])
        check = next(
            each for each in httpx.get(f"{hub.url}/health").json()["checks"] if each["name"] == "clock"
        )
        assert (check["ok"], "not to be trusted" in check["detail"]) == (False, True)
        push(hub, token, an_op(device, user, 2))
        wait_until(lambda: '"by":"floor"' in hub.log.read_text().replace(" ", ""), "a line in the log")

        machine.set(0)
        assert clock_of(hub)["trusted"]
        push(hub, token, an_op(device, user, 3))
        machine.boot_in_1970()
        push(hub, token, an_op(device, user, 4))
        received = received_by(hub, token)
        assert received == sorted(received)
        assert all(map(is_now, received))
        hub.stop()

        stopped = command("doctor", "--data", hub.data, "--json", env=machine.environment)
        clock = next(each for each in json.loads(stopped.stdout)["checks"] if each["name"] == "clock")
        assert (stopped.returncode, clock["ok"]) == (1, False)
        assert "time server" in clock["hint"]
    finally:
        hub.kill()


def test_a_power_cut_in_1970_goes_back_to_no_earlier_than_the_last_op(
    tmp_path: Path, machine: Machine
) -> None:
    """What came after time was last written down tells that it was later."""
    hub = HubProcess(tmp_path)
    try:
        machine.set(3 * 3_600)
        hub.start("--plain-http", "--no-mdns", env=machine.environment)
        machine.set(3 * 3_600 + 300)
        device, user = fixed_ids(hub)
        push(hub, hub.token(device, user), an_op(device, user, 1))
        hub.kill()
        machine.boot_in_1970()
        hub.start("--plain-http", "--no-mdns", env=machine.environment)
        at_ms = parse_time(clock_of(hub)["now"])
        assert 3 * 3_600_000 + 280_000 <= at_ms - now_ms() < 3 * 3_600_000 + 330_000
    finally:
        hub.kill()


def test_the_first_boot_ever_is_in_1970(tmp_path: Path, machine: Machine) -> None:
    """The CA and the certificate that are made then are good today, and the certificate is made anew when time is known."""
    machine.boot_in_1970()
    data = tmp_path / "hub"
    made = command("init", "--data", data, "--clinic", CLINIC, "--json", env=machine.environment)
    assert made.returncode == 0, made.stderr
    hub = HubProcess.__new__(HubProcess)
    hub.data, hub.out, hub.log, hub.process = data, tmp_path / "out", tmp_path / "err", None
    hub.made = json.loads(made.stdout)
    try:
        hub.start("--no-mdns", env=machine.environment)
        first = asyncio.run(met(hub))
        machine.set(0)
        wait_until(lambda: "certificate renewed" in hub.log.read_text(), "another certificate")
        second = asyncio.run(met(hub))
        assert (first == second, life_days(first) > 3_000, life_days(second)) == (False, True, 398)
    finally:
        hub.kill()


def test_a_hub_s_own_certificate_is_renewed_before_it_ends(tmp_path: Path, machine: Machine) -> None:
    """After two thirds of its life there is another, without a restart and without a pause."""
    hub = HubProcess(tmp_path)
    try:
        hub.start("--no-mdns", env=machine.environment)
        first = asyncio.run(met(hub))
        machine.set(270 * 86_400)
        wait_until(lambda: "certificate renewed" in hub.log.read_text(), "another certificate")
        second = asyncio.run(met(hub, from_now_ms=270 * DAY_MS))
        assert second.not_valid_before_utc > first.not_valid_before_utc
    finally:
        hub.kill()


def fixed_ids(hub: HubProcess) -> tuple[str, str]:
    server_id = hub.server_id
    return server_id[:-1] + ("a" if server_id[-1] != "a" else "b"), server_id[:-1] + "c"


def push(hub: HubProcess, token: str, op: dict[str, object]) -> None:
    answer = httpx.post(
        f"{hub.url}/v1/sync/push", content=a_push(op), headers={"Authorization": f"Bearer {token}"}
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["results"][0]["status"] == "accepted", answer.text


def received_by(hub: HubProcess, token: str) -> list[str]:
    answer = httpx.get(f"{hub.url}/v1/sync/pull", headers={"Authorization": f"Bearer {token}"})
    return [op["server_received_at"] for op in answer.json()["ops"]]


def clock_of(hub: HubProcess) -> dict[str, Any]:
    asked = command("status", "--data", hub.data, "--json")
    assert asked.returncode == 0, asked.stderr
    return dict(json.loads(asked.stdout)["clock"])


async def met(hub: HubProcess, from_now_ms: int = 0) -> x509.Certificate:
    """The certificate that a device of today takes, which has the hub's CA."""
    ca = json.loads(command("ca", "--data", hub.data, "--json").stdout)["ca_certificate"]
    context = client_context(ca.encode(), hub.server_id)
    if from_now_ms:
        judge_dates_by(context, HandClock(now_ms() + from_now_ms))
    async with (
        httpx.AsyncClient(verify=context, base_url=hub.url) as http,
        http.stream("GET", "/v1/info") as told,
    ):
        stream = told.extensions["network_stream"].get_extra_info("ssl_object")
        assert (await told.aread()).startswith(b"{")
        return x509.load_der_x509_certificate(stream.getpeercert(binary_form=True))


def life_days(certificate: x509.Certificate) -> int:
    return (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days


# ----------------------------------------------------------------------------------------- a hub and its cloud


class SecureCloud(CloudProcess):
    """A cloud with TLS on loopback, by a CA of its own."""

    def __init__(self, folder: Path, *sites: str) -> None:
        super().__init__(folder, *sites)
        self.url = f"https://127.0.0.1:{self.port}"
        self.ca_file, self._chain, self._key = (folder / name for name in ("ca.pem", "chain.pem", "tls.key"))
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        authority.cert_pem.write_to_path(str(self.ca_file))
        issued.private_key_pem.write_to_path(str(self._key))
        self._chain.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))

    def start(self) -> CloudProcess:
        self.run("--public-url", self.url, "--tls-cert", self._chain, "--tls-key", self._key, plain=False)
        return self


@pytest.fixture
def cloud(tmp_path: Path) -> Any:
    cloud = SecureCloud(tmp_path, "North")
    yield cloud.start()
    cloud.end()


def test_a_claimed_hub_boots_in_1970_with_its_cloud_and_without(
    tmp_path: Path, cloud: SecureCloud, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is claimed, meets its cloud over TLS and is set right by it; alone after the next boot it refuses nobody."""
    machine.boot_in_1970()
    hub = SiteHub(tmp_path, cloud, "North")

    def on_its_machine(act: Any) -> None:
        with monkeypatch.context() as patched:
            for name, value in machine.environment.items():
                patched.setenv(name, value)
            act()

    try:
        claiming = ("claim", "--data", hub.data, "--cloud", cloud.url, "--cloud-ca", cloud.ca_file)
        code = cloud.code("hub", "North")
        on_its_machine(lambda: done(HUB, *claiming, "--code", code, "--name", "North"))
        on_its_machine(hub.start)
        wait_until(lambda: clock_check(hub)["ok"], "the cloud's word")
        assert "by the cloud; this machine's clock says 1970" in clock_check(hub)["detail"]
        cloud.add_user(NURSE)
        tablet = EnrolledTablet(tmp_path / "tablet", hub, cloud, "North", NURSE)
        tablet.record("Adler")
        tablet.until_in_the_cloud()
        hub.end()
        cloud.end()

        on_its_machine(hub.start)
        assert (clock_check(hub)["ok"], "1970" in clock_check(hub)["detail"]) == (False, True)
        tablet.record("Baum")
        tablet.sync()
        assert tablet.status()["hub"] == 1
        machine.set(0)
        assert not clock_check(hub)["ok"], "it was wrong when the cloud last told the time"
        tablet.sync()

        cloud.start()
        wait_until(lambda: clock_check(hub)["ok"], "the cloud's word")
        assert "as the cloud says" in clock_check(hub)["detail"]
        tablet.until_in_the_cloud()
    finally:
        hub.end()


def clock_check(hub: SiteHub) -> dict[str, Any]:
    return next(check for check in hub.health()["checks"] if check["name"] == "clock")


def test_a_claimed_hub_s_certificate_is_renewed_by_the_cloud(
    tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both live on until two thirds of its life are over: the hub asks, and serves with the new one at once."""
    for name, value in machine.environment.items():
        monkeypatch.setenv(name, value)
    cloud = SecureCloud(tmp_path, "North")
    cloud.start()
    hub = SiteHub(tmp_path, cloud, "North")
    hub.port = free_port()
    try:
        hub.claim("--cloud-ca", cloud.ca_file)
        hub.run("--no-mdns", plain=False)
        first = shown_by(hub)
        machine.set(270 * 86_400)
        wait_until(lambda: "certificate renewed" in hub.said(), "another certificate")
        second = shown_by(hub)
        assert (second.not_valid_before_utc - first.not_valid_before_utc).days == 270
        assert second.issuer == first.issuer
    finally:
        hub.end()
        cloud.end()


def shown_by(hub: SiteHub) -> x509.Certificate:
    return x509.load_pem_x509_certificate(ssl.get_server_certificate(("127.0.0.1", hub.port)).encode())
