"""Whether a server still speaks: who hangs is noticed in time, who is only slow is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from medxz.device.targets.pulse import ANSWER_S, KNOCKS, LATE_S, PING_S, QUIET_S, Gone, Pulse
from medxz.errors import PeerRefused, PeerUnreachable
from tests.unit.device.targets.ticking import TickClock, settled


class House:
    """A server of which a test says whether it lives, and after how long it answers a knock."""

    def __init__(self) -> None:
        self.clock = TickClock()
        self.answers_after_s: float | None = None
        self.refuses = False
        self.knocks: list[bool] = []
        self.doubts = 0
        self.pulse = Pulse(self.clock, self.knock, name="the hub", doubts=self.doubt)
        self.watching = asyncio.ensure_future(self.pulse.watch())

    def doubt(self) -> None:
        self.doubts += 1

    async def knock(self, is_new: bool) -> None:
        self.knocks.append(is_new)
        if self.refuses:
            raise PeerRefused(503, "overloaded", "not now")
        if self.answers_after_s is None:
            await asyncio.Event().wait()
        await self.clock.sleep(self.answers_after_s or 0.0)

    async def is_gone(self) -> bool:
        await settled()
        return self.watching.done()


@pytest.fixture
async def house() -> AsyncIterator[House]:
    made = House()
    made.pulse.round_trip(0.01)
    yield made
    made.watching.cancel()
    await asyncio.gather(made.watching, return_exceptions=True)


async def test_nothing_is_awaited(house: House) -> None:
    """Who asks nothing has no doubts, however long it is silent."""
    await house.clock.pass_by(3_600)
    assert (house.knocks, await house.is_gone()) == ([], False)


async def test_an_answer_that_does_not_come(house: House) -> None:
    """Who hangs over a request is given up well within two seconds, and is looked past as soon as there are doubts."""
    house.pulse.awaits(0)
    await house.clock.pass_by(QUIET_S - 0.01)
    assert (house.doubts, house.knocks) == (0, [])
    await house.clock.pass_by(0.02)
    assert house.doubts == 1
    await house.clock.pass_by(ANSWER_S)
    assert await house.is_gone()
    assert house.clock.now < 1.2
    assert house.knocks == [False] + [True] * (KNOCKS - 1)
    with pytest.raises(Gone):
        house.watching.result()


async def test_a_stream_that_falls_silent(house: House) -> None:
    """A stream is silent from one ping to the next; one that misses a ping is given up within two seconds of the last."""
    house.pulse.awaits(PING_S)
    for _ in range(20):
        await house.clock.pass_by(PING_S)
        house.pulse.heard()
    assert house.knocks == []
    last = house.clock.now
    await house.clock.pass_by(PING_S + LATE_S + ANSWER_S + 0.05)
    assert await house.is_gone()
    assert house.clock.now - last < 2


async def test_who_answers_a_knock_stays(house: House) -> None:
    """A server that takes long over a request and says that it lives is waited for, by either connection."""
    house.answers_after_s = 0.1
    house.pulse.awaits(0)
    await house.clock.pass_by(60)
    assert not await house.is_gone()
    assert len(house.knocks) > 10
    house.answers_after_s, house.refuses = None, True
    await house.clock.pass_by(60)
    assert not await house.is_gone()


async def test_what_comes_by_itself_ends_doubts(house: House) -> None:
    """A ping that comes late counts as much as an answer to a knock."""
    house.pulse.awaits(PING_S)
    for _ in range(20):
        await house.clock.pass_by(PING_S + LATE_S + 0.2)
        house.pulse.heard()
    await house.clock.pass_by(0.5)
    assert not await house.is_gone()
    assert house.doubts > 0


@pytest.mark.parametrize("rtt_s", [0.05, 0.4, 0.8, 1.5])
async def test_patience_follows_the_way_there(house: House, rtt_s: float) -> None:
    """Where a round trip is long, answers that take one are no reason for doubts, and a knock has time for three."""
    for _ in range(7):
        house.pulse.round_trip(rtt_s)
    for _ in range(50):
        house.pulse.awaits(0)
        await house.clock.pass_by(1.9 * rtt_s)
        house.pulse.heard()
        house.pulse.no_longer(0)
    assert house.doubts == 0
    house.answers_after_s = 3 * rtt_s
    house.pulse.awaits(0)
    await house.clock.pass_by(20)
    assert not await house.is_gone()


async def test_pings_that_come_late_make_patient(house: House) -> None:
    """Where pings are lost and come later, silence of that length is no longer a reason to ask; that fades again."""
    house.pulse.awaits(PING_S)
    await house.clock.pass_by(PING_S + 0.6)
    house.pulse.heard()
    assert house.doubts == 1
    await house.clock.pass_by(PING_S + 0.6)
    house.pulse.heard()
    assert house.doubts == 1
    for _ in range(60):
        await house.clock.pass_by(PING_S)
        house.pulse.heard()
    await house.clock.pass_by(PING_S + LATE_S + ANSWER_S + 0.05)
    assert await house.is_gone()


async def test_one_slow_answer_changes_nothing(house: House) -> None:
    """A server that thought for two seconds once is not thought to be far away."""
    for _ in range(3):
        house.pulse.round_trip(0.01)
    house.pulse.round_trip(2.0)
    assert house.pulse.rtt_s == 0.01


async def test_a_knock_that_fails_is_not_the_end(house: House) -> None:
    """A connection that breaks says nothing while another may be made."""
    calls = 0

    async def knock(is_new: bool) -> None:
        nonlocal calls
        calls += 1
        if calls < KNOCKS:
            raise PeerUnreachable("broke off")

    house.pulse._knock = knock
    house.pulse.awaits(0)
    await house.clock.pass_by(QUIET_S + ANSWER_S)
    assert (calls, await house.is_gone()) == (KNOCKS, False)
