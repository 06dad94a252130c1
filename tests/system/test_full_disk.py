"""A hub whose disk is full: it stores nothing, says so, goes on being read, and recovers by itself.

The data directory is a small tmpfs of its own, which takes root to mount.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from medxz import limits
from tests.system.hub_process import EAGER_PROGRAM, HubProcess, wait_until
from tests.system.ledger import Ledger, Pusher, Reader, bearer, client_of, make_pushers

DISK_MIB = 16
FILLER_MIB = 12
ROOM_MIB = 2  # each time that it recovers, and where there was no room to start: six times at most

pytestmark = [pytest.mark.root, pytest.mark.slow]


@dataclass(slots=True)
class SmallDisk:
    """A disk with the hub's data, a file that takes most of it, and who pushes."""

    hub: HubProcess
    ledger: Ledger
    pusher: Pusher
    filler: Path

    @property
    def tokens(self) -> dict[str, str]:
        return {self.pusher.device_id: self.pusher.token}

    def fill(self) -> None:
        """Take all the room that is left."""
        with contextlib.suppress(OSError), self.filler.open("ab", buffering=0) as file:
            while True:
                file.write(os.urandom(4_096))

    def make_room(self) -> None:
        os.truncate(self.filler, self.filler.stat().st_size - ROOM_MIB * limits.MIB)

    def start(self) -> None:
        """Start the hub. Where there is no room even to open the log, it says that in one line; then make some."""
        self.hub.launch("--plain-http", program=EAGER_PROGRAM)
        process = self.hub.process
        assert process is not None
        wait_until(
            lambda: process.poll() is not None or b"\n" in self.hub.out.read_bytes(), "a start or an end"
        )
        if process.returncode is not None:
            told = json.loads(self.hub.log.read_text().splitlines()[-1])
            assert (process.returncode, told["code"]) == (1, "storage_full"), told
            assert "not even room" in told["message"]
            self.make_room()
            self.hub.launch("--plain-http", program=EAGER_PROGRAM)
        self.hub.wait_until_ready()

    async def push_until_full(self, client: httpx.AsyncClient) -> httpx.Response:
        """Push until something else than 200 is answered."""
        while (answer := await self.pusher.push_once(client)).status_code == 200:
            assert len(self.ledger.offers) < 100_000, "the disk never became full"
        return answer


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    mounted = tmp_path / "hub"
    mounted.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "none", str(mounted)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    try:
        hub = HubProcess(tmp_path)
        ledger = Ledger()
        [pusher] = make_pushers(hub, ledger, random.Random(7), (200,))
        filler = mounted / "filler"
        filler.write_bytes(os.urandom(FILLER_MIB * limits.MIB))
        try:
            yield SmallDisk(hub, ledger, pusher, filler)
        finally:
            hub.kill()
    finally:
        subprocess.run(["umount", "-l", str(mounted)], check=True)


def assert_full(answer: httpx.Response) -> None:
    assert answer.status_code == 507, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "storage_full"
    assert int(answer.headers["retry-after"]) > 0


def assert_quiet(hub: HubProcess) -> None:
    """No mistake was met, and each line of the log is one JSON object."""
    for line in hub.log.read_text().splitlines():
        assert json.loads(line).get("level") != "error", line


async def first_event(client: httpx.AsyncClient, token: str) -> str:
    async with client.stream("GET", "/v1/sync/stream", headers=bearer(token)) as stream:
        assert stream.status_code == 200
        lines = stream.aiter_lines()
        async for line in lines:
            if line == "event: ops":
                return await anext(lines)
    return ""


async def test_a_full_disk(disk: SmallDisk) -> None:
    """Pushes get 507 with a time to wait, reading goes on, and with room again it works without a restart."""
    await asyncio.to_thread(disk.start)
    async with client_of(disk.hub) as client:
        for _ in range(2):  # and again, once it has recovered
            assert_full(await disk.push_until_full(client))
            disk.fill()
            for _ in range(3):
                assert_full(await disk.pusher.push_once(client))
            await disk.ledger.hold(client, disk.tokens)
            assert (await first_event(client, disk.pusher.token)).startswith("id: ")
            for path in (
                "/v1/sync/status",
                "/v1/config",
                "/v1/info",
                "/health/live",
                "/health/ready",
                "/metrics",
            ):
                assert (await client.get(path, headers=bearer(disk.pusher.token))).status_code == 200, path
            resumed = await client.post(
                "/v1/sync/resume",
                json={"have": {disk.pusher.device_id: 7}},
                headers=bearer(disk.pusher.token),
            )
            assert resumed.status_code == 200
            health = (await client.get("/health")).json()
            told = {check["name"]: check for check in health["checks"]}
            assert health["ok"] is False
            assert told["disk"]["ok"] is False
            assert told["disk"]["detail"].startswith("0 MiB free")
            enrolled = await client.post(
                "/v1/enroll",
                json={"name": "x", "public_key": "A" * 42 + "E"},
                headers=bearer(disk.pusher.token),
            )
            if enrolled.status_code != 200:  # so little may still fit where a push did not
                assert_full(enrolled)
            disk.make_room()
            while disk.pusher.outbox:
                assert (await disk.pusher.push_once(client)).status_code == 200
            await disk.ledger.hold(client, disk.tokens)
            disk.fill()
    assert_quiet(disk.hub)


async def test_it_stops_and_starts_on_a_full_disk(disk: SmallDisk) -> None:
    """SIGTERM ends it with status 0 in time; the next start serves what there is, or says in a line why it does
    not; all that was acknowledged is there, and with room it stores again.
    """
    await asyncio.to_thread(disk.start)
    reader = Reader(disk.pusher.token)
    for stop in ("cleanly", "by a kill", "cleanly"):
        async with client_of(disk.hub) as client:
            await disk.push_until_full(client)
            disk.fill()
            assert_full(await disk.pusher.push_once(client))
        if stop == "cleanly":
            status, seconds = await asyncio.to_thread(disk.hub.stop)
            assert status == 0, disk.hub.log.read_text()
            assert seconds < limits.SHUTDOWN_S_MAX
        else:
            disk.hub.kill()
        disk.fill()
        await asyncio.to_thread(disk.start)
        async with client_of(disk.hub) as client:
            await disk.ledger.hold(client, disk.tokens)
            while await reader.read_once(client):
                pass
            assert reader.seen == disk.ledger.log
            answer = await disk.pusher.push_once(client)
            if answer.status_code != 200:  # closing the store may have made a little room
                assert_full(answer)
            disk.make_room()
            while disk.pusher.outbox:
                assert (await disk.pusher.push_once(client)).status_code == 200
            await disk.ledger.hold(client, disk.tokens)
    assert_quiet(disk.hub)
