"""Several relays on one PostgreSQL: each reader of each sees each op once, in order, whoever writes."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg
import msgspec
import pytest

from medxz.clock import format_time
from medxz.have import Numbers
from medxz.store.base import BEGINNING, Append, DeadLetter, Outcome
from medxz.store.postgres import channel, relay
from medxz.store.postgres.log import PostgresLog
from medxz.store.postgres.writing import Writing
from medxz.store.record import render
from medxz.store.tail import Committed
from tests.making import DEVICE, NOON_MS, OTHER_DEVICE, HandClock, batch, fixed_id, make_op, run_of
from tests.postgres import run_sql
from tests.store.conftest import PostgresBackend
from tests.store.relaying import Task
from tests.store.seen import Seen, numbered_ops
from tests.store.test_conflicts import World


@pytest.mark.slow
async def test_each_reader_of_two_relays_sees_each_op_once(postgres_url: str) -> None:
    """200,000 ops of eight writers on two relay processes, read by four readers on both: no gap, nothing twice."""
    clinic_id, each = PostgresBackend(postgres_url).clinic_id, 25_000
    devices = [(0xD0 + n, each) for n in range(8)]
    tasks = [
        Task(postgres_url, clinic_id, devices[part::2], devices, 500, pages)
        for part, pages in enumerate(([1_000, 333], [1_000, 500]))
    ]
    relays = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.store.relaying", msgspec.json.encode(task).decode(),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )
        for task in tasks
    ]  # fmt: skip
    try:
        for process in relays:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"ready\n"
        told = await asyncio.gather(*(process.communicate(b"\n") for process in relays))
    finally:
        for process in relays:
            if process.returncode is None:
                process.kill()
                await process.wait()
    print(told)
    assert [process.returncode for process in relays] == [0, 0], told


@asynccontextmanager
async def two_relays(backend: PostgresBackend) -> AsyncIterator[tuple[PostgresLog, PostgresLog]]:
    yield await backend.open(), await backend.open()


async def test_a_reader_of_another_relay_wakes_by_notify(
    postgres_backend: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait for the poll: an op that one relay stores is on the other at once."""
    monkeypatch.setattr(relay, "POLL_S", 600)
    async with two_relays(postgres_backend) as (one, other):
        for number in range(1, 4):
            waiting = asyncio.create_task(other.wait_beyond(other.last_seq))
            await one.append(batch(make_op(number)))
            await asyncio.wait_for(waiting, 10)
            assert other.last_seq == number


