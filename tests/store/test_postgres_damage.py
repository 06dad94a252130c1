"""What a relay does where the database is not what it was: a damaged row, a missing one, a database that was restored."""

from __future__ import annotations

import asyncio
import json

import asyncpg
import pytest

from medxz.errors import RowCorrupt, StoreError
from medxz.ids import uuid_bytes
from medxz.store.base import BEGINNING, DeadLetter, Position, PositionLost
from medxz.store.postgres.following import Following
from medxz.store.postgres.log import PostgresLog
from tests.making import DEVICE, OTHER_DEVICE, batch, fixed_id, make_op, run_of
from tests.store.conftest import PostgresBackend


async def change(backend: PostgresBackend, *statements: str) -> None:
    """Behind the back of the relays; $1 is the clinic."""
    connection = await asyncpg.connect(backend.url)
    for statement in statements:
        await connection.execute(statement, backend.clinic_id)
    await connection.close()


TABLES = ("log", "log_past", "op", "block", "entity_base", "dead_letter", "review", "shared_number")


class Backup:
    """All rows of a clinic's log at a moment, to be put back."""

    def __init__(self, backend: PostgresBackend) -> None:
        self._backend = backend
        self._rows: dict[str, list[asyncpg.Record]] = {}

    async def take(self) -> None:
        connection = await asyncpg.connect(self._backend.url)
        for table in TABLES:
            self._rows[table] = await connection.fetch(
                f"SELECT * FROM {table} WHERE clinic_id = $1", self._backend.clinic_id
            )
        await connection.close()

    async def restore(self) -> None:
        connection = await asyncpg.connect(self._backend.url)
        async with connection.transaction():
            for table in TABLES:
                await connection.execute(f"DELETE FROM {table} WHERE clinic_id = $1", self._backend.clinic_id)
                await connection.copy_records_to_table(table, records=self._rows[table])
        await connection.close()


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Relays that neither hear of others nor look by themselves."""
    monkeypatch.setattr(PostgresLog, "follow_soon", lambda _: None)


async def written_past(backend: PostgresBackend, backup: Backup, commits: int) -> None:
    """The database goes back, and another relay appends to it `commits` times, an op of another device each."""
    await backup.restore()
    other = await backend.open()
    for number in range(1, commits + 1):
        await other.append(batch(make_op(number, device_id=OTHER_DEVICE)))


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


@pytest.mark.usefixtures("deaf")
@pytest.mark.parametrize("commits", [1, 2, 7])
async def test_a_database_that_went_back_and_was_written_past_is_read_anew(
    postgres_backend: PostgresBackend, commits: int
) -> None:
    """However far others came meanwhile, what it lost is neither claimed nor rejected: it is stored again."""
    log, backup = await postgres_backend.open(), Backup(postgres_backend)
    ops = run_of(1, 5)
    await log.append(batch(*ops[:3]))
    await backup.take()
    await log.append(batch(ops[3]))
    await log.append(batch(ops[4]))
    await written_past(postgres_backend, backup, commits)
    await log.follow()
    assert (log.last_seq, log.settled()) == (3 + commits, {DEVICE: 3, OTHER_DEVICE: commits})
    outcomes = await log.append(batch(*ops[2:]))
    assert [(outcome.kind, outcome.seq) for outcome in outcomes] == [
        ("duplicate", 3), ("stored", 4 + commits), ("stored", 5 + commits),
    ]  # fmt: skip
    assert log.settled() == {DEVICE: 5, OTHER_DEVICE: commits}
    assert (await log.page(BEGINNING, 100, "full")).count == 5 + commits


@pytest.mark.usefixtures("deaf")
@pytest.mark.parametrize("commits", [1, 2, 7])
@pytest.mark.parametrize("count", [1, 120])
async def test_a_relay_that_appends_where_others_wrote_past_what_was_lost(
    postgres_backend: PostgresBackend, commits: int, count: int
) -> None:
    """At the same count of commits or beyond it: an append finds out, whether it is one statement or copied in."""
    log, backup = await postgres_backend.open(), Backup(postgres_backend)
    await log.append(batch(*run_of(1, 3)))
    await backup.take()
    await log.append(batch(make_op(4)))
    await log.append(batch(make_op(5)))
    await written_past(postgres_backend, backup, commits)
    outcomes = await log.append(batch(*run_of(4, 3 + count)))
    assert [(outcome.kind, outcome.seq) for outcome in outcomes] == [
        ("stored", seq) for seq in range(4 + commits, 4 + commits + count)
    ]
    assert log.settled() == {DEVICE: 3 + count, OTHER_DEVICE: commits}
    assert (await log.verify()).damaged == []


@pytest.mark.usefixtures("deaf")
async def test_a_rejection_that_a_restored_database_lacks(postgres_backend: PostgresBackend) -> None:
    """A number that only a lost rejection had settled is free again, though the ops are where they were."""
    log, backup = await postgres_backend.open(), Backup(postgres_backend)
    await log.append(batch(make_op(1)))
    await backup.take()
    letter = DeadLetter(DEVICE, 2, fixed_id(99), "invalid", "no op", settles=True)
    await log.append(batch(dead_letters=[letter]))
    assert log.settled() == {DEVICE: 2}
    await written_past(postgres_backend, backup, 3)
    await log.follow()
    assert log.settled() == {DEVICE: 1, OTHER_DEVICE: 3}


async def test_polling_finds_a_database_that_came_to_the_same_count_again(
    postgres_backend: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody tells of it, and the count is the one that is known."""
    log, backup = await postgres_backend.open(), Backup(postgres_backend)
    await log.append(batch(*run_of(1, 3)))
    await backup.take()
    await log.append(batch(make_op(4)))
    with monkeypatch.context() as silent:
        silent.setattr(PostgresLog, "follow_soon", lambda _: None)
        await written_past(postgres_backend, backup, 1)
    async with asyncio.timeout(10):
        while log.settled() != {DEVICE: 3, OTHER_DEVICE: 1}:
            await asyncio.sleep(0.02)


