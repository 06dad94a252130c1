"""A hub that its cloud can't be reached from, and a courier: what goes up, what comes down, and what is left alone."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import cloud.cli
import hub.cli
from medxz.courier.envelope import read_slice
from medxz.store.directory import Directory
from tests.uplink.conftest import Box, Relay, Tablet, free_port, until


class Courier:
    """Somebody with a stick, who types the commands at both ends."""

    def __init__(self, stick: Path, relay: Relay) -> None:
        self.stick, self.relay = stick, relay
        stick.mkdir()

    async def said(self, program: Any, *arguments: object) -> tuple[int, dict[str, Any]]:
        """The status of a command and what it answered, or complained of."""
        done = await asyncio.to_thread(CliRunner().invoke, program, [*map(str, arguments), "--json"])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            return 1, {"message": str(done.exception)}
        return done.exit_code, json.loads(done.stdout)

    async def at_hub(self, box: Box, command: str, *more: object, status: int = 0) -> dict[str, Any]:
        word = "--to" if command == "export" else "--from"
        found, told = await self.said(hub.cli.cli, command, "--data", box.folder, word, self.stick, *more)
        assert found == status, told
        return told

    async def at_cloud(self, *more: object, status: int = 0) -> dict[str, Any]:
        found, told = await self.said(
            cloud.cli.cli, "import", "--data", self.relay.folder, "--from", self.stick, *more
        )
        assert found == status, told
        return told

    async def call(self, box: Box) -> dict[str, Any]:
        """Up and down once."""
        await self.at_hub(box, "export")
        await self.at_cloud()
        return await self.at_hub(box, "import")

    def files(self, way: str) -> list[Path]:
        return sorted(self.stick.glob(f"medxz-{way}-*.courier"))


@pytest.fixture
async def courier(tmp_path: Path, relay: Relay) -> Courier:
    return Courier(tmp_path / "stick", relay)


async def moved(relay: Relay) -> None:
    """The cloud serves on, where no hub finds it."""
    await relay.stop()
    relay.port = free_port()
    await relay.start()


def known(box: Box) -> Directory:
    return box.running.storage.registry.directory


async def ops_of(box: Box) -> set[str]:
    reading = await box.running.storage.log.ops_after(0, 10_000)
    return {str(json.loads(text)["op_id"]) for text in reading}


async def ops_of_cloud(relay: Relay) -> set[str]:
    clinic = await relay.running.parts.clinics.get(relay.clinic_id)
    return {str(json.loads(text)["op_id"]) for text in await clinic.log.ops_after(0, 10_000)}


async def test_a_round_brings_both_logs_into_step(
    relay: Relay, north: Box, south: Box, nora: Tablet, courier: Courier
) -> None:
    """After one round both have every op, the tablet's numbers count as safe in the cloud, and nothing is left to carry."""
    await relay.add_user("sam@clinic.example")
    sam = await Tablet.enrolled(south, relay, "South", "sam@clinic.example")
    theirs = await sam.record(3)
    await until(lambda: south.backlog == 0, "the south's ops in the cloud")
    await until(lambda: north.running.storage.log.last_seq == 3, "the south's ops in the north")
    await north.stop()
    await moved(relay)
    await south.stop()
    await north.start()
    ours = await nora.record(7)
    assert await nora.cloud_through() == 0

    up = await courier.at_hub(north, "export")
    assert up["ops"] == 7
    told = await courier.at_cloud()
    assert [hub["accepted"] for hub in told["hubs"]] == [7]
    assert await ops_of_cloud(relay) == {*ours, *theirs}
    down = await courier.at_hub(north, "import")
    assert (down["refused"], down["ops"]) == ([], 0)
    assert await nora.cloud_through() == 7
    assert north.backlog == 0
    assert (await courier.at_hub(north, "export"))["ops"] == 0
