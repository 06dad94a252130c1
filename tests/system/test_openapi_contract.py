"""schemathesis against a real hub: what /openapi.json says is what is enforced, both ways."""

from __future__ import annotations

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


def test_schemathesis_finds_nothing(hub, tmp_path):
    """Requests made from the description, lawful and not, are answered as it says; none breaks the hub."""
    device, user = IDS.uuid7(), IDS.uuid7()
    token = hub.token(device, user, "--role", "admin")
    bearer = {"Authorization": f"Bearer {token}"}
    stored = httpx.post(  # something to pull, or every pull with ?wait would wait
        f"{hub.url}/v1/sync/push", content=a_push(an_op(device, user, 1)), headers=bearer, trust_env=False
    )
    assert stored.json()["results"][0]["status"] == "accepted"
    done = subprocess.run(
        [
            sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()",
            "--config-file", CONFIGURATION, "run", f"{hub.url}/openapi.json",
            "-H", f"Authorization: Bearer {token}", "--max-examples", "30", "--seed", str(SEED),
            "--request-timeout", "40", "--generation-database", "none", "--no-color",
        ],
        capture_output=True, text=True, timeout=350, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]
    assert "No issues found" in done.stdout
    assert b'"level":"error"' not in hub.log.read_bytes()
