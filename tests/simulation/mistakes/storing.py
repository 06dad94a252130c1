"""Mistakes of a store: what is promised before it is durable, numbers that are given twice, ops that are taken for others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from sqlcipher3 import dbapi2 as sqlcipher

from medxz.have import Numbers
from medxz.op import Operation
from medxz.store import cipher, loading, sqlite, writer
from medxz.store.base import Append, Outcome
from medxz.store.commits import GroupCommit
from medxz.store.drafting import Draft, Found
from medxz.store.tail import Committed
from medxz.store.writer import Collision, Writer
from tests.simulation.mistakes.planting import Mistake, Plant

GATHER_S = 0.2


class _NoDisk:
    """A connection on which a commit is left for later."""

    def execute(self, statement: str) -> None:
        assert statement == "COMMIT"


def _written(store: Any, batches: Sequence[Append]) -> list[list[Outcome]]:
    try:
        return list(store._writer.write(batches))
    except Collision:
        store._writer.abandon()
        return list(store._writer.write(batches, careful=True))


def _taken_for_committed(writing: Writer) -> Committed:
    """All that a commit does, but for the commit."""
    connection, writing._connection = writing._connection, _NoDisk()
    try:
        return writing.commit()
    finally:
        writing._connection = connection


async def _hasty(commits: Any, *, answers: bool) -> None:
    """Transactions that wait a moment before their commit, so that more may share one; who is told before it?"""
    while commits._queue or commits._alone:
        async with commits._writing:
            taken, store = commits._take(), commits._store
            size = sum(waiting.size for waiting in taken)
            try:
                outcomes = _written(store, [waiting.batch for waiting in taken])
                if answers:
                    _answer(taken, outcomes)
                else:
                    commits._publish(_taken_for_committed(store._writer), size)
                await asyncio.sleep(GATHER_S)
                if answers:
                    commits._publish(store._writer.commit(), size)
                else:
                    store._writer._connection.execute("COMMIT")
            except Exception as error:  # noqa: BLE001  as the real one does
                store._writer.abandon()
                commits._give_up(taken, error)
                continue
        _answer(taken, outcomes)


def _answer(taken: Sequence[Any], outcomes: Sequence[list[Outcome]]) -> None:
    for waiting, outcome in zip(taken, outcomes, strict=True):
        if not waiting.answer.done():
            waiting.answer.set_result(outcome)


def answer_before_commit(plant: Plant) -> None:
    plant.put(GroupCommit, "_commit_queue", lambda self: _hasty(self, answers=True))


def told_before_commit(plant: Plant) -> None:
    plant.put(GroupCommit, "_commit_queue", lambda self: _hasty(self, answers=False))


def synchronous_off(plant: Plant) -> None:
    durable = cipher.open_database

    def quick(*args: Any, **more: Any) -> sqlcipher.Connection:
        connection = durable(*args, **more)
        connection.execute("PRAGMA synchronous = OFF").fetchall()
        return connection

    plant.everywhere(durable, quick)


def reused_sequence(plant: Plant) -> None:
    load = loading.load_held
    saved_every = 8

    def from_a_counter(*args: Any) -> Any:
        held = load(*args)
        held.last_seq -= held.last_seq % saved_every
        return held

    plant.put(sqlite, "load_held", from_a_counter)
    plant.put(writer, "_INSERT", "INSERT OR REPLACE INTO op (seq, front_desk, body) VALUES ")


def dedupe_by_number(plant: Plant) -> None:
    look = Draft._look

    def by_number(self: Draft, op: Operation, text: bytes, found: Found, *, lenient: bool) -> Outcome | None:
        outcome = look(self, op, text, found, lenient=True)
        if outcome is None and op.device_seq in self._numbers(op.device_id):
            return Outcome("duplicate", self._held.last_seq)
        return outcome

    plant.put(Draft, "_look", by_number)


def applied_twice(plant: Plant) -> None:
    plant.put(writer, "_PLACE", "INSERT OR IGNORE INTO op_place (op_id, seq) VALUES ")
    plant.put(Draft, "suspects", lambda self, batches, *, careful: [])
    plant.put(Draft, "_look", lambda self, op, text, found, *, lenient: None)


def have_by_highest(plant: Plant) -> None:
    from medxz.device.store import exchange

    exact = exchange.have

    def highest(connection: Any) -> dict[str, Numbers]:
        return {
            device: Numbers([(1, numbers.highest())])
            for device, numbers in exact(connection).items()
            if numbers
        }

    plant.put(exchange, "have", highest)


MISTAKES = (
    Mistake(
        "answer_before_commit",
        "a push is answered, and its transaction waits a moment more for others to share its fsync",
        "what was acknowledged survives a power cut",
        answer_before_commit,
    ),
    Mistake(
        "told_before_commit",
        "readers and watermarks see a transaction before its commit",
        "what a reader has seen is in the log",
        told_before_commit,
    ),
    Mistake(
        "synchronous_off",
        "PRAGMA synchronous = OFF, which made a benchmark so much better",
        "what was acknowledged survives a power cut",
        synchronous_off,
    ),
    Mistake(
        "reused_sequence",
        "the next server_seq comes from a counter that is saved at every eighth op",
        "a server_seq is one op for ever",
        reused_sequence,
    ),
    Mistake(
        "dedupe_by_number",
        "an op whose device and number are known is taken for a duplicate, whatever its id",
        "a second op of a cloned tablet is not swallowed",
        dedupe_by_number,
    ),
    Mistake(
        "applied_twice",
        "an id that is there already is ignored by the index of ids, and the op is stored once more",
        "a request that arrives twice is one op",
        applied_twice,
    ),
    Mistake(
        "have_by_highest",
        "a device tells what it has of another by the highest number alone",
        "who resumes loses nothing that lies in a gap",
        have_by_highest,
    ),
)