@pytest.mark.usefixtures("deaf")
async def test_a_database_that_goes_back_while_it_is_read(
    postgres_backend: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a relay had read of a commit when it was cut off is not kept, though the count is the one before it."""
    log, other = await postgres_backend.open(), await postgres_backend.open()
    await log.append(batch(*run_of(1, 3)))
    backup = Backup(postgres_backend)
    await backup.take()
    await other.append(batch(*run_of(4, 6)))

    whole = Following._follow_ops

    async def cut(following: Following, connection: asyncpg.Connection, through: int) -> None:
        await whole(following, connection, through)
        raise StoreError("cut")

    with monkeypatch.context() as cutting:
        cutting.setattr(Following, "_follow_ops", cut)
        with pytest.raises(StoreError, match="cut"):
            await log.follow()
    await backup.restore()
    [outcome] = await log.append(batch(make_op(5)))
    assert (outcome.kind, outcome.seq) == ("stored", 4)
    assert (log.last_seq, log.settled()) == (4, {DEVICE: 3})


@pytest.mark.usefixtures("deaf")
async def test_who_was_away_goes_on_from_there(
    postgres_backend: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What others committed to the same history is added to what is known: nothing is told a second time."""
    log, other = await postgres_backend.open(), await postgres_backend.open()
    await log.append(batch(*run_of(1, 3)))
    for number in range(1, 5):
        await other.append(batch(make_op(number, device_id=OTHER_DEVICE)))
    monkeypatch.setattr(PostgresLog, "_forget", lambda _: pytest.fail("read anew"))
    monkeypatch.setattr(Following, "_restart", lambda _: pytest.fail("read anew"))
    await log.follow()
    assert log.settled() == {DEVICE: 3, OTHER_DEVICE: 4}


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
