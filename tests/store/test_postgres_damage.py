"""What a relay does where the database is not what it was: a damaged row, a missing one, a database that was restored."""

from __future__ import annotations

import asyncio
import json

import asyncpg
import pytest

from medxz.errors import RowCorrupt
from medxz.ids import uuid_bytes
from medxz.store.base import BEGINNING, Position, PositionLost
from tests.making import DEVICE, OTHER_DEVICE, batch, fixed_id, make_op, run_of
from tests.store.conftest import PostgresBackend


async def change(backend: PostgresBackend, *statements: str) -> None:
    """Behind the back of the relays; $1 is the clinic."""
    connection = await asyncpg.connect(backend.url)
    for statement in statements:
        await connection.execute(statement, backend.clinic_id)
    await connection.close()


@pytest.mark.parametrize("reopened", [False, True])
async def test_a_damaged_row_is_never_handed_out(
    postgres_backend: PostgresBackend, *, reopened: bool
) -> None:
    """Whoever is past it is served, what is derived goes on without it, pushes too, and the check names it."""
    log = await postgres_backend.open()
    ops = [make_op(n, entity_id=fixed_id(n % 3 + 1), op_type="amend") for n in range(1, 41)]
    await log.append(batch(*ops))
    await change(
        postgres_backend,
        "UPDATE op SET body = set_byte(body, 20, get_byte(body, 20) # 1) WHERE clinic_id = $1 AND seq = 17",
    )
    log = await (postgres_backend.reopen() if reopened else postgres_backend.open())
    with pytest.raises(RowCorrupt, match="server_seq 17"):
        await log.page(BEGINNING, 100, "full")
    with pytest.raises(RowCorrupt, match="server_seq 17"):
        await log.entities(None, 10, "full", log.last_seq)
    assert (await log.page(Position(17, uuid_bytes(ops[16].op_id)), 100, "full")).count == 23
    assert [json.loads(op)["server_seq"] for op in await log.ops_after(15, 3)] == [16, 18]
    assert [json.loads(op)["server_seq"] for op in await log.ops_after(16, 1)] == [18]
    own = [op.op_id for op in ops if op.entity_id == ops[16].entity_id and op != ops[16]]
    read = await log.entity_ops("Observation", ops[16].entity_id)
    assert [json.loads(op)["op_id"] for op in read] == own
    assert log.verification is not None
    assert (await log.verify()).damaged == [17]
    later = make_op(41, entity_id=ops[16].entity_id, op_type="amend", parents=(own[0],))
    [outcome] = await log.append(batch(later))
    assert (outcome.kind, outcome.seq) == ("stored", 41)
    assert (await log.page(Position(40, uuid_bytes(ops[39].op_id)), 10, "full")).count == 1


async def test_a_row_that_is_gone_is_found_by_the_check(postgres_backend: PostgresBackend) -> None:
    """The log counts without gaps: a row that is missing is damage too, and so is one under another id."""
    log = await postgres_backend.open()
    await log.append(batch(*run_of(1, 30)))
    await change(
        postgres_backend,
        "DELETE FROM op WHERE clinic_id = $1 AND seq = 7",
        "UPDATE op SET op_id = gen_random_uuid() WHERE clinic_id = $1 AND seq = 9",
    )
    assert (await log.verify()).damaged == [7, 9]


async def test_a_database_that_has_gone_back_is_read_anew(postgres_backend: PostgresBackend) -> None:
    """After it was restored nothing of what a relay remembers is told: places are lost, numbers are free again."""
    log = await postgres_backend.open()
    ops = run_of(1, 3)
    await log.append(batch(*ops))
    await log.append(batch(*run_of(4, 6), *run_of(1, 2, OTHER_DEVICE)))
    lost = (await log.page(BEGINNING, 100, "full")).end
    await change(
        postgres_backend,
        "DELETE FROM op WHERE clinic_id = $1 AND seq > 3",
        "UPDATE log SET last_seq = 3, commits = 1 WHERE clinic_id = $1",
    )
    await log.follow()
    assert (log.last_seq, log.settled()) == (3, {DEVICE: 3})
    with pytest.raises(PositionLost):
        await log.page(lost, 100, "full")
    assert (await log.page(BEGINNING, 100, "full")).count == 3
    outcomes = await log.append(batch(ops[2], *run_of(4, 5)))
    assert [(outcome.kind, outcome.seq) for outcome in outcomes] == [
        ("duplicate", 3), ("stored", 4), ("stored", 5),
    ]  # fmt: skip


async def test_a_relay_that_appends_to_a_log_that_has_gone_back(postgres_backend: PostgresBackend) -> None:
    """It finds out by the count, and stores behind what is there."""
    log = await postgres_backend.open()
    await log.append(batch(*run_of(1, 3)))
    await log.append(batch(*run_of(4, 6)))
    await change(
        postgres_backend,
        "DELETE FROM op WHERE clinic_id = $1 AND seq > 3",
        "UPDATE log SET last_seq = 3, commits = 1 WHERE clinic_id = $1",
    )
    outcomes = await asyncio.gather(log.append(batch(make_op(4))), log.append(batch(make_op(7))))
    assert [outcome.seq for [outcome] in outcomes] == [4, 5]
    assert log.settled() == {DEVICE: 4}
    assert (await log.verify()).damaged == []
