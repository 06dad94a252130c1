"""A relay as a process whose writers push again what is in doubt, and say what was acknowledged.

`python -m tests.system.pushing_relay URL CLINIC DEVICE…`: a line `DEVICE FIRST SEQ SEQ…` for each batch that is stored. It goes on
until its standard input ends.
"""

from __future__ import annotations

import asyncio
import sys

from medxz.clock import SystemClock
from medxz.errors import Overloaded
from medxz.store.postgres.log import PostgresLog
from medxz.store.postgres.pool import open_pool
from medxz.store.postgres.relay import Relay
from medxz.work import ThreadWorker
from tests.making import batch
from tests.store.conftest import Cloud
from tests.store.seen import numbered_ops

BATCH_OPS = 5


async def push(log: PostgresLog, device: int, ended: asyncio.Event) -> None:
    first = 1
    while not ended.is_set():
        ops = numbered_ops(device, first, first + BATCH_OPS - 1)
        try:
            outcomes = await log.append(batch(*ops))
        except Overloaded:
            await asyncio.sleep(0.05)  # as a device does: it asks again
            continue
        assert {outcome.kind for outcome in outcomes} <= {"stored", "duplicate"}
        print(device, first, *(outcome.seq for outcome in outcomes), flush=True)
        first += BATCH_OPS


async def relay(url: str, clinic_id: str, devices: list[int]) -> None:
    pool, worker = await open_pool(url), ThreadWorker("bodies")
    relay = Relay(pool, Cloud(), SystemClock(), worker)
    await relay.open()
    log = await relay.open_log(clinic_id)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, ended.set)
    await asyncio.gather(*(push(log, device, ended) for device in devices))
    await log.close()
    await relay.close()
    await pool.close()
    worker.close()


if __name__ == "__main__":
    asyncio.run(relay(sys.argv[1], sys.argv[2], [int(device) for device in sys.argv[3:]]))
