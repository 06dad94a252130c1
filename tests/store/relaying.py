"""A relay as a process: some writers and some readers of one clinic, on a PostgreSQL that others use too.

`python -m tests.store.relaying JSON`, with the fields of `Task`. It waits for a line on stdin before it begins, and ends
when its readers have seen all ops of all writers, wherever those are.
"""

from __future__ import annotations

import asyncio
import sys
import time

import msgspec

from medxz.clock import SystemClock
from medxz.store.postgres.log import PostgresLog
from medxz.store.postgres.pool import open_pool
from medxz.store.postgres.relay import Relay
from medxz.work import ThreadWorker
from tests.making import batch
from tests.store.conftest import Cloud
from tests.store.seen import Device, Seen, numbered_ops


class Task(msgspec.Struct):
    url: str
    clinic_id: str
    own: list[Device]
    every: list[Device]
    batch_ops: int
    page_ops: list[int]


async def write(log: PostgresLog, device: Device, batch_ops: int) -> None:
    number, count = device
    for first in range(1, count + 1, batch_ops):
        ops = numbered_ops(number, first, min(first + batch_ops - 1, count))
        outcomes = await log.append(batch(*ops))
        assert {outcome.kind for outcome in outcomes} == {"stored"}


async def read(log: PostgresLog, total: int, limit: int) -> Seen:
    seen = Seen()
    while seen.count < total:
        last_seq = log.last_seq
        if not await seen.read(log, limit) and last_seq >= total:
            break  # there will be no more
        if seen.count < total and seen.at.seq >= log.last_seq:
            await log.wait_beyond(last_seq)
    return seen


async def relay(task: Task) -> None:
    pool, worker = await open_pool(task.url), ThreadWorker("bodies")
    relay = Relay(pool, Cloud(), SystemClock(), worker)
    await relay.open()
    log = await relay.open_log(task.clinic_id)
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.monotonic()
    total = sum(count for _, count in task.every)
    readers = [asyncio.create_task(read(log, total, limit)) for limit in task.page_ops]
    await asyncio.gather(*(write(log, device, task.batch_ops) for device in task.own))
    wrote_s = time.monotonic() - began
    for seen in await asyncio.gather(*readers):
        seen.check(task.every)
    print(
        f"wrote in {wrote_s:.1f} s, {log.transactions} transactions, read in {time.monotonic() - began:.1f} s",
        flush=True,
    )
    await log.close()
    await relay.close()
    await pool.close()
    worker.close()


if __name__ == "__main__":
    asyncio.run(relay(msgspec.json.decode(sys.argv[1], type=Task)))
