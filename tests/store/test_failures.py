"""What goes wrong in the writer concerns whom it concerns, and nothing is told before it is durable."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import pytest

from medxz import limits
from medxz.errors import StoreError
from medxz.have import Numbers
from medxz.store.base import DeadLetter
from medxz.store.cipher import open_database
from medxz.store.registry import SqliteRegistry
from medxz.store.sqlite import Workers
from medxz.work import ThreadWorker
from tests.making import DEVICE, USER, batch, fixed_id, make_op, run_of
from tests.store.conftest import KEY, Backend

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

UNWRITABLE = DeadLetter(DEVICE, 9, None, "invalid", "a lone \ud800 fits no column", settles=True)


class HeldBack(ThreadWorker):
    """A writer's thread whose results come when the test lets them."""

    def __init__(self) -> None:
        super().__init__("held back")
        self.may_tell = asyncio.Event()
        self.may_tell.set()
        self.has_run = asyncio.Event()

    async def run(self, fn: Callable[[*Ts], T], *args: *Ts) -> T:
        try:
            return await super().run(fn, *args)
        finally:
            self.has_run.set()
            await self.may_tell.wait()


async def test_the_registry_is_written_beside_pushes(tmp_path: Path) -> None:
    """A login is noted, and an epoch begun, between the transactions of pushes: all of it is kept."""
    backend = Backend(tmp_path / "hub.db", KEY, Workers.threads)
    log = await backend.open()
    registry = SqliteRegistry(log._file, log)
    await asyncio.gather(
        log.append(batch(*run_of(1, 3))),
        registry.put_user(USER, ["clinician"]),
        log.append(batch(*run_of(4, 6))),
        log.begin_epoch(fixed_id(0xEE2)),
    )
    await backend.close()
    log = await backend.open()
    assert (log.last_seq, log.epoch) == (6, fixed_id(0xEE2))
    assert SqliteRegistry(log._file, log).directory.users[USER].roles == {"clinician"}
    await backend.close()


async def test_who_gives_up_leaves_no_one_beside_the_writer(tmp_path: Path) -> None:
    """What was handed to the writer's thread runs to its end, though nobody waits for it, before a push begins."""
    backend = Backend(tmp_path / "hub.db", KEY, Workers.threads)
    log = await backend.open()
    began, may_end = threading.Event(), threading.Event()

    def slow() -> bool:
        began.set()
        may_end.wait(20)
        return log._file.writing.in_transaction

    found: list[bool] = []
    given_up = asyncio.create_task(log.run(lambda: found.append(slow())))
    await asyncio.to_thread(began.wait, 20)
    given_up.cancel()
    push = asyncio.create_task(log.append(batch(make_op(1))))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not log._file.writing.in_transaction
    may_end.set()
    [outcome] = await push
    assert (outcome.kind, found) == ("stored", [False])
    await backend.close()


@pytest.mark.parametrize("with_dead_letter", [False, True])
async def test_a_watermark_is_told_when_it_is_durable(tmp_path: Path, *, with_dead_letter: bool) -> None:
    """While a transaction is under way nobody hears of its numbers: the power may go before it ends."""
    writer = HeldBack()
    backend = Backend(
        tmp_path / "hub.db",
        KEY,
        lambda: Workers(writer, ThreadWorker("checkpointer"), [ThreadWorker("reader")]),
    )
    log = await backend.open()
    await log.append(batch(*run_of(1, 3)))
    writer.may_tell.clear()
    writer.has_run.clear()
    letter = DeadLetter(DEVICE, 5, None, "invalid", "no", settles=True)
    push = asyncio.create_task(
        log.append(batch(make_op(4), dead_letters=[letter] if with_dead_letter else []))
    )
    await writer.has_run.wait()
    assert (log.settled_through(DEVICE), log.settled(), log.last_seq) == (3, {DEVICE: 3}, 3)
    writer.may_tell.set()
    await push
    assert log.settled() == {DEVICE: 5 if with_dead_letter else 4}
    await backend.close()


async def test_a_cursor_to_resume_by_points_at_what_is_durable(tmp_path: Path) -> None:
    """Who has everything resumes at the end of what was told, not at what a transaction under way may take back."""
    writer = HeldBack()
    backend = Backend(
        tmp_path / "hub.db",
        KEY,
        lambda: Workers(writer, ThreadWorker("checkpointer"), [ThreadWorker("reader")]),
    )
    log = await backend.open()
    await log.append(batch(*run_of(1, 3)))
    writer.may_tell.clear()
    writer.has_run.clear()
    push = asyncio.create_task(log.append(batch(make_op(4))))
    await writer.has_run.wait()
    assert (await log.locate({DEVICE: Numbers([(1, 9)])}, "full")).seq == log.last_seq == 3
    writer.may_tell.set()
    await push
    await backend.close()


async def test_an_epoch_that_cannot_be_written_is_told_as_a_failure_of_the_store(tmp_path: Path) -> None:
    """The driver's exceptions never leave the store, and the log keeps the epoch that it has."""
    backend = Backend(tmp_path / "hub.db", None, Workers.threads)
    log = await backend.open()
    before = log.epoch
    other = open_database(tmp_path / "hub.db", None)
    other.execute("CREATE TRIGGER broken BEFORE UPDATE OF epoch ON log BEGIN SELECT RAISE(FAIL, 'cut'); END")
    with pytest.raises(StoreError):
        await log.begin_epoch(fixed_id(0xEE3))
    assert log.epoch == before
    other.close()
    await backend.close()


async def test_who_waits_hears_of_it_though_the_log_cannot_be_read_again(tmp_path: Path) -> None:
    """A transaction fails, and what it is undone by fails too: nobody is left without an answer."""
    backend = Backend(tmp_path / "hub.db", None, Workers.threads)
    log = await backend.open()
    other = open_database(tmp_path / "hub.db", None)
    other.execute("INSERT INTO block (number, held) VALUES (0, x'00')")  # no summary
    other.execute("CREATE TRIGGER broken BEFORE INSERT ON op BEGIN SELECT RAISE(FAIL, 'cut'); END")
    for _ in range(2):
        with pytest.raises((StoreError, ValueError)):
            await asyncio.wait_for(log.append(batch(make_op(1))), 10)
    other.execute("DROP TRIGGER broken")
    other.execute("DELETE FROM block")
    other.close()
    [outcome] = await log.append(batch(make_op(1)))
    assert (outcome.kind, outcome.seq) == ("stored", 1)
    await backend.close()


async def test_an_entity_is_found_while_its_index_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the memory that it leaves and the file that is not committed yet, no op is lost from sight."""
    monkeypatch.setattr(limits, "INDEX_BLOCKS", 1)
    writer = HeldBack()
    backend = Backend(
        tmp_path / "hub.db",
        KEY,
        lambda: Workers(writer, ThreadWorker("checkpointer"), [ThreadWorker("reader")]),
    )
    log = await backend.open()
    first = make_op(1)
    await log.append(batch(first, *run_of(2, 500)))
    writer.may_tell.clear()
    writer.has_run.clear()
    push = asyncio.create_task(log.append(batch(*run_of(501, 1_000))))
    for _ in range(2):  # written, then committed
        await writer.has_run.wait()
        assert len(await log.entity_ops("Observation", first.entity_id)) == 1
        assert await log.count_entities("full", 500) == 500
        writer.has_run.clear()
        writer.may_tell.set()
    await push
    assert len(await log.entity_ops("Observation", first.entity_id)) == 1
    assert await log.count_entities("full", log.last_seq) == 1_000
    await backend.close()
