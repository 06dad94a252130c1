"""A claimed hub whose power is cut while a backlog goes up: nothing is lost, and nothing is in the cloud twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.system.hub_process import environment
from tests.system.world import HUB
from tests.uplink.conftest import Box, Relay, Tablet, until

pytestmark = pytest.mark.slow


class Killed(Box):
    """A hub in a process of its own."""

    process: asyncio.subprocess.Process | None = None

    async def start(self) -> Killed:
        arguments = ["run", "--data", self.folder, "--port", self.port, "--plain-http", "--json"]
        with (self.folder.parent / "hub.err").open("ab") as said:
            self.process = await asyncio.create_subprocess_exec(
                *HUB, *map(str, arguments), env=environment(), stdout=asyncio.subprocess.DEVNULL, stderr=said
            )
        self.http = httpx.AsyncClient(base_url=self.url, timeout=60)
        await until(self.answers, "the hub")
        return self

    async def answers(self) -> bool:
        try:
            return (await self.http.get("/health/ready")).status_code == 200
        except httpx.TransportError:
            return False

    async def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            await self.process.wait()
            self.process = None
            await self.http.aclose()


async def test_a_hub_that_is_killed_in_the_middle(relay: Relay, tmp_path: Path) -> None:
    """Killed again and again while it drains, it goes on each time, and in the end each op is in the cloud once."""
    hub = Killed(tmp_path / "hub")
    await hub.claim(relay, "North")
    await hub.start()
    await relay.add_user("nora@clinic.example")
    nora = await Tablet.enrolled(hub, relay, "North", "nora@clinic.example")
    ids: list[str] = []
    for deaths in range(3):
        await relay.stop()
        ids += await nora.record(1_500)
        await relay.start()
        before = len(ids) - 1_500
        await until(lambda before=before: begun(relay, nora, before), "the first of them")  # type: ignore[misc]
        await hub.stop()
        assert len(await relay.stored(nora.token)) <= len(ids), deaths
        await hub.start()

    async def is_all_told() -> bool:
        return await nora.cloud_through() == len(ids)

    await until(is_all_told, "everything in the cloud")
    stored = await relay.stored(nora.token)
    assert sorted(stored) == sorted(ids)
    assert (await nora.status())["upstream"]["backlog"] == 0
    await hub.stop()


async def begun(relay: Relay, tablet: Tablet, before: int) -> bool:
    return len(await relay.stored(tablet.token)) > before
