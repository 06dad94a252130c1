"""The operator's commands of `medxz-cloud`: what they answer, what they refuse, how they end."""

from __future__ import annotations

import json
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyotp
import pytest

from medxz.ids import is_uuid
from tests.system.cloud_process import Relay, cloud_command, command_here
from tests.system.hub_process import DEADLINE_S, environment
from tests.system.test_cloud_program import new_database
from tests.system.world import ADMIN, CLOUD, IDS, PASSWORD

pytestmark = pytest.mark.slow

OTHER_PASSWORD = "a short swim in the lake"


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def cloud(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Relay:
    """A cloud that was made and does not run: commands need none that does."""
    database = None if request.param == "sqlite" else new_database(request.getfixturevalue("postgres_url"))
    made = Relay(tmp_path_factory.mktemp("cloud"), database=database)
    made.init("North", "South")
    return made


def fails(cloud: Relay, *arguments: object, text: str | None = None) -> tuple[int, dict[str, Any]]:
    """The status, and what is told of it."""
    ended = command_here(*arguments, "--data", cloud.data, *cloud.where, "--json", text=text)
    assert ended.stdout == ""
    told: dict[str, Any] = json.loads(ended.stderr.splitlines()[-1])
    assert "Traceback" not in ended.stderr
    return ended.returncode, told


def add_user(cloud: Relay, email: str, *roles: str) -> str:
    named = [part for role in roles or ("clinician",) for part in ("--role", role)]
    return str(
        cloud.ask(
            "user", "add", "--email", email, "--name", "Somebody", *named, "--password-file", "-",
            text=PASSWORD,
        )["user_id"]
    )  # fmt: skip


def test_init_tells_the_ids(tmp_path: Path) -> None:
    """`init` answers with the ids of the clinic, of its sites in their order, and of the administrator."""
    cloud = Relay(tmp_path)
    told = cloud.init("West", "East")
    assert sorted(told) == ["admin_user_id", "clinic_id", "sites"]
    assert [site["name"] for site in told["sites"]] == ["West", "East"]
    assert all(
        map(is_uuid, (told["clinic_id"], told["admin_user_id"], *[s["site_id"] for s in told["sites"]]))
    )
    key = tmp_path / "cloud.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE((cloud.data / "cloud.db").stat().st_mode) == 0o600
    assert PASSWORD.encode() not in (cloud.data / "cloud.db").read_bytes()


def test_a_cloud_is_made_once(cloud: Relay) -> None:
    """A second `init` changes nothing, and says how another clinic is added."""
    status, told = fails(
        cloud, "init", "--clinic", "Again", "--site", "North", "--admin-email", ADMIN,
        "--admin-password-file", "-", text=PASSWORD,
    )  # fmt: skip
    assert status == 1
    assert "clinic add" in told["hint"]
    assert len(cloud.ask("clinic", "list")["clinics"]) == 1


def test_an_init_that_is_refused_is_given_again(tmp_path: Path) -> None:
    """Where the password is not taken no cloud is there yet; with another one it is made."""
    cloud = Relay(tmp_path)
    wanted = ("init", "--clinic", "C", "--site", "S", "--admin-email", ADMIN, "--admin-password-file", "-")
    status, told = fails(cloud, *wanted, text="short\n")
    assert (status, told["code"]) == (2, "invalid")
    assert fails(cloud, "user", "list")[0] != 0
    assert is_uuid(cloud.ask(*wanted, text=PASSWORD)["clinic_id"])


def test_people(cloud: Relay) -> None:
    """People are added, listed, given roles and passwords, disabled and let in again, by address or by id."""
    email = "people@clinic.example"
    user_id = add_user(cloud, email)

    def listed() -> dict[str, Any]:
        return next(user for user in cloud.ask("user", "list")["users"] if user["user_id"] == user_id)

    assert listed() == {
        "user_id": user_id, "email": email, "name": "Somebody", "roles": ["clinician"], "disabled": False,
    }  # fmt: skip
    cloud.ask("user", "roles", "--email", email, "--role", "admin", "--role", "clinician")
    assert listed()["roles"] == ["admin", "clinician"]
    cloud.ask("user", "disable", "--email", user_id)
    assert listed()["disabled"] is True
    cloud.ask("user", "disable", "--email", email, "--undo")
    assert listed()["disabled"] is False
    cloud.ask("user", "passwd", "--email", email, "--password-file", "-", text=OTHER_PASSWORD)


def test_people_are_refused_with_the_reason(cloud: Relay) -> None:
    """An address that is taken, a role that is none, a weak password and a person who is not there are told apart."""
    add_user(cloud, "taken@clinic.example")
    add = ("user", "add", "--name", "N", "--password-file", "-", "--role", "clinician", "--email")
    assert fails(cloud, *add, "Taken@Clinic.example", text=PASSWORD)[0] == 2
    assert fails(cloud, *add, "weak@clinic.example", text="password1234")[0] == 2
    assert fails(cloud, *add, "no address", text=PASSWORD)[0] == 2
    roles = ("user", "roles", "--email", "taken@clinic.example", "--role", "operator")
    assert fails(cloud, *roles) == (2, fails(cloud, *roles)[1])
    status, told = fails(cloud, "user", "disable", "--email", "nobody@clinic.example")
    assert (status, told["code"]) == (1, "not_found")


def test_passwords_come_from_a_file(cloud: Relay, tmp_path: Path) -> None:
    """A password is the first line of a file; an empty file, and one that is not there, are refused."""
    add = ("user", "add", "--name", "N", "--role", "clinician", "--email", "file@clinic.example")
    empty, full = tmp_path / "empty", tmp_path / "full"
    empty.write_text("\n")
    full.write_text(f"{PASSWORD}\r\nnot this line\n")
    assert fails(cloud, *add, "--password-file", empty)[0] == 2
    assert fails(cloud, *add, "--password-file", tmp_path / "none")[0] == 2
    assert is_uuid(cloud.ask(*add, "--password-file", full)["user_id"])


def test_sites_and_codes(cloud: Relay) -> None:
    """A site that is added gets codes, of the length, number and time that were asked for."""
    site = cloud.ask("site", "add", "--name", "West")
    assert site in cloud.ask("site", "list")["sites"]
    told = cloud.ask("code", "--for", "hub", "--site", "West", "--expires", "2d")
    assert sorted(told) == ["code", "expires_at", "fp", "url"]
    assert len(told["code"]) == 20
    several = cloud.ask(
        "code", "--for", "device", "--site", site["site_id"], "--scope", "front_desk", "--count", "3"
    )
    assert len({each["code"] for each in several["codes"]}) == 3
    assert {len(each["code"]) for each in several["codes"]} == {8}
    assert fails(cloud, "site", "add", "--name", "West")[0] == 2
    assert fails(cloud, "code", "--for", "device", "--site", "Nowhere")[0] == 2
    assert fails(cloud, "code", "--for", "device", "--site", "West", "--expires", "soon")[0] == 2
    assert fails(cloud, "code", "--for", "hub", "--site", "West", "--scope", "full")[0] == 2


def test_a_second_factor(cloud: Relay) -> None:
    """A secret counts once a code of it was shown, and until that is taken back."""
    email = "factor@clinic.example"
    add_user(cloud, email)
    begun = cloud.ask("user", "totp", "--email", email)
    assert begun["enabled"] is False
    app = pyotp.parse_uri(begun["otpauth"])
    assert isinstance(app, pyotp.TOTP)
    wrong = "000000" if app.now() != "000000" else "000001"
    assert fails(cloud, "user", "totp", "--email", email, "--code", wrong)[0] == 2
    assert cloud.ask("user", "totp", "--email", email, "--code", app.now()) == {"enabled": True}
    assert cloud.ask("user", "totp", "--email", email, "--off") == {"enabled": False}
    assert fails(cloud, "user", "totp", "--email", email, "--off", "--code", "123456")[0] == 2


def test_lists_come_in_pages(cloud: Relay) -> None:
    """A list gives as many as were asked for, and with its cursor the rest, each once."""
    for number in range(3):
        add_user(cloud, f"page{number}@clinic.example")
    whole = [user["user_id"] for user in cloud.ask("user", "list")["users"]]
    found: list[str] = []
    cursor: list[str] = []
    while True:
        page = cloud.ask("user", "list", "--limit", "2", *cursor)
        found += [user["user_id"] for user in page["users"]]
        assert len(page["users"]) <= 2
        if page["next_cursor"] is None:
            break
        cursor = ["--cursor", page["next_cursor"]]
    assert found == whole
    assert fails(cloud, "user", "list", "--cursor", "%%%")[0] == 2
    assert fails(cloud, "user", "list", "--limit", "501")[0] == 2


def test_decisions_of_a_clinic(cloud: Relay) -> None:
    """Decisions are shown, taken one or several at a time, and taken back; what is not lawful is named."""
    before = cloud.ask("clinic", "config", "get")
    assert before["keep_own_days"] == 14
    assert cloud.ask("clinic", "config", "set", "keep_own_days", "30")["keep_own_days"] == 30
    both = cloud.ask("clinic", "config", "set", "require_signed_ops=true", "keep_own_days=20")
    assert (both["require_signed_ops"], both["keep_own_days"]) == (True, 20)
    shown = subprocess.run(
        [*CLOUD, "clinic", "config", "get", "--data", str(cloud.data), *map(str, cloud.where)],
        env=environment(), capture_output=True, text=True, timeout=DEADLINE_S, check=True,
    ).stdout  # fmt: skip
    assert {"require_signed_ops = true", "hub_names = []"} <= set(shown.splitlines())  # as `set` takes them
    after = cloud.ask("clinic", "config", "set", "require_signed_ops=null", "keep_own_days=null")
    assert after == before
    status, told = fails(cloud, "clinic", "config", "set", "keep_own_days", "many")
    assert status == 2
    assert "keep_own_days" in told["message"]
    assert fails(cloud, "clinic", "config", "set", "colour", "blue")[0] == 2
    assert fails(cloud, "clinic", "config", "set", "keep_own_days")[0] == 2


def test_keys_rotate(cloud: Relay) -> None:
    """A key that was published just now does not sign yet; at once it does, when that is asked for."""
    status, told = fails(cloud, "key", "rotate")
    assert status == 2
    assert "hour" in told["message"]
    assert cloud.ask("key", "rotate", "--at-once")["kid"]


def test_a_root_goes_into_a_safe(cloud: Relay, tmp_path: Path) -> None:
    """The clinic's root is written for its owner alone, taken away when that is asked for, and brought back to renew."""
    file = tmp_path / "root.pem"
    cloud.ask("ca", "export-root", "--out", file, "--remove")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert b"PRIVATE KEY" in file.read_bytes()
    assert fails(cloud, "ca", "export-root", "--out", tmp_path / "again.pem")[0] == 1
    assert not (tmp_path / "again.pem").exists()
    assert cloud.ask("ca", "import-root", "--in", file) == {"renewed": True}
    strange = tmp_path / "strange.pem"
    strange.write_text("no key")
    assert fails(cloud, "ca", "import-root", "--in", strange)[0] == 2
    assert cloud.ask("health")["ok"]


def test_a_file_is_not_written_over(cloud: Relay, tmp_path: Path) -> None:
    """A root is never written over a file that is there, and then its key is not taken away either."""
    other = cloud.ask(
        "clinic", "add", "--clinic", "Hillside", "--site", "S", "--admin-email", ADMIN,
        "--admin-password-file", "-", text=PASSWORD,
    )["clinic_id"]  # fmt: skip
    file = tmp_path / "there.pem"
    file.write_text("something")
    export = ("ca", "export-root", "--clinic", other, "--out")
    assert fails(cloud, *export, file, "--remove")[0] == 1
    assert file.read_text() == "something"
    cloud.ask(*export, tmp_path / "new.pem")


def test_what_was_done_is_noted(cloud: Relay) -> None:
    """Each decision stands in the audit, the looking included, and every chain holds."""
    clinic = cloud.ask("clinic", "list")["clinics"][0]["clinic_id"]
    user_id = str(
        cloud.ask(
            "user", "add", "--clinic", clinic, "--email", "noted@clinic.example", "--name", "N", "--role",
            "clinician", "--password-file", "-", text=PASSWORD,
        )["user_id"]
    )  # fmt: skip
    [entry] = cloud.ask("audit", "list", "--clinic", clinic, "--user", user_id)["entries"]
    assert entry["event"] == "user_added"
    first = cloud.ask("audit", "list", "--clinic", clinic, "--limit", "1")
    assert first["entries"][0]["event"] == "audit_read"
    second = cloud.ask("audit", "list", "--clinic", clinic, "--limit", "1", "--cursor", first["next_cursor"])
    assert second["entries"][0]["hash"] != first["entries"][0]["hash"]
    told = cloud.ask("audit", "verify", "--clinic", clinic)
    assert told["ok"]
    assert all(chain["ok"] for chain in told["chains"])
    assert fails(cloud, "audit", "list", "--clinic", clinic, "--from", "yesterday")[0] == 2


def test_what_is_no_clinics_is_noted_too(cloud: Relay) -> None:
    """What was decided of operators stands in chains of its own, which are listed by pages and walked like a clinic's."""
    clinic = cloud.ask("clinic", "list")["clinics"][0]["clinic_id"]
    operator = cloud.ask("operator", "add", "--name", "Noted")["operator_id"]
    cloud.ask("operator", "disable", "--operator", operator)
    mine = ("audit", "list", "--no-clinic", "--user", operator)
    first = cloud.ask(*mine, "--limit", "1")
    second = cloud.ask(*mine, "--limit", "1", "--cursor", first["next_cursor"])
    entries = first["entries"] + second["entries"]
    assert [entry["event"] for entry in entries] == ["operator_disabled", "operator_added"]
    assert cloud.ask("audit", "list", "--clinic", clinic, "--user", operator)["entries"] == []
    [looked] = cloud.ask("audit", "list", "--no-clinic", "--limit", "1")["entries"]
    assert looked["event"] == "audit_read"
    assert cloud.ask("audit", "verify", "--no-clinic")["ok"]
    assert fails(cloud, "audit", "verify", "--no-clinic", "--clinic", clinic)[0] == 2


def test_devices_and_hubs_that_are_not_there(cloud: Relay) -> None:
    """Lists of nobody are empty, and who is not there can't be shut out."""
    clinic = cloud.ask("clinic", "list")["clinics"][0]["clinic_id"]
    for what in ("device", "hub", "session"):
        assert cloud.ask(what, "list", "--clinic", clinic) == {f"{what}s": [], "next_cursor": None}
        status, told = fails(cloud, what, "revoke", "--clinic", clinic, f"--{what}", IDS.uuid7())
        assert (status, told["code"]) == (1, "not_found")


def test_a_clinic_that_is_not_there(cloud: Relay) -> None:
    """A command about a clinic that this cloud has not fails, and says where the clinics are listed."""
    status, told = fails(cloud, "user", "list", "--clinic", IDS.uuid7())
    assert status == 1
    assert "clinic list" in told["message"]


def test_no_cloud(tmp_path: Path) -> None:
    """Where no cloud was made, each command says how one is, and makes nothing."""
    for arguments in (("user", "list"), ("run", "--plain-http"), ("health",)):
        ended = cloud_command(*arguments, "--data", tmp_path / "none")
        assert ended.returncode == 1, arguments
        assert "medxz-cloud init" in ended.stderr + ended.stdout
    assert list(tmp_path.iterdir()) == []


def test_another_key_is_refused(cloud: Relay, tmp_path: Path) -> None:
    """With a key that is not the cloud's, a command fails and says so; the database stays as it is."""
    key = tmp_path / "other.key"
    key.write_text("cd" * 32 + "\n")
    key.chmod(0o600)
    database = ["--database", cloud.database] if cloud.database is not None else []
    ended = command_here("user", "list", "--data", cloud.data, "--key-file", key, *database, "--json")
    assert ended.returncode == 1
    assert "key" in json.loads(ended.stderr)["message"] + json.loads(ended.stderr)["hint"]


def test_a_database_that_is_not_there(tmp_path: Path) -> None:
    """A PostgreSQL that can't be reached is told in a line, without the password that is in its URL."""
    key = tmp_path / "cloud.key"
    key.write_text("ab" * 32 + "\n")
    key.chmod(0o600)
    url = "postgresql://u:hidden@127.0.0.1:1/none"
    ended = cloud_command("user", "list", "--data", tmp_path / "cloud", "--database", url)
    assert ended.returncode == 1
    assert "hidden" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_wrong_usage() -> None:
    """What is not a command, or lacks what it needs, ends with status 2 and names the help."""
    for arguments in (
        ("frobnicate",),
        ("user", "add"),
        ("code", "--data", "/tmp/x", "--for", "clock", "--site", "N"),
    ):
        ended = cloud_command(*arguments)
        assert ended.returncode == 2, arguments
        assert "--help" in ended.stderr


def test_help_has_an_example() -> None:
    """The help of the program, of a group and of a command ends with an example."""
    for arguments in ((), ("user",), ("user", "add"), ("clinic", "config")):
        told = cloud_command(*arguments, "--help").stdout
        assert "Example:" in told
        assert "medxz-cloud" in told.partition("Example:")[2]


def test_settings_from_the_environment(cloud: Relay) -> None:
    """Directory, key and database may stand in the environment; a name that is no setting is refused there."""
    env = environment({"MEDXZ_CLOUD_DATA": str(cloud.data), "MEDXZ_CLOUD_KEY_FILE": str(cloud.where[1])})
    env |= {"MEDXZ_CLOUD_DATABASE": cloud.database} if cloud.database is not None else {}

    def run(more: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*CLOUD, "clinic", "list", "--json"],
            env=env | more, capture_output=True, text=True, timeout=DEADLINE_S, check=False,
        )  # fmt: skip

    assert json.loads(run({}).stdout)["clinics"]
    refused = run({"MEDXZ_CLOUD_DATABSE": "x"})
    assert refused.returncode == 2
    assert "database" in json.loads(refused.stderr)["message"]


