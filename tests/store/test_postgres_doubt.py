"""A connection that is lost at the COMMIT: nobody is told a lie, and whoever asks again is answered by what is there."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from medxz.errors import Overloaded
from medxz.ids import uuid_bytes
from medxz.store.base import DeadLetter
from medxz.store.postgres import statements
from medxz.store.postgres.pool import SETTINGS, open_pool
from tests.making import DEVICE, OTHER_DEVICE, batch, make_op, run_of
from tests.store.conftest import PostgresBackend
from tests.store.cutting import Cutting, Where


@pytest.fixture
async def cutting(postgres_url: str) -> AsyncIterator[Cutting]:
    with tempfile.TemporaryDirectory(prefix="cut-", dir="/tmp") as folder:  # a socket's path is short
        made = Cutting(postgres_url, Path(folder))
        await made.open()
        yield made
        await made.close()


@pytest.fixture
async def backend(cutting: Cutting) -> AsyncIterator[PostgresBackend]:
    made = PostgresBackend(cutting.url)
    yield made
    await made.close()


@pytest.mark.parametrize("where", ["before it arrives", "before it is answered"])
@pytest.mark.parametrize("beside", [False, True])
async def test_a_commit_that_is_not_answered_is_in_doubt(
    cutting: Cutting, backend: PostgresBackend, where: Where, *, beside: bool
) -> None:
    """503, whether it is stored or not; asked again, a duplicate or stored, and no op is lost, none twice."""
    log = await backend.open()
    await log.append(batch(*run_of(1, 3)))
    op = make_op(4)
    letters = [DeadLetter(OTHER_DEVICE, 1, None, "invalid", "no", settles=True)] if beside else []
    push = batch(op, dead_letters=letters)
    cutting.cut(b"COMMIT" if beside else uuid_bytes(op.op_id), where)
    with pytest.raises(Overloaded) as doubt:
        await log.append(push)
    assert doubt.value.retry_after_s
    assert (cutting.cuts, log.last_seq, log.settled_through(DEVICE)) == (1, 3, 3)
    [outcome] = await log.append(push)
    assert (outcome.kind, outcome.seq) == ("stored" if where == "before it arrives" else "duplicate", 4)
    await log.append(batch(make_op(5)))
    other = await backend.open()
    for each in (log, other):
        await each.follow()
        assert each.last_seq == 5
        assert each.settled() == {DEVICE: 5} | ({OTHER_DEVICE: 1} if beside else {})
    assert (await log.verify()).damaged == []


@pytest.mark.parametrize("ends_are_told", [True, False])
async def test_a_relay_that_stands_still_keeps_nobody_from_its_clinic(
    cutting: Cutting, postgres_url: str, monkeypatch: pytest.MonkeyPatch, *, ends_are_told: bool
) -> None:
    """A session that holds a clinic's counter and does nothing is ended by the server; the other relay goes on.

    The one that stood still is told so, also while it has the server's last word and not yet the connection's end.
    """
    monkeypatch.setitem(SETTINGS, "idle_in_transaction_session_timeout", "1s")
    backend = PostgresBackend(postgres_url)
    log = await backend.open()
    cutting.ends_are_told = ends_are_told
    still = await open_pool(cutting.url, 1)
    with pytest.raises(Overloaded):
        async with still.connection() as connection:
            await connection.execute("BEGIN")
            await connection.execute(statements.LOCK, backend.clinic_id)
            [outcome] = await asyncio.wait_for(log.append(batch(make_op(1))), 20)
            assert outcome.kind == "stored"
            await asyncio.wait_for(cutting.ended.wait(), 20)
            await connection.execute("COMMIT")
    await still.close()
    await backend.close()
