"""What the ledger says of a promise after storage went back."""

from __future__ import annotations

import pytest

from tests.simulation.ledger import Ledger
from tests.simulation.making import made


def test_a_crash_takes_nothing_back() -> None:
    """A promise binds for as long as its party's storage was never exchanged."""
    assert Ledger().kept("hub", 5.0)


def test_a_restored_copy_keeps_what_was_promised_before_it_was_made() -> None:
    """After a restore a promise binds if it is older than the copy, and not if it is younger."""
    ledger = Ledger()
    ledger.went_back("hub", back_to=10.0, at=20.0)
    assert ledger.kept("hub", 9.0)
    assert not ledger.kept("hub", 10.0)
    assert not ledger.kept("hub", 15.0)
    assert ledger.kept("hub", 21.0)


def test_an_empty_card_keeps_nothing() -> None:
    """After a replacement no older promise binds."""
    ledger = Ledger()
    ledger.went_back("hub", back_to=None, at=20.0)
    assert not ledger.kept("hub", 1.0)
    assert ledger.kept("hub", 21.0)


def test_a_copy_made_between_two_losses_has_what_was_there_then() -> None:
    """What a second restore brings back is judged by what the storage was when its copy was made."""
    ledger = Ledger()
    ledger.went_back("hub", back_to=5.0, at=20.0)  # loses what was promised at 10
    ledger.went_back("hub", back_to=15.0, at=30.0)  # a copy from before that loss
    assert ledger.kept("hub", 10.0)
    assert not ledger.kept("hub", 25.0)


def test_another_partys_loss_is_its_own() -> None:
    """A loss concerns the party that it befell."""
    ledger = Ledger()
    ledger.went_back("hub", back_to=None, at=20.0, gone=True)
    assert ledger.kept("cloud", 1.0)
    assert ledger.is_gone("hub")
    assert not ledger.is_gone("cloud")


def test_a_promise_counts_from_when_it_was_first_given() -> None:
    """The same promise heard twice is one line, the older; after a loss it is a new one."""
    ledger = Ledger()
    op = made()
    ledger.acked(op.op_id, "hub", "hub", "s", "e", 1.0, seq=4)
    ledger.acked(op.op_id, "hub", "hub", "s", "e", 3.0, seq=4)
    assert [ack.at for ack in ledger.acks[op.op_id]] == [1.0]
    ledger.went_back("hub", back_to=None, at=4.0)
    ledger.acked(op.op_id, "hub", "hub", "s", "e", 5.0, seq=4)
    assert [ack.at for ack in ledger.acks[op.op_id]] == [1.0, 5.0]


def test_an_op_says_one_thing() -> None:
    """A world that makes two ops with one id is told so: no checker could judge it."""
    ledger = Ledger()
    op = made(payload='{"a":1}')
    ledger.authored(op, "tablet", 1.0)
    ledger.authored(op, "tablet", 2.0)
    assert ledger.authors[op.op_id].at == 1.0
    with pytest.raises(AssertionError, match="two ops"):
        ledger.authored(made(op_id=op.op_id, payload='{"a":2}'), "tablet", 3.0)