def test_health_of_a_cloud_that_is_not_well(tmp_path: Path) -> None:
    """A key that others may read is found, with what to do about it, and the status is 1."""
    cloud = Relay(tmp_path)
    cloud.init()
    Path(str(cloud.where[1])).chmod(0o644)
    ended = command_here("health", "--data", cloud.data, *cloud.where, "--json")
    assert ended.returncode == 1
    checks = {check["name"]: check for check in json.loads(ended.stdout)["checks"]}
    assert not checks["key file"]["ok"]
    assert "chmod 600" in checks["key file"]["hint"]


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[Relay]:
    relay = Relay(tmp_path)
    relay.init()
    yield relay.start()
    relay.end()


def test_commands_beside_a_running_cloud(busy: Relay) -> None:
    """While a cloud runs, commands that read and commands that write work on the same files at once."""
    commands = [
        subprocess.Popen(
            [*CLOUD, "site", "add", "--name", f"Site {n}", "--data", str(busy.data), *map(str, busy.where)],
            env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )
        for n in range(4)
    ]  # fmt: skip
    ended = [(command.communicate(timeout=DEADLINE_S)[1], command.returncode) for command in commands]
    assert [status for _, status in ended] == [0, 0, 0, 0], ended
    assert len(busy.ask("site", "list")["sites"]) == 5
    assert busy.ask("health")["ok"]
    assert (busy.data / "cloud.url").read_text() == f"{busy.url}\n"
