"""The commands about the fleet: what they answer, what they refuse, how they end."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from medxz.trust.operators import PREFIX
from tests.system.cloud_process import Relay, command_here

pytestmark = pytest.mark.slow

KIND = "medxz-hub-amd64"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Relay:
    made = Relay(tmp_path_factory.mktemp("cloud"))
    made.init("North")
    return made


def given(cloud: Relay, *arguments: object) -> tuple[int, dict[str, Any]]:
    """The status, and what was answered or told of the failure."""
    ended = command_here(*arguments, "--data", cloud.data, "--json")
    assert "Traceback" not in ended.stderr
    lines = (ended.stderr if ended.returncode else ended.stdout).splitlines()
    return ended.returncode, json.loads(lines[-1])


def bundle(folder: Path, version: str) -> Path:
    file = folder / f"{version}.raucb"
    file.write_bytes(b"bundle" + version.encode())
    said = {"version": version, "compatible": KIND, "size": file.stat().st_size}
    said["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    file.with_name(file.name + ".json").write_text(json.dumps(said))
    return file


def test_operators(cloud: Relay) -> None:
    """An operator is added, gets tokens that are told once, and is shut out; each token by itself too."""
    operator_id = cloud.ask("operator", "add", "--name", "Ada")["operator_id"]
    first = cloud.ask("operator", "token", "--operator", "Ada", "--expires", "30d")
    second = cloud.ask("operator", "token", "--operator", operator_id, "--read-only")
    assert (first["read_only"], second["read_only"]) == (False, True)
    assert first["access_token"].startswith(PREFIX)
    assert first["operator_id"] == operator_id
    assert second["expires_at"] > first["expires_at"]

    def listed() -> dict[str, Any]:
        return next(row for row in cloud.ask("operator", "list")["operators"] if row["name"] == "Ada")

    assert {token["token_id"] for token in listed()["tokens"]} == {first["token_id"], second["token_id"]}
    assert first["access_token"] not in json.dumps(listed())
    cloud.ask("operator", "revoke", "--token", first["token_id"])
    assert [token["token_id"] for token in listed()["tokens"]] == [second["token_id"]]
    cloud.ask("operator", "disable", "--operator", "Ada")
    assert (listed()["disabled"], listed()["tokens"]) == (True, [])
    assert given(cloud, "operator", "token", "--operator", "Ada")[0] == 2
    cloud.ask("operator", "disable", "--operator", "Ada", "--undo")
    assert given(cloud, "operator", "add", "--name", "Ada")[1]["code"] == "invalid"
    assert given(cloud, "operator", "token", "--operator", "Eve")[1]["code"] == "not_found"
    assert given(cloud, "operator", "token", "--operator", "Ada", "--expires", "9999d")[0] == 2


def test_rings_and_rollouts(cloud: Relay, tmp_path: Path) -> None:
    """A release that is held waits for a rollout, which ends at once where there are no hubs; rings keep its version."""
    assert given(cloud, "rollout", "status")[1]["code"] == "not_found"
    assert given(cloud, "rollout", "start", "--version", "0.2.0")[1]["code"] == "invalid"
    told = cloud.ask("release", "add", "--bundle", bundle(tmp_path, "0.2.0"), "--hold")
    assert (told["version"], told["held"]) == ("0.2.0", True)
    told = cloud.ask("ring", "set", "early", "--setting", "log_level=debug", "--setting", "ops_per_s=5000")
    assert told["settings"] == {"log_level": "debug", "requests_per_s": None, "ops_per_s": 5_000}
    status, begun = given(
        cloud, "rollout", "start", "--version", "0.2.0", "--ring", "canary", "--ring", "early", "--serial", "5",
        "--max-failures", "0", "--wait-for-away", "2h", "--watch",
    )  # fmt: skip
    assert (status, begun["state"], begun["rings"]) == (0, "done", ["canary", "early"])
    assert (begun["serial"], begun["max_failures"], begun["wait_for_away_s"]) == (5, 0, 7_200)
    assert cloud.ask("rollout", "status") == cloud.ask("rollout", "status", "--rollout", begun["rollout_id"])
    rings = {ring["ring"]: ring["version"] for ring in cloud.ask("ring", "list")["rings"]}
    assert rings == {"canary": "0.2.0", "early": "0.2.0", "all": None}
    for verb in ("pause", "resume", "abort"):
        assert given(cloud, "rollout", verb)[1]["code"] == "rollout_state"
    assert cloud.ask("ring", "set", "early", "--version", "newest", "--no-settings")["version"] is None
    for wrong in (
        ("rollout", "start", "--version", "newest"),
        ("rollout", "start", "--version", "0.2.0", "--serial", "many"),
        ("ring", "set", "UP", "--version", "0.2.0"),
        ("ring", "set", "early", "--setting", "port=1"),
        ("hub", "ring", begun["rollout_id"], "UP"),
    ):
        assert given(cloud, *wrong)[0] == 2, wrong
    assert given(cloud, "hub", "ring", begun["rollout_id"], "canary")[1]["code"] == "not_found"
