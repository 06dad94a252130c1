"""A hub that is asked for more than it can do, or may: it says so with a time to wait, and goes on."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from medxz import limits
from medxz.program.keys import read_key
from medxz.store.cipher import BUSY_TIMEOUT_MS, open_database
from tests.system.hub_process import DEADLINE_S, HubProcess
from tests.system.ledger import Ledger, bearer, client_of, make_pushers

pytestmark = pytest.mark.slow


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubProcess]:
    process = HubProcess(tmp_path)
    yield process
    process.kill()


def assert_refused(answer: httpx.Response, status: int, code: str) -> int:
    """The seconds after which to come back."""
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    return int(answer.headers["retry-after"])


@asynccontextmanager
async def writer_held(hub: HubProcess) -> AsyncIterator[None]:
    """While inside, the hub's writer waits for the file's write lock, which this process has: a slow card."""
    key = read_key(hub.data.with_name("hub.key"), {})
    connection = await asyncio.to_thread(open_database, hub.data / "hub.db", key)
    try:
        connection.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        yield
        assert time.monotonic() - began < BUSY_TIMEOUT_MS / 1_000, (
            "the hub gave up waiting: this test is too slow"
        )
        connection.execute("ROLLBACK")
    finally:
        connection.close()


async def test_a_flood_over_the_writers_queue(hub: HubProcess) -> None:
    """More than the queue holds gets 503 with a time to wait, reading goes on, and nothing answered is lost."""
    ledger = Ledger()
    flood = 2 + limits.WRITER_QUEUE_OPS_MAX // limits.PUSH_OPS_MAX + limits.TRANSACTION_OPS_MAX // 1_000
    [pusher] = await asyncio.to_thread(make_pushers, hub, ledger, random.Random(3), (limits.PUSH_OPS_MAX,))
    offered = [[pusher.record() for _ in range(limits.PUSH_OPS_MAX)] for _ in range(flood)]
    await asyncio.to_thread(hub.start, "--plain-http")
    async with client_of(hub) as client:
        async with writer_held(hub):
            pushes = [asyncio.create_task(pusher.send(client, pusher.body(ids))) for ids in offered]
            await asyncio.wait(pushes, return_when=asyncio.FIRST_COMPLETED)
            answers = [push.result() for push in pushes if push.done()]
            for path in ("/v1/sync/pull", "/v1/sync/status", "/health/live"):
                assert (await client.get(path, headers=bearer(pusher.token))).status_code == 200
            checks = {check["name"]: check for check in (await client.get("/health")).json()["checks"]}
            assert checks["writer"]["ok"] is False
        assert {assert_refused(answer, 503, "overloaded") for answer in answers} == {
            limits.OVERLOADED_RETRY_S
        }
        for ids, answer in zip(offered, await asyncio.gather(*pushes), strict=True):
            if answer.status_code == 200:
                ledger.take_all(ids, answer)
            else:
                assert_refused(answer, 503, "overloaded")
        assert len(ledger.seqs) > limits.WRITER_QUEUE_OPS_MAX / 4
        await ledger.hold(client, {pusher.device_id: pusher.token})
        for ids in offered:  # all of them once more, as a device would
            ledger.take_all(ids, await pusher.send(client, pusher.body(ids)))
        await ledger.hold(client, {pusher.device_id: pusher.token})
        assert ledger.told_through[pusher.device_id] == flood * limits.PUSH_OPS_MAX
        assert (await client.get("/health/ready")).status_code == 200
        checks = {check["name"]: check for check in (await client.get("/health")).json()["checks"]}
        assert checks["writer"]["ok"] is True


async def until_taken(client: httpx.AsyncClient, ask: httpx.Request) -> float:
    """Ask until it is not rate-limited any more; how many seconds that took."""
    began = time.monotonic()
    while (await client.send(ask)).status_code == 429:
        assert time.monotonic() < began + DEADLINE_S
        await asyncio.sleep(0.05)
    return time.monotonic() - began


async def test_rates_of_requests(hub: HubProcess) -> None:
    """A device that asks too often gets 429 with a time to wait that is enough; no other one notices."""
    one, other = await asyncio.to_thread(make_pushers, hub, Ledger(), random.Random(4), (1, 1))
    await asyncio.to_thread(hub.start, "--plain-http", env={"MEDXZ_HUB_REQUESTS_PER_S": "2"})
    async with client_of(hub) as client:
        ask = client.build_request("GET", "/v1/sync/status", headers=bearer(one.token))
        statuses = [(await client.send(ask)).status_code for _ in range(40)]
        assert statuses[:4] == [200] * 4
        assert statuses.count(429) > 20
        retry_s = assert_refused(await client.send(ask), 429, "rate_limited")
        assert (await client.get("/v1/sync/status", headers=bearer(other.token))).status_code == 200
        assert (await client.get("/v1/info")).status_code == 200
        assert await until_taken(client, ask) <= retry_s + 5


async def test_rates_of_ops(hub: HubProcess) -> None:
    """A device that pushes too much gets 429, nothing of that push is stored, and the rest is taken in its time."""
    (hub.data / "hub.toml").write_text("ops_per_s = 50\n")
    ledger = Ledger()
    [pusher] = await asyncio.to_thread(make_pushers, hub, ledger, random.Random(5), (100,))
    await asyncio.to_thread(hub.start, "--plain-http")
    async with client_of(hub) as client:
        pusher.outbox = [pusher.record() for _ in range(200)]
        assert (await pusher.push_once(client)).status_code == 200
        retry_s = assert_refused(await pusher.push_once(client), 429, "rate_limited")
        assert 1 <= retry_s <= 3
        await ledger.hold(client, {pusher.device_id: pusher.token})
        deadline = time.monotonic() + DEADLINE_S
        while pusher.outbox:
            answer = await pusher.push_once(client)
            if answer.status_code == 429:
                assert time.monotonic() < deadline
                await asyncio.sleep(float(answer.headers["retry-after"]))
        await ledger.hold(client, {pusher.device_id: pusher.token})
        assert ledger.told_through[pusher.device_id] == 200


async def test_streams_of_a_device(hub: HubProcess) -> None:
    """A device has eight streams; one more gets 429 until one of them ends."""
    [pusher] = await asyncio.to_thread(make_pushers, hub, Ledger(), random.Random(6), (1,))
    await asyncio.to_thread(hub.start, "--plain-http")
    async with client_of(hub) as client, contextlib.AsyncExitStack() as streams:
        ask = client.build_request("GET", "/v1/sync/stream", headers=bearer(pusher.token))
        last = None
        for _ in range(limits.STREAMS_PER_DEVICE_MAX):
            last = await client.send(ask, stream=True)
            assert last.status_code == 200
            streams.push_async_callback(last.aclose)
        assert last is not None
        assert_refused(await client.send(ask), 429, "rate_limited")
        await last.aclose()
        deadline = time.monotonic() + DEADLINE_S
        while (again := await client.send(ask, stream=True)).status_code == 429:
            assert time.monotonic() < deadline
            await again.aclose()
            await asyncio.sleep(0.05)
        assert again.status_code == 200
        await again.aclose()
