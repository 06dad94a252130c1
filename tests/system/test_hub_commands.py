"""The commands around a hub, as an operator and a script meet them: answers, statuses, errors, the doctor."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlcipher3 import dbapi2 as sqlcipher

from medxz.ids import RandomIds
from tests.system.hub_process import CLINIC, HubProcess, a_push, an_op, answer, command, wait_until

pytestmark = pytest.mark.slow
IDS = RandomIds()
DEVICE, USER = IDS.uuid7(), IDS.uuid7()
RUNNING_OR_NOT = pytest.mark.parametrize("running", [False, True], ids=["stopped", "running"])
COMMANDS = (
    "init", "claim", "run", "token", "ca", "pair", "status", "doctor", "backup", "restore", "export", "import", "renew", "audit", "update",
)  # fmt: skip
GROUPS = {
    "user": ("add", "list", "disable", "passwd", "roles"), "device": ("list", "revoke"),
    "first-boot": ("wait", "apply", "report", "done", "check", "template"),
}  # fmt: skip
TYPED = [*COMMANDS, *(f"{group} {name}" for group, names in GROUPS.items() for name in names)]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubProcess]:
    process = HubProcess(tmp_path)
    yield process
    process.kill()


def test_init_tells_who_it_made(tmp_path: Path) -> None:
    """init tells the ids and the CA's fingerprint, and makes the key beside the directory."""
    made = answer("init", "--data", tmp_path / "hub", "--clinic", CLINIC.upper())
    assert made["clinic_id"] == CLINIC
    assert {len(made[name]) for name in ("server_id", "epoch", "site_id")} == {36}
    assert len(made["ca_fingerprint"]) == 64
    assert made["key_file"] == str(tmp_path / "hub.key")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["hub", "hub.key"]


def test_init_makes_no_hub_over_another(hub: HubProcess) -> None:
    """init on a directory with a hub ends with status 1 and leaves hub and key as they are."""
    key = hub.data.with_name("hub.key").read_bytes()
    again = command("init", "--data", hub.data, "--clinic", CLINIC)
    assert again.returncode == 1
    assert "already" in again.stderr
    assert hub.data.with_name("hub.key").read_bytes() == key
    assert answer("ca", "--data", hub.data)["ca_fingerprint"] == hub.made["ca_fingerprint"]


def test_init_uses_a_key_that_is_there(tmp_path: Path) -> None:
    """A key file that the operator made is used as it is; one open to others is refused before anything is made."""
    key = tmp_path / "my.key"
    key.write_text("5a" * 32)
    arguments = ("init", "--data", tmp_path / "hub", "--clinic", CLINIC, "--key-file", key)
    key.chmod(0o644)
    refused = command(*arguments)
    assert refused.returncode == 1
    assert f"hint: chmod 600 {key}" in refused.stderr
    assert not (tmp_path / "hub").exists()
    key.chmod(0o600)
    answer(*arguments)
    assert key.read_text() == "5a" * 32
    assert not (tmp_path / "hub.key").exists()
    assert answer("ca", "--data", tmp_path / "hub", "--key-file", key)["ca_certificate"]


def test_init_that_was_interrupted_can_be_done_again(tmp_path: Path) -> None:
    """What an init left that never came to its end is no hub, and does not stand in the way of the next."""
    data = tmp_path / "hub"
    answer("init", "--data", data, "--clinic", CLINIC)
    (data / "hub.db").rename(data / "hub.new")
    # the name of the key file was on the disk, its content was not
    (tmp_path / "hub.key").write_bytes(b"")
    assert "there is no hub" in command("run", "--data", data, "--plain-http").stderr
    answer("init", "--data", data, "--clinic", CLINIC)
    assert not (data / "hub.new").exists()


def test_status_of_a_running_hub(hub: HubProcess) -> None:
    """status tells what runs, where, what it holds, and its health check by check; without a hub, status 1."""
    stopped = command("status", "--data", hub.data, "--json")
    assert stopped.returncode == 1
    assert json.loads(stopped.stderr)["code"] == "not_running"
    hub.start("--plain-http")
    token = hub.token(DEVICE, USER)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    ops = [an_op(DEVICE, USER, number) for number in (1, 2)]
    httpx.post(f"{hub.url}/v1/sync/push", content=a_push(*ops), headers=headers, trust_env=False)
    told = answer("status", "--data", hub.data)
    assert (told["url"], told["ops"], told["devices"], told["backlog"]) == (hub.url, 2, 1, 2)
    assert told["epoch"] == hub.made["epoch"]
    assert {check["name"] for check in told["checks"]} >= {"writer", "disk", "integrity"}
    lines = command("status", "--data", hub.data).stdout.splitlines()
    assert {f"{'url':21}{hub.url}", f"{'running':21}yes", f"{'upstream_last_error':21}none"} <= set(lines)


