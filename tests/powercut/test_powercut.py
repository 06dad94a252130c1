"""A few power cuts of a real hub in each run of the tests; `python -m tests.powercut` makes many."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from random import Random

import httpx
import pytest

from tests.powercut.cutting import Plan, cut_often
from tests.powercut.journal import Kind
from tests.powercut.life import Ended, a_life
from tests.system.ledger import client_of

SEED_VARIABLE = "MEDXZ_TEST_CUTS_SEED"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def seed() -> int:
    chosen = int(os.environ.get(SEED_VARIABLE) or secrets.randbelow(2**32))
    print(f"{SEED_VARIABLE}={chosen} replays these moments (not the machine's)")
    return chosen


async def test_nothing_acknowledged_is_lost() -> None:
    """After each of some power cuts the databases open whole, and all that was acknowledged is there."""
    outcome = await cut_often(Plan(seed(), cuts=6), print)
    assert outcome.losses == []
    assert outcome.cuts == 6
    assert outcome.acknowledged > 0
    assert outcome.entries > 1_000


async def test_a_hub_that_does_not_sync_is_found_out() -> None:
    """A hub that acknowledges without waiting for the disk loses something within a few cuts: the harness can fail."""
    outcome = await cut_often(Plan(seed(), cuts=10, plant="no-sync", stop_at_loss=True), print)
    assert outcome.losses


class Worst(Random):
    """Of what was not synced nothing is left."""

    def choice(self, options):
        return options[0]


async def test_what_a_killed_hub_had_not_synced_is_told_once_it_is_safe(tmp_path: Path) -> None:
    """Killed between a write and its sync, started again, and then without power: what it told meanwhile is there."""
    async with a_life(tmp_path / "box", Random(5)) as life:
        with contextlib.suppress(Ended, httpx.TransportError):
            die_at = ("hub.db-wal", Kind.SYNC_BEGUN, 12)
            await life.start(die_at)
            async with client_of(life.box.hub) as client:
                await life.work(client, die_at)
        life.box.kill()
        assert life.box.medium.files["hub.db-wal"].pending, "it died too late"
        await life.start()
        async with client_of(life.box.hub) as client:
            await life.hold(client)
        life.box.kill()
        life.box.cut_power(Worst(1))
        await life.start()
        async with client_of(life.box.hub) as client:
            await life.hold(client)
