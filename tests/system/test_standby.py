"""Two relays on a PostgreSQL with a synchronous standby: what was acknowledged outlives a relay and the primary."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.store.conftest import PostgresBackend
from tests.store.seen import Seen, id_of
from tests.system.cloud_process import Desk
from tests.system.cloud_process import Relay as CloudRelay
from tests.system.hub_process import DEADLINE_S
from tests.system.standby import WithStandby

Acknowledged = dict[str, int]


class Relaying:
    """A process of tests/system/pushing_relay.py, and what it has acknowledged."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.acknowledged: Acknowledged = {}
        self._reading = asyncio.create_task(self._read())
        self._more = asyncio.Event()

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            if not line.endswith(b"\n"):
                break  # it was killed in the middle of it
            device, first, *seqs = map(int, line.split())
            for number, seq in enumerate(seqs, first):
                op_id = id_of(device, number)
                assert self.acknowledged.setdefault(op_id, seq) == seq
            self._more.set()

    async def more(self, ops: int) -> None:
        """Until so many ops more are acknowledged."""
        wanted = len(self.acknowledged) + ops
        while len(self.acknowledged) < wanted:
            assert not self._reading.done(), "the relay has ended"
            self._more.clear()
            await asyncio.wait_for(self._more.wait(), 60)

    async def kill(self) -> None:
        self.process.kill()
        await self._reading

    async def end(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        await asyncio.wait_for(self._reading, 60)
        return await self.process.wait()


@asynccontextmanager
async def relaying(url: str, clinic_id: str, devices: range) -> AsyncIterator[Relaying]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.system.pushing_relay", url, clinic_id, *map(str, devices),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Relaying(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.slow
async def test_no_acknowledged_op_is_missing_after_a_fail_over() -> None:
    """A relay is killed, then the primary; its standby takes over under load, and the other relay's writers go on."""
    async with WithStandby() as database:
        backend = PostgresBackend(database.url)
        async with (
            relaying(database.url, backend.clinic_id, range(0xD0, 0xD4)) as one,
            relaying(database.url, backend.clinic_id, range(0xE0, 0xE4)) as other,
        ):
            await asyncio.gather(one.more(300), other.more(300))
            await one.kill()
            await other.more(200)
            await asyncio.to_thread(database.fail_over)
            await other.more(300)
            assert await other.end() == 0
        acknowledged = one.acknowledged | other.acknowledged
        log = await backend.open()
        seen = Seen()
        await seen.read_all(log)
        seqs = seen.seq_by_id()
        assert sorted(seqs.values()) == list(range(1, log.last_seq + 1))
        assert {op_id: seqs.get(op_id) for op_id in acknowledged} == acknowledged
        assert len(acknowledged) > 1_000
        assert (await log.verify()).damaged == []
        await backend.close()


def push_until_acknowledged(desk: Desk, relay: CloudRelay, count: int = 3) -> list[str]:
    """As a device does: the same ops again, until they are answered as stored."""
    body = {"ops": [desk.an_op() for _ in range(count)]}
    give_up_at = time.monotonic() + DEADLINE_S
    while True:
        try:
            told = httpx.post(f"{relay.url}/v1/sync/push", json=body, headers=desk.headers, timeout=10)
        except httpx.TransportError:
            told = httpx.Response(503)
        if told.status_code == 200:
            assert {result["status"] for result in told.json()["results"]} <= {"accepted", "duplicate"}
            return [str(op["op_id"]) for op in body["ops"]]
        assert told.status_code == 503, told.text
        assert time.monotonic() < give_up_at, relay.said()
        time.sleep(0.05)


@pytest.mark.slow
async def test_a_cloud_of_two_relays_outlives_one_of_them_and_its_primary(tmp_path: Path) -> None:
    """`medxz-cloud` twice on one database: ops, logins and the audit go on at the other relay and at the standby."""
    async with WithStandby() as database:
        one, other = (CloudRelay(tmp_path, name, database.url) for name in ("one", "other"))
        try:
            await asyncio.to_thread(one.init)
            for relay in (one, other):
                await asyncio.to_thread(relay.start)
            desk = await asyncio.to_thread(Desk, one)
            acknowledged = [op for _ in range(10) for op in push_until_acknowledged(desk, one)]
            one.end()  # killed
            desk.relay = other
            acknowledged += [op for _ in range(10) for op in push_until_acknowledged(desk, other)]
            failing_over = asyncio.create_task(asyncio.to_thread(database.fail_over))
            while not failing_over.done():
                acknowledged += await asyncio.to_thread(push_until_acknowledged, desk, other)
            await failing_over
            acknowledged += [op for _ in range(10) for op in push_until_acknowledged(desk, other)]
            assert desk.pulled() == acknowledged
            desk.login()
            assert desk.get("/v1/audit/verify").json()["ok"]
        finally:
            for relay in (one, other):
                relay.end()