@RUNNING_OR_NOT
def test_the_doctor_finds_nothing(hub: HubProcess, running: bool) -> None:
    """A hub that is well is told so, running or not, with status 0."""
    if running:
        hub.start("--plain-http")
    told = answer("doctor", "--data", hub.data)
    assert told["ok"]
    again = answer("doctor", "--data", hub.data)["checks"]
    assert "unclean" not in str(again), "it was the doctor who had every row checked"
    names = {check["name"] for check in told["checks"]}
    assert {"settings", "directory", "key file", "disk", "control socket", "hub", "ops"} <= names


def test_the_doctor_of_a_hub_whose_key_is_elsewhere(hub: HubProcess, tmp_path: Path) -> None:
    """A running hub tells of its own key file, so that the doctor needs none; one that went away is told."""
    key = hub.data.with_name("hub.key").rename(tmp_path / "elsewhere")
    hub.start("--plain-http", "--key-file", key)
    told = answer("doctor", "--data", hub.data)
    assert [check["detail"] for check in told["checks"] if check["name"] == "key file"] == [
        f"{key}, closed to others"
    ]
    key.unlink()
    done = command("doctor", "--data", hub.data)
    assert done.returncode == 1
    assert f"BAD  key file: there is no key file {key}" in done.stdout


def test_the_doctor_says_what_to_do(hub: HubProcess) -> None:
    """Each thing that is wrong is a line with a way out, all in one run, with status 1."""
    hub.data.with_name("hub.key").chmod(0o644)
    hub.data.chmod(0o777)
    (hub.data / "hub.toml").write_text("prot = 1\n")
    done = command("doctor", "--data", hub.data)
    assert done.returncode == 1
    for line in (
        "BAD  settings: prot",
        f"     do: chmod 700 {hub.data}",
        f"     do: chmod 600 {hub.data}.key",
    ):
        assert line in done.stdout
    told = json.loads(command("doctor", "--data", hub.data, "--json").stdout)
    assert not told["ok"]
    assert all(check["hint"] for check in told["checks"] if not check["ok"])


def test_the_doctor_finds_a_damaged_row(hub: HubProcess) -> None:
    """A row whose bytes changed is found by its checksum; the hub that is started sets the file aside, and says so."""
    hub.start("--plain-http")
    headers = {"Authorization": f"Bearer {hub.token(DEVICE, USER)}", "Content-Type": "application/json"}
    ops = [an_op(DEVICE, USER, number) for number in range(1, 1_003)]
    for some in (ops[:1_000], ops[1_000:]):
        httpx.post(f"{hub.url}/v1/sync/push", content=a_push(*some), headers=headers, trust_env=False)
    hub.stop()
    damage(hub, 3)
    done = command("doctor", "--data", hub.data)
    assert done.returncode == 1
    assert "1 of 1002 ops are damaged: server_seq 3" in done.stdout
    hub.start("--plain-http")
    wait_until(
        lambda: '"state": "done"' in command("status", "--data", hub.data, "--json").stdout, "it is mended"
    )
    done = command("doctor", "--data", hub.data)
    assert done.returncode == 0
    assert "hub: recovery: hub.db was found damaged" in done.stdout
    assert "ops: 1001 read, every checksum fits" in done.stdout


def damage(hub: HubProcess, seq: int) -> None:
    key = hub.data.with_name("hub.key").read_text().strip()
    connection = sqlcipher.connect(str(hub.data / "hub.db"), isolation_level=None)
    connection.execute(f"PRAGMA key = \"x'{key}'\"").fetchall()
    [(body,)] = connection.execute("SELECT body FROM op WHERE seq = ?", (seq,)).fetchall()
    changed = body[:-1] + bytes([body[-1] ^ 1])
    connection.execute("UPDATE op SET body = ? WHERE seq = ?", (changed, seq)).fetchall()
    connection.close()


