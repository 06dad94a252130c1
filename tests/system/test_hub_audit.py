"""`medxz-hub audit`: an operator reads what the running hub noted, and finds what was changed behind its back."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlcipher3 import dbapi2 as sqlcipher

from tests.system.hub_process import HubProcess, answer, command

pytestmark = pytest.mark.slow


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubProcess]:
    process = HubProcess(tmp_path)
    yield process
    process.kill()


def test_the_audit_is_read_and_its_chains_hold(hub: HubProcess, tmp_path: Path) -> None:
    """What was decided stands there, the newest first and by pages, the looking included; a changed entry is found."""
    password = tmp_path / "password"
    password.write_text("a long enough password\n")
    who = (
        "--email",
        "ada@clinic.example",
        "--name",
        "Ada",
        "--role",
        "clinician",
        "--password-file",
        password,
    )
    hub.start("--plain-http")
    user_id = answer("user", "add", "--data", hub.data, *who)["user_id"]

    first = answer("audit", "--data", hub.data, "--limit", "1")
    assert [entry["event"] for entry in first["entries"]] == ["audit_read"]
    assert first["entries"][0]["detail"] == {"by": "operator"}
    second = answer("audit", "--data", hub.data, "--limit", "1", "--cursor", first["next_cursor"])
    assert [entry["event"] for entry in second["entries"]] == ["user_added"]
    assert "user_added" in command("audit", "--data", hub.data).stdout
    assert answer("audit", "--data", hub.data, "--to", "2020-01-01") == {"entries": [], "next_cursor": None}
    assert answer("audit", "--data", hub.data, "--verify")["ok"] is True

    for wrong in (
        ("--from", "yesterday"),
        ("--cursor", "%"),
        ("--cursor", "eA"),
        ("--verify", "--user", user_id),
    ):
        done = command("audit", "--data", hub.data, *wrong)
        assert done.returncode == (1 if wrong[1] == "eA" else 2), done.stderr
        assert "Traceback" not in done.stderr

    hub.stop()
    assert command("audit", "--data", hub.data).returncode == 1
    forge(hub)
    hub.start("--plain-http")
    found = command("audit", "--data", hub.data, "--verify", "--json")
    assert found.returncode == 1
    assert [chain["first_broken"] for chain in json.loads(found.stdout)["chains"] if not chain["ok"]] == [1]
    assert "broken at entry 1" in command("audit", "--data", hub.data, "--verify").stdout


def forge(hub: HubProcess) -> None:
    """Somebody with the key makes the first entry of a chain another's."""
    key = hub.data.with_name("hub.key").read_text().strip()
    connection = sqlcipher.connect(str(hub.data / "audit.db"), isolation_level=None)
    connection.execute(f"PRAGMA key = \"x'{key}'\"").fetchall()
    connection.execute("DROP TRIGGER audit_not_updated")
    connection.execute("UPDATE audit SET event = 'nothing' WHERE number = 1").fetchall()
    connection.close()
