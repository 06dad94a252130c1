"""Staying in step: a server that goes is left at once, one that is back is taken again, and nothing flaps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from medxz.device.device import Device
from medxz.device.targets.health import HOLD_S
from medxz.device.targets.pulse import ANSWER_S, QUIET_S
from medxz.errors import PeerRefused
from tests.making import OTHER_DEVICE, make_op
from tests.unit.device.scripted import refusing
from tests.unit.device.targets.places import CLOUD, HUB, Site
from tests.unit.device.targets.ticking import settled

DEADLINE_S = 20.0


@dataclass
class Watch:
    """A device that stays in step, and what it told of it."""

    site: Site
    device: Device
    told: list[tuple[str, str | None]] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)

    def tell(self, standing: str, _: str) -> None:
        at = self.device.at
        self.told.append((standing, at.url if standing == "live" and at is not None else None))

    async def run(self) -> None:
        async with aclosing(self.device.watch(tell=self.tell)) as arriving:
            async for held in arriving:
                self.seen.append(held.op.op_id)

    @property
    def at(self) -> str | None:
        """Where it is live."""
        return self.told[-1][1] if self.told else None

    async def until(self, holds: Callable[[], bool], *, step_s: float = 0.0) -> None:
        """Searches take a moment of the real time; `step_s` of the clock passes with each look."""
        async with asyncio.timeout(DEADLINE_S):
            while not holds():
                await self.site.clock.pass_by(step_s)
                await asyncio.sleep(0.005)


@pytest.fixture
async def watch(tmp_path: Path) -> AsyncIterator[Watch]:
    site = Site()
    async with site.device(tmp_path / "d") as device:
        made = Watch(site, device)
        running = asyncio.create_task(made.run())
        await made.until(lambda: made.at == HUB)
        yield made
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_there_and_back(watch: Watch) -> None:
    """A hub that goes is left for the cloud, and taken again when it has answered for a while; no op is given twice."""
    site = watch.site
    theirs = [make_op(number, device_id=OTHER_DEVICE) for number in (1, 2, 3)]
    await site.hub.arrive(theirs[0])
    await site.cloud.arrive(theirs[0])
    await watch.until(lambda: len(watch.seen) == 1)
    await site.hub.go_down()
    await watch.until(lambda: watch.at == CLOUD)
    mine = await watch.device.record("Patient", {})
    await watch.until(lambda: mine.op_id in site.cloud.stored_ids())
    await site.cloud.arrive(theirs[1])
    await watch.until(lambda: len(watch.seen) == 2)
    assert await watch.device.safety(mine.op_id) == "cloud"

    site.hub.is_down = False
    before = site.clock.now
    await watch.until(lambda: watch.at == HUB, step_s=0.2)
    assert site.clock.now - before >= HOLD_S
    await site.hub.arrive(theirs[1], theirs[2])
    await watch.until(lambda: len(watch.seen) == 3)
    assert watch.seen == [op.op_id for op in theirs]
    assert [url for standing, url in watch.told if standing == "live"] == [HUB, CLOUD, HUB]
    assert (await watch.device.status()).target == HUB


async def test_a_hub_that_hangs(watch: Watch) -> None:
    """A hub that takes a request and says nothing is left within the time that a pulse allows, and the op goes on."""
    site = watch.site
    site.hub.hangs = True
    op = await watch.device.record("Patient", {})
    await settled()
    site.ears[HUB].round_trip(0.01)
    site.ears[HUB].awaits(0)  # as the peer would tell it
    before = site.clock.now
    await watch.until(lambda: op.op_id in site.cloud.stored_ids(), step_s=0.05)
    assert site.clock.now - before <= QUIET_S + ANSWER_S + 0.5
    assert await watch.device.safety(op.op_id) == "cloud"


async def test_a_hub_that_comes_and_goes(watch: Watch) -> None:
    """Each time that the hub goes again soon, the device stays with the cloud for longer."""
    site = watch.site
    waited = []
    for _ in range(3):
        await site.hub.go_down()
        await watch.until(lambda: watch.at == CLOUD, step_s=0.05)
        site.hub.is_down = False
        begun = site.clock.now
        await watch.until(lambda: watch.at == HUB, step_s=0.25)
        waited.append(site.clock.now - begun)
    assert waited[2] > waited[0] + HOLD_S
    assert waited[2] > HOLD_S * 4


async def test_a_hub_that_is_full_is_not_come_back_to(watch: Watch) -> None:
    """One that answers and takes nothing is brought into step first: that fails, and the cloud is not left."""
    site = watch.site
    await site.hub.go_down()
    await watch.until(lambda: watch.at == CLOUD)
    tries: list[float] = []

    def full() -> None:
        tries.append(site.clock.now)
        refusing(507, "storage_full")()

    site.hub.is_down = False
    site.hub.before_push = iter([full] * 99)
    await watch.device.record("Patient", {})
    await watch.until(lambda: site.clock.now > 60, step_s=0.25)
    assert watch.at == CLOUD
    assert 2 <= len(tries) <= 5  # each time it waits for twice as long


async def test_nobody_and_then_somebody(watch: Watch) -> None:
    """With everybody gone the device says that it is offline, and is back with whoever comes first."""
    site = watch.site
    await site.cloud.go_down()
    await site.hub.go_down()
    op = await watch.device.record("Patient", {})
    await watch.until(lambda: len(watch.told) > 3, step_s=0.5)
    assert {standing for standing, _ in watch.told[1:]} == {"offline"}
    assert (await watch.device.status()).target is None
    site.hub.is_down = False
    await watch.until(lambda: watch.at == HUB, step_s=0.5)
    await watch.until(lambda: op.op_id in site.hub.stored_ids())


async def test_a_stream_that_ends_is_no_reason_to_move(watch: Watch) -> None:
    """A hub whose stream breaks and that answers is gone back to, without a detour."""
    await watch.site.clock.pass_by(10)
    await watch.site.hub.cut_stream()
    await watch.until(lambda: len(watch.told) == 3, step_s=0.1)
    assert watch.told == [("live", HUB), ("offline", None), ("live", HUB)]


async def test_it_ends_with_what_no_server_mends(tmp_path: Path) -> None:
    """A session that was revoked ends the watch, with that error."""
    site = Site()
    async with site.device(tmp_path / "d") as device:
        site.hub.before_pull = iter([refusing(401, "session_revoked")])
        with pytest.raises(PeerRefused, match="session_revoked"):
            async for _ in device.watch():
                pass
