"""Two sites without a line, in real processes: a stick between them and their cloud, and whatever dies on the way."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import click
import pytest
from click.testing import CliRunner

from cloud.cli import cli as cloud_program
from hub.cli import cli as hub_program
from tests.system.cloud_process import Desk, Relay
from tests.system.hub_process import DEADLINE_S, environment, wait_until
from tests.system.world import CLOUD, HUB, CloudProcess, SiteHub, hubs_of_two_sites

pytestmark = pytest.mark.slow

OPS = 200


@dataclass
class Door:
    """A hub, as who is let in by it sees it."""

    hub: SiteHub

    @property
    def url(self) -> str:
        return self.hub.url

    def code(self) -> str:
        return self.hub.cloud.code("device", self.hub.site)


@pytest.fixture
def hubs(tmp_path: Path, cloud: CloudProcess) -> Any:
    with hubs_of_two_sites(tmp_path, cloud) as made:
        yield made


def told(program: click.Group, command: str, data: Path, *arguments: object) -> dict[str, Any]:
    """What a command answers, in this process, which is neither hub nor cloud: starting Python is not what is tested."""
    ended = CliRunner().invoke(program, [command, "--data", str(data), *map(str, arguments), "--json"])
    assert ended.exit_code == 0, ended.output
    answer: dict[str, Any] = json.loads(ended.stdout)
    return answer


def begun(program: Sequence[str], *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*program, *map(str, arguments), "--json"],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_stick_between_sites_without_a_line(
    cloud: CloudProcess, hubs: list[SiteHub], tmp_path: Path
) -> None:
    """After two trips, in the middle of which the command at the cloud and then a hub were killed, every op is at both sites
    and in the cloud, the tablets know it, and one that was revoked is out.
    """
    north, south = hubs
    nora, sam = (Desk(cast(Relay, Door(hub))) for hub in hubs)
    cloud.end(signal.SIGTERM)  # from now on it is opened for what a courier brings, and by nobody else
    stick = tmp_path / "stick"
    stick.mkdir()
    ours, theirs = set(nora.push(OPS)), set(sam.push(OPS))

    for hub in hubs:
        assert told(hub_program, "export", hub.data, "--to", stick)["ops"] == OPS
    taking = begun(CLOUD, "import", "--data", cloud.data, "--from", stick)
    wait_until(lambda: taking.poll() is not None or any(stick.glob("medxz-down-*")), "the answer is begun")
    taking.kill()
    taking.communicate(timeout=DEADLINE_S)
    came = told(cloud_program, "import", cloud.data, "--from", stick)
    assert came["refused"] == []
    assert {hub["accepted"] + hub["duplicate"] for hub in came["hubs"]} == {OPS}

    taking = begun(HUB, "import", "--data", north.data, "--from", stick)
    wait_until(lambda: any((north.data / "courier" / "in").glob("*")), "the hub has something to take in")
    north.end()
    said, complained = taking.communicate(timeout=DEADLINE_S)
    assert taking.returncode in {0, 1}, complained
    assert taking.returncode == 0 or json.loads(complained or said)
    north.start()
    for hub in hubs:
        assert told(hub_program, "import", hub.data, "--from", stick)["refused"] == []
    assert [desk.get("/v1/sync/status").json()["cloud_through"] for desk in (nora, sam)] == [OPS, OPS]

    cloud.command("device", "revoke", "--device", sam.device_id)
    for hub in hubs:
        assert told(hub_program, "export", hub.data, "--to", stick)["ops"] == 0
    told(cloud_program, "import", cloud.data, "--from", stick)
    for hub in hubs:
        assert told(hub_program, "import", hub.data, "--from", stick)["refused"] == []
    assert set(nora.pulled()) == ours | theirs
    assert sam.get("/v1/sync/status").status_code == 401
    south.end(signal.SIGTERM)
    # it does not run, and the same is taken again
    again = told(hub_program, "import", south.data, "--from", stick)
    assert (again["refused"], again["ops"]) == ([], 0)