def test_another_key_is_told(hub: HubProcess) -> None:
    """A key that is not this store's is told in a line by every command that needs it."""
    hub.data.with_name("hub.key").write_text("00" * 32)
    for arguments in (("run", "--plain-http"), ("ca",)):
        done = command(*arguments, "--data", hub.data)
        assert done.returncode == 1
        assert "does not open with this key" in done.stderr
        assert "hint: " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ((), 2),
        (("fly",), 2),
        (("init",), 2),
        (("init", "--data", "{}/x", "--clinic", "one"), 2),
        (("init", "--data", "{}/" + "x" * 120, "--clinic", CLINIC), 1),
        (("init", "--data", "/proc/medxz", "--clinic", CLINIC), 1),
        (("run", "--data", "{}/x"), 1),
        (("run", "--data", "{}/x", "--port", "eight"), 2),
        (("run",), 2),
        (("run", "--data", "{}/x", "--config", "{}/absent.toml"), 2),
        (("status", "--data", "{}/x"), 1),
        (("ca", "--data", "{}/x"), 1),
        (("doctor", "--data", "{}/x"), 1),
        (("token", "--data", "{}/x", "--user", USER, "--role", "operator", "--device", DEVICE), 2),
        (("token", "--data", "{}/x", "--user", USER, "--role", "admin"), 2),
        (("token", "--data", "{}/x", "--user", USER, "--role", "admin", "--device", DEVICE), 1),
    ],
)
def test_mistakes_are_told_in_a_line(tmp_path: Path, arguments: tuple[str, ...], status: int) -> None:
    """Whatever is typed wrongly ends with its status and words for people, as JSON where that was asked for."""
    filled = [argument.replace("{}", str(tmp_path)) for argument in arguments]
    done = command(*filled)
    assert done.returncode == status
    assert "Traceback" not in done.stderr + done.stdout
    assert done.stderr or done.stdout
    if not filled or filled[0] == "doctor":
        return
    told = json.loads(command(*filled, "--json").stderr)
    assert {"code", "message", "hint"} <= told.keys()
    assert told["message"]


@pytest.mark.parametrize(
    "more",
    [
        ("--ttl", "0"),
        ("--ttl", "-5"),
        ("--ttl", "99999999999"),
        ("--public-key", "short"),
        ("--role", "hub"),
    ],
)
def test_a_token_asked_for_wrongly(hub: HubProcess, more: tuple[str, ...]) -> None:
    """A token with a lifetime, key or role that can't be is refused alike by a running and a stopped hub."""
    arguments = (
        "token",
        "--data",
        hub.data,
        "--device",
        DEVICE,
        "--user",
        USER,
        "--role",
        "clinician",
        *more,
    )
    stopped = command(*arguments)
    hub.start("--plain-http")
    running = command(*arguments)
    assert (stopped.returncode, running.returncode) == (2, 2)
    assert stopped.stderr == running.stderr


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_the_program_alone(arguments: tuple[str, ...]) -> None:
    """Without a command it shows its help, as wrong usage; asked for its help, it shows it with an example."""
    done = command(*arguments)
    assert done.returncode == (0 if arguments else 2)
    shown = done.stdout if arguments else done.stderr
    assert shown.startswith("Usage: medxz-hub ")
    assert "Example:" in shown


@pytest.mark.parametrize("name", TYPED)
def test_every_command_has_an_example(name: str) -> None:
    """--help of every command ends with an example, and every command speaks JSON."""
    told = command(*name.split(), "--help")
    assert told.returncode == 0
    assert "Example:\n" in told.stdout
    assert re.search(rf"medxz-hub {name}\s", told.stdout.partition("Example:\n")[2])
    assert "--json" in told.stdout


def test_no_command_is_forgotten_here() -> None:
    """The list of commands above is the program's own."""
    listed = command("--help").stdout.partition("Commands:\n")[2].partition("Example:")[0]
    assert tuple(sorted(line.split()[0] for line in listed.splitlines() if line.strip())) == tuple(
        sorted([*COMMANDS, *GROUPS])
    )
    assert command("--version").stdout.startswith("medxz-hub, version ")


def test_the_shell_completes() -> None:
    """The shell's completion, as docs/configuration.md has it, is printed by the program."""
    done = command(env={"_MEDXZ_HUB_COMPLETE": "bash_source"})
    assert "complete" in done.stdout
