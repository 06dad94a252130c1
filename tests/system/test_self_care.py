"""A real hub looks after itself: a part that breaks is begun again, and everything that it measures is told."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.system.hub_process import HubProcess, answer, command, wait_until

pytestmark = pytest.mark.slow

# one task breaks twice, and care looks often; what would lie ten minutes apart lies seconds apart
BREAKING = """
from hub.care import care, parts
from hub.tls import Tls
care.EVERY_S, parts.APART_S = 0.2, 0.5
keep_renewed, left = Tls.keep_renewed, [1, 2]
async def breaking(self):
    if left:
        left.pop()
        raise RuntimeError("a fault of ours")
    await keep_renewed(self)
Tls.keep_renewed = breaking
from hub.cli import main
main()
"""
CHECKS = {"disk", "wear", "temperature", "memory", "clock", "wal", "certificate", "backup", "parts"}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubProcess]:
    process = HubProcess(tmp_path)
    yield process
    process.kill()


def check(hub: HubProcess, name: str) -> dict[str, Any]:
    told = httpx.get(f"{hub.url}/health", timeout=30).json()["checks"]
    return next(dict(each) for each in told if each["name"] == name)


def test_a_part_that_breaks_is_begun_again(hub: HubProcess) -> None:
    """In the same process and on the same port, as often as it breaks; /health and the figures say how often."""
    hub.launch("--plain-http", "--no-mdns", program=(sys.executable, "-c", BREAKING))
    hub.wait_until_ready()
    assert hub.process is not None
    number = hub.process.pid

    def is_begun_twice() -> bool:
        try:
            return "begun again 2 times" in check(hub, "parts")["detail"]
        except httpx.TransportError:  # just then
            return False

    wait_until(is_begun_twice, "the certificate's part is begun again")
    assert (hub.process.pid, hub.process.poll()) == (number, None)
    figures = httpx.get(f"{hub.url}/metrics", timeout=30).text
    assert "medxz_parts_begun_again 2.0" in figures
    assert "certificate ended" in hub.log.read_text()
    assert hub.stop()[0] == 0


def test_what_it_measures_is_told_three_times(hub: HubProcess) -> None:
    """The same names in /health and doctor; what is not well has something to do; a stopped hub tells its machine."""
    hub.start("--plain-http", "--no-mdns")
    health = httpx.get(f"{hub.url}/health", timeout=30).json()
    assert {each["name"] for each in health["checks"]} >= CHECKS
    figures = httpx.get(f"{hub.url}/metrics", timeout=30).text
    for name in (
        "disk_free_bytes",
        "memory_available_bytes",
        "wal_bytes",
        "backup_made_seconds",
        "wear_percent",
    ):
        assert f"\nmedxz_{name} " in figures
    note = hub.data / "backup.json"
    hub.stop()
    note.write_text('{"trouble": {"at": "2026-11-22T01:00:00.000Z", "message": "the stick is full"}}')
    assert {each["name"] for each in answer("doctor", "--data", hub.data)["checks"]} >= {
        "wear",
        "temperature",
        "memory",
    }
    hub.start("--plain-http", "--no-mdns")
    found = command("doctor", "--data", hub.data)
    assert found.returncode == 1
    assert "the stick is full" in found.stdout
    assert "medxz-hub backup --to" in found.stdout
