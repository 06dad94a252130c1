"""schemathesis against a real hub: what /openapi.json says is what is enforced, both ways."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from medxz.ids import RandomIds
from tests.system.hub_process import HubProcess, a_push, an_op

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
IDS = RandomIds()
# a fixed seed: a run that finds something is a run that can be had again
SEED = 20_251_101

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubProcess]:
    process = HubProcess(tmp_path)
    process.start("--plain-http", "--no-mdns")
    yield process
    process.kill()


def a_clinic(device: str, user: str) -> list[dict[str, object]]:
    """Two patients who may be one, of whom the first is told differently three times; and a note, taken back and not."""
    payloads = {
        "named": {"name": [{"family": "Muster"}], "identifier": [{"value": "756.1"}], "telecom": []},
        "called": {"telecom": [{"value": "1"}]},
        "married": {"name": [{"family": "Meier"}]},
    }
    ops = [an_op(device, user, number, payload) for number, payload in enumerate(payloads.values(), 1)]
    ops += [
        an_op(device, user, 4, {"name": [{"family": "Later"}]}),
        an_op(device, user, 5, payloads["named"]),
    ]
    ops += [an_op(device, user, 6), an_op(device, user, 7, {"reason": "no"}), an_op(device, user, 8)]
    for op in ops[:5]:
        op["entity_type"] = "Patient"
    for op, before, op_type in (
        (ops[1], ops[0], "update"), (ops[2], ops[0], "update"), (ops[3], ops[0], "update"), (ops[6], ops[5], "retract"),
        (ops[7], ops[5], "amend"),
    ):  # fmt: skip
        op |= {"entity_id": before["entity_id"], "parents": [before["op_id"]], "op_type": op_type}
    return ops


def test_schemathesis_finds_nothing(hub, tmp_path):
    """Requests made from the description, lawful and not, are answered as it says; none breaks the hub."""
    device, user = IDS.uuid7(), IDS.uuid7()
    token = hub.token(device, user, "--role", "admin")
    bearer = {"Authorization": f"Bearer {token}"}
    ops = a_clinic(device, user)  # and something to pull, or every pull with ?wait would wait
    stored = httpx.post(f"{hub.url}/v1/sync/push", content=a_push(*ops), headers=bearer, trust_env=False)
    assert {result["status"] for result in stored.json()["results"]} <= {"accepted", "conflict"}
    told = httpx.get(f"{hub.url}/v1/conflicts", headers=bearer, trust_env=False).json()["conflicts"]
    assert {conflict["kind"] for conflict in told} == {"edit", "retract", "duplicate"}
    ids = {"ENTITY_ID": str(ops[0]["entity_id"]), "CONFLICT_ID": told[0]["conflict_id"]}
    done = subprocess.run(
        [
            sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()",
            "--config-file", CONFIGURATION, "run", f"{hub.url}/openapi.json",
            "-H", f"Authorization: Bearer {token}", "--max-examples", "30", "--seed", str(SEED),
            "--request-timeout", "40", "--generation-database", "none", "--no-color",
        ],
        capture_output=True, text=True, timeout=350, check=False, cwd=tmp_path, env=os.environ | ids,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]
    assert "No issues found" in done.stdout, done.stdout[-3_000:]
    assert b'"level":"error"' not in hub.log.read_bytes()
