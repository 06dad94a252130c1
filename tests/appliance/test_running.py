"""The hub under a real systemd: started, stopped, killed, hung, and failing to start."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import trustme

from tests.appliance.nspawn import Container
from tests.system.hub_process import CLINIC

pytestmark = [pytest.mark.xdist_group("nspawn"), pytest.mark.slow]

UNIT = "medxz-hub.service"
DATA = "/var/lib/medxz/hub"
DROP_IN = f"/run/systemd/system/{UNIT}.d/test.conf"


@pytest.fixture(scope="module")
def made(container: Container) -> Container:
    """One on which a hub was made, by root, as people do."""
    container.run("medxz-hub", "init", "--data", DATA, "--clinic", CLINIC)
    return container


@pytest.fixture
def box(made: Container) -> Iterator[Container]:
    """One whose hub runs; whatever a test has changed of its settings is taken back."""
    made.run("systemctl", "start", UNIT)
    yield made
    made.run("rm", "-rf", "/etc/medxz", "/etc/credstore", Path(DROP_IN).parent)
    made.run("systemctl", "daemon-reload")
    made.run("systemctl", "stop", UNIT)
    made.run("systemctl", "reset-failed", UNIT, check=False)


def status(box: Container) -> dict[str, object]:
    told: dict[str, object] = json.loads(box.run("medxz-hub", "status", "--data", DATA, "--json").stdout)
    return told


def is_announced(box: Container, address: str) -> bool:
    return address in str(status(box)["mdns"])


def main_pid(box: Container) -> int:
    return int(box.show(UNIT, "MainPID"))


def told_since(box: Container, cursor: str) -> list[str]:
    """The hub's own lines in the journal since then."""
    box.run("journalctl", "--sync")
    lines = box.run("journalctl", "--no-pager", f"--after-cursor={cursor}").stdout.splitlines()
    return [line.partition("]: ")[2] for line in lines if " medxz-hub[" in line]


def now(box: Container) -> str:
    box.run("journalctl", "--sync")
    told = box.run("journalctl", "--no-pager", "--lines=1", "--show-cursor").stdout
    return told.rpartition("-- cursor: ")[2].strip()


def test_a_cloud_runs_likewise(container: Container) -> None:
    """A cloud that root made serves as its own user, with no rights that it could lose, and stops in time."""
    unit, data = "medxz-cloud.service", "/var/lib/medxz-cloud/data"
    container.path("/var/lib/medxz-cloud/password").write_text("a long walk by the river\n")
    container.run(
        "medxz-cloud", "init", "--data", data, "--clinic", "Riverside", "--site", "North",
        "--admin-email", "ada@clinic.example", "--admin-password-file", "/var/lib/medxz-cloud/password",
    )  # fmt: skip
    container.run("systemctl", "start", unit)
    assert container.show(unit, "StatusText").startswith("serves at https://")
    told = container.run("cat", f"/proc/{container.show(unit, 'MainPID')}/status").stdout
    assert re.search(r"CapBnd:\s0+\n", told)
    assert re.search(r"Uid:\s792\s", told)
    container.run("systemctl", "stop", unit)
    assert (container.show(unit, "ActiveState"), container.show(unit, "Result")) == ("inactive", "success")


def test_without_a_hub_nothing_is_started(container: Container) -> None:
    """Where no hub was made yet, the unit is passed over and has not failed."""
    if container.path(f"{DATA}/hub.db").exists():
        pytest.skip("a hub was made already: this test comes first in its module")
    container.run("systemctl", "start", UNIT)
    assert container.show(UNIT, "ActiveState") == "inactive"
    assert container.show(UNIT, "ConditionResult") == "no"


