"""What `Transactions` promises, on each database."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest

from medxz.errors import MedxzError, Overloaded, StoreError
from medxz.store.authority import clinics, server
from medxz.store.authority.base import Transactions, TryAgain, Tx
from tests.making import CLINIC, NOON_MS
from tests.postgres import run_sql
from tests.store.authority.conftest import Database


async def add_clinic(tx: Tx) -> None:
    await clinics.add(tx, CLINIC, "Clinic", NOON_MS)


async def revision(transactions: Transactions) -> int:
    found = await transactions.read(lambda tx: clinics.get(tx, CLINIC))
    return 0 if found is None else found.revision


async def test_what_raises_leaves_nothing(transactions: Transactions) -> None:
    """A transaction whose function raises has written nothing, and has no effects."""
    told: list[str] = []

    async def add_and_raise(tx: Tx) -> None:
        await add_clinic(tx)
        tx.after_commit(lambda: told.append("committed"))
        raise LookupError

    async def hear(clinic_ids: Collection[str]) -> None:
        told.extend(clinic_ids)

    transactions.on_change(hear)
    with pytest.raises(LookupError):
        await transactions.run(add_and_raise)
    assert await revision(transactions) == 0
    assert told == []


async def test_a_commit_is_told(transactions: Transactions) -> None:
    """Effects come after the commit and before `run` returns, and a listener may begin a transaction itself."""
    told: list[object] = []

    async def add(tx: Tx) -> str:
        await add_clinic(tx)
        tx.after_commit(lambda: told.append("committed"))
        return "done"

    async def hear(clinic_ids: Collection[str]) -> None:
        told.append((*clinic_ids, await revision(transactions)))

    transactions.on_change(hear)
    assert await transactions.run(add) == "done"
    assert told == ["committed", (CLINIC, 1)]


async def test_as_if_alone(database: Database) -> None:
    """Of many processes that read and then write the same row at once, none overwrites another."""
    opened = [await database.open() for _ in range(3)]
    await opened[0].run(lambda tx: server.make(tx, "server", "0"))

    async def add_one(tx: Tx) -> None:
        found = await server.get(tx)
        assert found is not None
        await asyncio.sleep(0)
        await server.begin_epoch(tx, str(int(found.epoch) + 1))

    await asyncio.gather(*(transactions.run(add_one) for transactions in opened for _ in range(8)))
    found = await opened[0].read(server.get)
    assert found is not None
    assert found.epoch == "24"


async def test_a_reading_transaction_writes_nothing(transactions: Transactions) -> None:
    """What is called reading can't write on either database, and writing goes on working after it tried."""
    with pytest.raises(StoreError):
        await transactions.read(add_clinic)
    await transactions.run(add_clinic)
    assert await revision(transactions) == 1


async def test_reading_sees_one_state(database: Database) -> None:
    """A reading transaction sees what was there when it began, whatever others commit meanwhile."""
    reader, writer = await database.open(), await database.open()
    await writer.run(add_clinic)

    async def read_twice(tx: Tx) -> list[int]:
        before = await clinics.get(tx, CLINIC)
        await writer.run(lambda other: clinics.raise_revision(other, CLINIC))
        after = await clinics.get(tx, CLINIC)
        assert before is not None
        assert after is not None
        return [before.revision, after.revision]

    assert await reader.read(read_twice) == [1, 1]
    assert await revision(reader) == 2


async def test_who_stops_waiting_leaves_it_usable(transactions: Transactions) -> None:
    """A caller that is cancelled in the middle has written nothing, and the next transaction works."""
    begun = asyncio.Event()

    async def never_ends(tx: Tx) -> None:
        await add_clinic(tx)
        begun.set()
        await asyncio.Event().wait()

    waiting = asyncio.create_task(transactions.run(never_ends))
    await begun.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await revision(transactions) == 0
    await transactions.run(add_clinic)
    assert await revision(transactions) == 1


async def test_the_drivers_errors_stay_in_the_store(transactions: Transactions) -> None:
    """A statement that the database does not take is told as an error of ours."""
    with pytest.raises(MedxzError):
        await transactions.run(lambda tx: tx.rows("SELECT nothing FROM nowhere"))
    await transactions.run(add_clinic)


async def test_a_stale_transaction_is_run_anew(database: Database) -> None:
    """Where a transaction may be stale, TryAgain runs it anew until it is told that it is not."""
    transactions = await database.open()
    runs: list[bool] = []

    async def doubt(tx: Tx) -> None:
        runs.append(tx.may_be_stale)
        if tx.may_be_stale:
            raise TryAgain

    await transactions.run(doubt)
    assert runs[-1] is False
    assert all(runs[:-1])


async def test_opening_together(database: Database) -> None:
    """Processes that open a new database at the same time make its tables once."""
    opened = await asyncio.gather(*(database.open() for _ in range(4)))
    for transactions in opened:
        await transactions.run(add_clinic)
    assert await revision(opened[0]) == 1


async def test_a_lost_connection(own_database_url: str) -> None:
    """A connection that is lost in the middle is Overloaded: nothing was written, and the next transaction works."""
    database = Database(None, own_database_url)
    transactions = await database.open()

    async def cut_off(tx: Tx) -> None:
        await add_clinic(tx)
        [(process,)] = await tx.rows("SELECT pg_backend_pid()")
        await run_sql(own_database_url, f"SELECT pg_terminate_backend({process}, 5000)")
        await tx.rows("SELECT 1")

    try:
        with pytest.raises(Overloaded):
            await transactions.run(cut_off)
        assert await revision(transactions) == 0
        await transactions.run(add_clinic)
        assert await revision(transactions) == 1
    finally:
        await database.close()
