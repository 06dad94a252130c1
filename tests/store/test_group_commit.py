"""Pushes that share a transaction: one writer, a queue that says when it is full, failures that concern whom they concern."""

from __future__ import annotations

import asyncio

import pytest

from medxz import limits
from medxz.errors import Overloaded
from medxz.store.base import DeadLetter
from tests.making import DEVICE, OTHER_DEVICE, batch, fixed_id, make_op, run_of
from tests.store.conftest import AnyBackend

UNWRITABLE = DeadLetter(DEVICE, 9, None, "invalid", "a lone \ud800 fits no column", settles=True)


async def test_waiting_pushes_share_a_transaction(backend: AnyBackend) -> None:
    """Pushes that arrive while one is being written are committed together."""
    log = await backend.open()
    outcomes = await asyncio.gather(
        *(log.append(batch(make_op(1, device_id=fixed_id(0xD000 + n)))) for n in range(64))
    )
    assert sorted(outcome.seq for [outcome] in outcomes) == list(range(1, 65))
    assert log.transactions <= 8


async def test_a_full_queue_says_so(backend: AnyBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Overloaded with a time to wait, rather than memory without end; what was taken is stored."""
    monkeypatch.setattr(limits, "WRITER_QUEUE_OPS_MAX", 10)
    log = await backend.open()
    answers = await asyncio.gather(
        *(log.append(batch(*run_of(1, 4, fixed_id(0xD000 + n)))) for n in range(8)), return_exceptions=True
    )
    refused = [answer for answer in answers if isinstance(answer, Overloaded)]
    assert refused
    assert all(answer.retry_after_s == limits.OVERLOADED_RETRY_S for answer in refused)
    assert log.last_seq == 4 * (8 - len(refused))


async def test_who_stops_waiting_does_not_undo_the_push(backend: AnyBackend) -> None:
    """A caller that goes away leaves its ops to be committed, and everybody else's too."""
    log = await backend.open()
    gone = asyncio.create_task(log.append(batch(*run_of(1, 100))))
    await asyncio.sleep(0)
    gone.cancel()
    [outcome] = await log.append(batch(make_op(1, device_id=fixed_id(2))))
    assert outcome.kind == "stored"
    assert log.last_seq == 101


async def test_a_batch_that_cannot_be_written_fails_alone(backend: AnyBackend) -> None:
    """Whatever breaks the writer, its batch hears of it, and those that shared the transaction are stored."""
    log = await backend.open()
    before, after = run_of(1, 3), [make_op(1, device_id=OTHER_DEVICE)]
    answers = await asyncio.wait_for(
        asyncio.gather(
            log.append(batch(make_op(8))),
            log.append(batch(*before)),
            log.append(batch(make_op(4), dead_letters=[UNWRITABLE])),
            log.append(batch(*after)),
            return_exceptions=True,
        ),
        timeout=20,
    )
    assert isinstance(answers[2], UnicodeEncodeError)
    assert [outcome.kind for index in (0, 1, 3) for outcome in answers[index]] == ["stored"] * 5  # type: ignore[union-attr]
    assert (log.last_seq, log.settled_through(DEVICE), log.settled_through(OTHER_DEVICE)) == (5, 3, 1)
    [outcome] = await log.append(batch(make_op(4)))
    assert (outcome.kind, outcome.seq) == ("stored", 6)
