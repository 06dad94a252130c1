"""A PostgreSQL whose standby is away: whoever waits is told to come again, nothing is acknowledged, and no commit is cut off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from medxz import limits
from medxz.errors import Overloaded
from medxz.store.authority.base import Tx
from medxz.store.authority.postgres import open_postgres
from medxz.store.postgres import pool as pools
from medxz.store.postgres.log import PostgresLog
from medxz.store.postgres.pool import open_pool
from tests.making import batch, make_op, run_of
from tests.store.conftest import PostgresBackend
from tests.system.cloud_process import Desk
from tests.system.cloud_process import Relay as CloudRelay
from tests.system.hub_process import wait_until
from tests.system.standby import WithStandby
from tests.system.world import ADMIN, PASSWORD

WITHIN_S = 1.0


@pytest.fixture
async def database(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WithStandby]:
    monkeypatch.setattr(limits, "COMMIT_S_MAX", WITHIN_S)
    monkeypatch.setattr(pools, "COMMIT_S_MAX", WITHIN_S)
    async with WithStandby() as made:
        yield made


async def until_it_goes_on(log: PostgresLog) -> None:
    async with asyncio.timeout(60):
        while log.stands_still:
            await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_a_push_is_refused_while_the_standby_is_away(database: WithStandby) -> None:
    """In doubt at first, then at once, by another relay too; with the standby back the same op is there, once."""
    backend = PostgresBackend(database.url)
    log, other = await backend.open(), await backend.open()
    await log.append(batch(*run_of(1, 3)))
    await other.follow()
    op = make_op(4)
    with database.standby_away():
        began = time.monotonic()
        with pytest.raises(Overloaded) as refused:
            await log.append(batch(op))
        assert WITHIN_S <= time.monotonic() - began < 10 * WITHIN_S
        assert refused.value.retry_after_s
        assert log.stands_still
        at_once = time.monotonic()
        with pytest.raises(Overloaded):
            await log.append(batch(op))
        assert time.monotonic() - at_once < WITHIN_S / 2
        with pytest.raises(Overloaded):  # what the first relay has committed there is seen by nobody yet
            await other.append(batch(op))
        assert (log.last_seq, other.last_seq, log.waiting_ops) == (3, 3, 0)
    await until_it_goes_on(log)
    await until_it_goes_on(other)
    [outcome] = await other.append(batch(op))
    assert (outcome.kind, outcome.seq) == ("duplicate", 4)
    await log.follow()
    assert log.last_seq == 4
    assert (await log.verify()).damaged == []
    await backend.close()


@pytest.mark.slow
async def test_who_asks_while_every_connection_waits_is_told(database: WithStandby) -> None:
    """A pool of which each connection waits for the standby says so to readers, and is whole again afterwards."""
    pool = await open_pool(database.url, 1)
    decisions = await open_postgres(pool)

    async def write(tx: Tx) -> None:
        await tx.rows("CREATE TABLE IF NOT EXISTS decided (x INTEGER)")
        await tx.rows("INSERT INTO decided VALUES (1)")

    async def read(tx: Tx) -> int:
        [row] = await tx.rows("SELECT count(*) FROM decided")
        return int(row[0])

    await decisions.run(write)
    with database.standby_away():
        with pytest.raises(Overloaded, match="standby"):
            await decisions.run(write)
        with pytest.raises(Overloaded):
            await decisions.read(read)
    async with asyncio.timeout(60):
        while True:
            try:
                found = await decisions.read(read)
                break
            except Overloaded:
                continue
    assert found == 2  # it was not cut off
    await pool.close()


@pytest.mark.slow
async def test_a_relay_says_so(tmp_path: Path) -> None:
    """`medxz-cloud`: a push and a login are answered with 503 in time, /health tells, and then it goes on by itself."""
    async with WithStandby() as database:
        relay = CloudRelay(tmp_path, "relay", database.url)
        try:
            await asyncio.to_thread(relay.init)
            await asyncio.to_thread(relay.start)
            await asyncio.to_thread(refused_while_away, relay, database)
        finally:
            relay.end()


def refused_while_away(relay: CloudRelay, database: WithStandby) -> None:
    desk = Desk(relay)
    held = desk.push(3)
    body = {"ops": [desk.an_op() for _ in range(3)]}
    login = {"email": ADMIN, "password": PASSWORD, "device_id": desk.device_id}
    assert writer_of(relay)["ok"]
    with database.standby_away():
        asked: dict[str, dict[str, Any]] = {"/v1/sync/push": body, "/v1/auth/login": login}
        for path, document in asked.items():
            began = time.monotonic()
            told = desk.post(path, document)
            assert (told.status_code, told.json()["code"]) == (503, "overloaded")
            assert int(told.headers["Retry-After"])
            assert time.monotonic() - began < 2 * limits.COMMIT_S_MAX
        assert not writer_of(relay)["ok"]
        assert "standby" in writer_of(relay)["detail"]
        assert desk.pulled() == held
    wait_until(lambda: desk.post("/v1/sync/push", body).status_code == 200, "that it goes on")
    assert desk.pulled() == held + [str(op["op_id"]) for op in body["ops"]]
    assert writer_of(relay)["ok"]
    desk.login()


def writer_of(relay: CloudRelay) -> dict[str, Any]:
    [found] = [
        check for check in httpx.get(f"{relay.url}/health").json()["checks"] if check["name"] == "writer"
    ]
    return dict(found)