def test_it_starts_as_its_own_user(box: Container) -> None:
    """It serves, what root made belongs to its user now, and the process has no rights that it could lose."""
    assert box.show(UNIT, "StatusText").startswith("serves at https://")
    assert status(box)["healthy"] is True
    user = int(box.run("id", "-u", "medxz").stdout)
    assert {path.stat().st_uid for path in box.path("/var/lib/medxz").rglob("*")} == {user}
    assert box.path("/var/lib/medxz").stat().st_mode & 0o777 == 0o700
    kept = dict(
        line.split(":\t", 1) for line in box.run("cat", f"/proc/{main_pid(box)}/status").stdout.splitlines()
    )
    assert kept["Uid"].split() == [str(user)] * 4
    assert {int(kept[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert (kept["NoNewPrivs"], kept["Seccomp"]) == ("1", "2")


def test_it_serves_tls(box: Container) -> None:
    """A client on the machine that trusts the hub's CA is answered."""
    assert "TLSv1.3" in shown(box)


def test_it_reads_certificates_anew(box: Container) -> None:
    """`systemctl reload` has files that another tool has replaced shown at once, by the same process."""
    box.run("mkdir", "-p", "/etc/medxz")
    box.path("/etc/medxz/hub.toml").write_text(
        "tls_cert = '/etc/medxz/cert.pem'\ntls_key = '/etc/medxz/key.pem'\n"
    )
    issue(box.path("/etc/medxz"), "one.clinic.example")
    box.run("chown", "medxz", "/etc/medxz/cert.pem", "/etc/medxz/key.pem")
    box.run("systemctl", "restart", UNIT)
    process = main_pid(box)
    issue(box.path("/etc/medxz"), "two.clinic.example")
    box.run("chown", "medxz", "/etc/medxz/cert.pem", "/etc/medxz/key.pem")
    assert "one.clinic.example" in shown(box)
    box.run("systemctl", "reload", UNIT)
    assert "two.clinic.example" in shown(box)
    assert main_pid(box) == process


def test_it_is_known_on_its_lan(box: Container) -> None:
    """It announces itself by mDNS, and under a new address as soon as the machine has one: nothing of that is shut off."""
    box.run("ip", "link", "add", "lan", "type", "veth", "peer", "name", "other")
    try:
        for address in ("192.168.77.2", "192.168.78.2"):
            box.run("ip", "address", "add", f"{address}/24", "dev", "lan")
            for link in ("lan", "other"):
                box.run("ip", "link", "set", link, "up")
            box.until(partial(is_announced, box, address), f"that it announces {address}")
    finally:
        box.run("ip", "link", "del", "lan")


def test_it_stops(box: Container) -> None:
    """Told to stop, it ends by itself and in time, and is not started again."""
    box.run("systemctl", "stop", UNIT)
    assert (box.show(UNIT, "ActiveState"), box.show(UNIT, "Result")) == ("inactive", "success")
    assert not box.path("/var/lib/medxz/hub.sock").exists()
    taken_us = int(box.show(UNIT, "InactiveEnterTimestampMonotonic")) - int(
        box.show(UNIT, "ActiveExitTimestampMonotonic")
    )
    assert taken_us < 5_500_000


def test_it_comes_back_after_a_crash(box: Container) -> None:
    """A hub that was killed is started again by itself, and is healthy."""
    drop_in(box, "[Service]\nRestartSec=1\n")
    first = main_pid(box)
    box.run("kill", "-KILL", first)
    box.until(lambda: box.show(UNIT, "NRestarts") == "1", "that it is started again")
    box.until(lambda: box.show(UNIT, "ActiveState") == "active", "that it serves again")
    assert main_pid(box) != first
    assert status(box)["healthy"] is True


def test_one_that_hangs_is_killed(box: Container) -> None:
    """A hub that gives no sign of life is ended by the watchdog, without a core file, and started again."""
    drop_in(box, "[Service]\nWatchdogSec=3\nRestartSec=1\n")
    box.run("systemctl", "restart", UNIT)
    mark, first = now(box), main_pid(box)
    box.run("kill", "-STOP", first)
    box.until(lambda: main_pid(box) not in (0, first), "that the watchdog ends it")
    box.until(lambda: box.show(UNIT, "ActiveState") == "active", "that it serves again")
    box.run("journalctl", "--sync")
    journal = box.run("journalctl", "--no-pager", f"--after-cursor={mark}").stdout
    assert "Watchdog timeout" in journal
    assert "dumped core" not in journal.lower()


def test_wrong_settings_are_told_in_one_line(box: Container) -> None:
    """A setting in /etc/medxz/hub.toml that makes no sense: one line says which, and nothing is tried again and again."""
    settings = box.path("/etc/medxz/hub.toml")
    settings.parent.mkdir()
    settings.write_text("prot = 8443\n")
    box.run("systemctl", "stop", UNIT)
    mark = now(box)
    assert box.run("systemctl", "start", UNIT, check=False).returncode != 0
    assert (box.show(UNIT, "ActiveState"), box.show(UNIT, "ExecMainStatus")) == ("failed", "2")
    [line] = told_since(box, mark)
    assert "prot: there is no such setting (from /etc/medxz/hub.toml); did you mean port?" in line
    assert line.removeprefix("medxz-hub: ") in box.show(UNIT, "StatusText")


def test_a_key_that_is_gone_is_told_in_one_line(box: Container) -> None:
    """A hub without its key says so in one line each time, and serves by itself as soon as the key is back."""
    drop_in(box, "[Service]\nRestartSec=1\n")
    box.run("systemctl", "stop", UNIT)
    box.run("mv", "/var/lib/medxz/hub.key", "/var/lib/medxz/elsewhere")
    mark = now(box)
    assert box.run("systemctl", "start", UNIT, check=False).returncode != 0
    wanted = re.compile(r"there is no key file /var/lib/medxz/hub\.key \(bring back the copy.*\)$")
    assert wanted.search(told_since(box, mark)[0])
    assert wanted.search(box.show(UNIT, "StatusText"))
    box.run("mv", "/var/lib/medxz/elsewhere", "/var/lib/medxz/hub.key")
    box.until(lambda: box.show(UNIT, "ActiveState") == "active", "that it serves again")


def test_what_lies_in_the_credential_store_is_taken(box: Container, tmp_path: Path) -> None:
    """A certificate of the operator's in /etc/credstore is served, though only root can read it there."""
    issue(tmp_path, "box.clinic.example")
    store = box.path("/etc/credstore")
    store.mkdir(mode=0o700)
    for name in ("cert", "key"):
        shutil.copy(tmp_path / f"{name}.pem", store / f"medxz-hub.tls_{name}")
        (store / f"medxz-hub.tls_{name}").chmod(0o600)
    box.run("systemctl", "restart", UNIT)
    assert "box.clinic.example" in shown(box)
    assert "operator" in box.run("medxz-hub", "renew", "--data", DATA, "--json").stdout


def test_a_key_that_is_sealed_to_the_machine_is_taken(box: Container) -> None:
    """With its key in /etc/credstore.encrypted alone the hub serves, and no file with the key lies open on the disk."""
    box.run("mkdir", "-m", "700", "/etc/credstore.encrypted")
    sealed = "/etc/credstore.encrypted/medxz-hub.key_file"
    box.run(
        "systemd-creds",
        "encrypt",
        "--with-key=host",
        "--name=medxz-hub.key_file",
        "/var/lib/medxz/hub.key",
        sealed,
    )
    box.run("systemctl", "stop", UNIT)
    box.run("mv", "/var/lib/medxz/hub.key", "/root/elsewhere")
    try:
        box.run("systemctl", "start", UNIT)
        assert status(box)["healthy"] is True
    finally:
        box.run("mv", "/root/elsewhere", "/var/lib/medxz/hub.key")
        box.run("rm", "-r", "/etc/credstore.encrypted")


@pytest.mark.parametrize("name", ["backup", "check", "renew"])
def test_what_the_timers_start_works(box: Container, name: str) -> None:
    """Beside a running hub each of them ends well, as its own user and as closed off as its unit says."""
    mark = now(box)
    box.run("systemctl", "start", f"medxz-hub-{name}.service")
    box.run("journalctl", "--sync")
    told = box.run("journalctl", "--no-pager", f"--after-cursor={mark}").stdout
    assert f"Finished medxz-hub-{name}.service" in told
    assert f" medxz-hub-{name}[" in told


def test_a_check_that_finds_something_has_failed(box: Container) -> None:
    """What the nightly check finds wrong stands in the journal, and its unit has failed, which monitoring sees."""
    box.run("chmod", "0777", DATA)
    try:
        assert box.run("systemctl", "start", "medxz-hub-check.service", check=False).returncode != 0
        told = box.run("journalctl", "--no-pager", "--output=cat", "--identifier=medxz-hub-check").stdout
        assert "can be changed by others" in told
    finally:
        box.run("chmod", "0700", DATA)
        box.run("systemctl", "reset-failed")


def issue(folder: Path, name: str) -> None:
    """A certificate of an operator's own, and its key."""
    made = trustme.CA().issue_cert(name, key_type=trustme.KeyType.ECDSA)
    made.private_key_pem.write_to_path(folder / "key.pem")
    made.cert_chain_pems[0].write_to_path(folder / "cert.pem")


def shown(box: Container) -> str:
    """What a client in there is told of the connection: its protocol, and whose certificate it is shown."""
    asked = box.run("openssl", "s_client", "-connect", "127.0.0.1:8443", check=False)
    alternatives = subprocess.run(
        ["openssl", "x509", "-noout", "-ext", "subjectAltName"],
        input=asked.stdout, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return asked.stdout + alternatives.stdout


def drop_in(box: Container, text: str) -> None:
    """Another word on the unit, gone with the test."""
    box.run("mkdir", "-p", Path(DROP_IN).parent)
    box.run("sh", "-c", f"cat >{DROP_IN} <<'END'\n{text}END")
    box.run("systemctl", "daemon-reload")