async def test_a_reader_that_hears_nothing_wakes_by_the_poll(
    postgres_backend: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody can listen, the counts are asked for: an op is there a little later."""

    async def deaf(self: channel.Channel, _: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(channel.Channel, "_listen", deaf)
    async with two_relays(postgres_backend) as (one, other):
        waiting = asyncio.create_task(other.wait_beyond(0))
        await one.append(batch(make_op(1)))
        await asyncio.wait_for(waiting, 10)
        assert (other.last_seq, other.settled()) == (1, {DEVICE: 1})


async def test_what_one_relay_settles_the_other_knows(postgres_backend: PostgresBackend) -> None:
    """Duplicates, numbers that are taken, rejections, shared numbers: it is the same whichever relay is asked."""
    async with two_relays(postgres_backend) as (one, other):
        ops = run_of(1, 5)
        await one.append(batch(*ops))
        assert [(out.kind, out.seq) for out in await other.append(batch(*ops))] == [
            ("duplicate", n) for n in range(1, 6)
        ]
        letter = DeadLetter(DEVICE, 6, None, "forbidden", "no", settles=True)
        await one.append(batch(dead_letters=[letter]))
        [outcome] = await other.append(batch(make_op(6)))
        assert (outcome.kind, outcome.dead and outcome.dead.code) == ("dead", "device_seq_reused")
        [outcome] = await other.append(batch(second := make_op(2), lenient=True))
        assert outcome.seq == 6
        await one.append(batch(make_op(7)))
        assert [row.op_id for row in await one.reviews(0, 10)] == [second.op_id]
        assert one.settled() == {DEVICE: 7}
        assert (await one.locate({DEVICE: Numbers([(1, 7)])}, "full")).seq == 1
        [outcome] = await one.append(batch(make_op(1, device_id=OTHER_DEVICE, op_id=ops[0].op_id)))
        assert outcome.dead is not None
        assert outcome.dead.code == "op_id_reused"


async def test_a_place_that_another_relay_has_handed_out_is_there(
    postgres_backend: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes with a cursor from one relay reads on at the other, which had not heard of that op yet."""
    monkeypatch.setattr(relay.Relay, "_heard", lambda self, clinic_id: None)
    async with two_relays(postgres_backend) as (one, other):
        await one.append(batch(*run_of(1, 3)))
        seen = Seen()
        await seen.read(one, 10)
        assert (other.last_seq, await seen.read(other, 10)) == (0, 0)
        assert other.last_seq == 3


async def test_times_of_receipt_never_go_back_from_relay_to_relay(postgres_backend: PostgresBackend) -> None:
    """A relay whose clock is an hour behind gives no earlier time than the other relay has given."""
    late = PostgresBackend(postgres_backend.url)
    late.clinic_id, late.clock = postgres_backend.clinic_id, HandClock(NOON_MS - 3_600_000)
    one, other = await postgres_backend.open(), await late.open()
    for number, log in enumerate((one, other, one, other), 1):
        await log.append(batch(make_op(number)))
    page = await one.page(BEGINNING, 10, "full")
    assert {op["server_received_at"] for op in json.loads(page.ops_json)} == {format_time(NOON_MS)}
    await late.close()


@pytest.mark.parametrize("seed", range(3))
async def test_conflicts_are_told_by_what_all_relays_have_stored(
    postgres_backend: PostgresBackend, seed: int
) -> None:
    """Devices that push to one entity through two relays are told of every conflict that was there just then."""
    world = World(random.Random(seed), entities=4)
    ops = [world.op() for _ in range(300)]
    async with two_relays(postgres_backend) as logs:
        while ops:
            parts = []
            for _ in range(3):
                size = world.rng.choice((1, 2, 7))
                part, ops = ops[:size], ops[size:]
                parts.append(part)
            answers = await asyncio.gather(*(world.rng.choice(logs).append(batch(*part)) for part in parts))
            for part, outcomes in zip(parts, answers, strict=True):
                world.note(part, outcomes)
    assert world.check() > 20


def planted(take: str, may_store: asyncio.Event) -> type[Writing]:
    """A writer that takes its numbers apart from storing its ops: a mistake. The device 0xD0 stores when it may."""

    class TakesNumbersFirst(Writing):
        async def write(
            self, batches: Sequence[Append], _size: int, /
        ) -> tuple[list[list[Outcome]], Committed]:
            [ops] = [each.ops for each in batches]
            async with self._pool.connection() as connection, connection.transaction():
                first = await connection.fetchval(take, self._clinic_id, len(ops))
                if ops[0].device_id == fixed_id(0xD0):
                    await may_store.wait()
                records = [
                    render(seq, b"2026-11-21T10:00:00.000Z", op.json()[1:])
                    for seq, op in enumerate(ops, first)
                ]
                frames = await self._bodies.compress(records)
                await connection.executemany(
                    "INSERT INTO op VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                    [
                        (
                            self._clinic_id,
                            seq,
                            op.op_id,
                            op.entity_id,
                            len(frame),
                            False,
                            op.entity_type,
                            frame,
                        )
                        for seq, (op, frame) in enumerate(zip(ops, frames, strict=True), first)
                    ],
                )
            return [[Outcome("stored")] * len(ops)], Committed(1, [], [], [], {})

    return TakesNumbersFirst


@pytest.mark.parametrize(
    "take",
    [
        "SELECT coalesce(max(seq), 0) + 1 FROM op WHERE clinic_id = $1 AND $2 > 0",
        "SELECT min(nextval('serial')) FROM generate_series(1, $2::int) WHERE $1::uuid IS NOT NULL",
    ],
    ids=["max()+1", "serial"],
)
async def test_numbers_that_are_taken_before_the_commit_are_found_out(
    own_database_backend: PostgresBackend, take: str
) -> None:
    """The checker of the test above sees what goes wrong with the two usual ways to number rows."""
    backend = own_database_backend
    reading = await backend.open()
    await run_sql(backend.url, "CREATE SEQUENCE serial; ALTER TABLE op DROP CONSTRAINT op_pkey")
    may_store = asyncio.Event()
    backend.writing = planted(take, may_store)
    one, other = await backend.open(), await backend.open()
    slow = asyncio.create_task(one.append(batch(*numbered_ops(0xD0, 1, 2))))
    await until_idle_in_transaction(backend.url)
    await other.append(batch(*numbered_ops(0xD1, 1, 3)))
    seen = Seen()
    await seen.read_all(reading)
    may_store.set()
    await slow
    await seen.read_all(reading)
    with pytest.raises(AssertionError, match="2 ops were never seen"):
        seen.check([(0xD0, 2), (0xD1, 3)])


async def test_numbers_that_are_taken_in_the_commit_are_not(postgres_backend: PostgresBackend) -> None:
    """The same two relays as they are: the checker finds nothing."""
    reading, one, other = [await postgres_backend.open() for _ in range(3)]
    slow = asyncio.create_task(one.append(batch(*numbered_ops(0xD0, 1, 3))))
    await other.append(batch(*numbered_ops(0xD1, 1, 3)))
    seen = Seen()
    await seen.read_all(reading)
    await slow
    await reading.follow()
    await seen.read_all(reading)
    seen.check([(0xD0, 3), (0xD1, 3)])


async def until_idle_in_transaction(url: str) -> None:
    """Until somebody has taken numbers, and waits."""
    connection = await asyncpg.connect(url)
    async with asyncio.timeout(20):
        while not await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND datname = current_database()"
        ):
            await asyncio.sleep(0.01)
    await connection.close()
