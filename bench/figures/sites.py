"""Two sites after an outage of the cloud: how long until both have everything, how many bytes that takes, and how soon
a live op is on the other side. Bytes are all that the hub's uplink sends: requests for the rest and tokens too.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from bench.context import Context
from bench.figure import Bound, Figure, Series
from bench.sites import Sites, two_sites
from medxz.have import Numbers

LOOK_S: Final = 0.25
LIVE_OPS: Final = 200
LIVE_EVERY_S: Final = 0.05
WARM_OPS: Final = 50


@dataclass(slots=True)
class _Measured:
    seconds: float = 0.0
    steps: list[int] = field(default_factory=list)
    drained: list[float] = field(default_factory=list)
    drained_down: list[float] = field(default_factory=list)
    live: list[float] = field(default_factory=list)
    live_down: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)


def outage(context: Context) -> list[Figure]:
    """The ops of an hour's outage at each site, and then a quiet clinic."""
    ops = context.sizes.outage_ops
    told = context.loop.run(_measured(context, ops))
    rate = Series("both ways together", "ops/s", [2 * ops / told.seconds])
    seen = Series("backlogs told on the way", "", [len(set(told.steps))])
    return [
        Figure(
            "sites", f"two sites, {ops // 1_000} k ops each during an outage: until both have all", "absolute",
            Bound("at most", ops / 250), "s", [told.seconds], (rate, seen),
        ),
        Figure(
            "sites.wan", "bytes up an op while a hub's backlog drains", "absolute", Bound("at most", 75), "B",
            told.drained, (Series("down, an op of either site", "B", told.drained_down),),
        ),
        Figure(
            "sites.wan.live", f"bytes up a single live op, one in {LIVE_EVERY_S * 1_000:.0f} ms", "absolute",
            Bound("at most", 150), "B", told.live, (Series("down, its way back on the stream too", "B", told.live_down),),
        ),
        Figure(
            "sites.live", "op taken in at one site's hub until on the other's stream", "absolute",
            Bound("at most", 150), "ms", [1_000 * median(told.waits)],
            (Series("the longest", "ms", [1_000 * max(told.waits)]),),
        ),
    ]  # fmt: skip


async def _measured(context: Context, ops: int) -> _Measured:
    measured = _Measured()
    async with two_sites(context.file("sites")) as sites:
        await sites.lose_cloud()
        await asyncio.gather(*(site.write(ops) for site in sites.sites))
        before = [(site.line.up, site.line.down) for site in sites.sites]
        begun = time.monotonic()
        await sites.bring_back()
        await _until_both_have(sites, 2 * ops, measured)
        measured.seconds = time.monotonic() - begun
        for site, (up, down) in zip(sites.sites, before, strict=True):
            measured.drained.append((site.line.up - up) / ops)
            measured.drained_down.append((site.line.down - down) / (2 * ops))
        await _live(sites, measured)
    return measured


async def _until_both_have(sites: Sites, count: int, measured: _Measured) -> None:
    while True:
        standings = [await asyncio.to_thread(site.standing) for site in sites.sites]
        measured.steps.append(standings[0]["backlog"])
        if all(one["ops"] == count and one["backlog"] == 0 for one in standings):
            return
        await asyncio.sleep(LOOK_S)


async def _live(sites: Sites, measured: _Measured) -> None:
    """One op after the other at the first site, watched for at the second."""
    here, there = sites.sites
    before = before_down = 0
    have = {
        device_id: Numbers([(1, last)])
        for site in sites.sites
        for device_id, last in zip(site.fleet.device_ids, site.fleet.numbers, strict=True)
        if last
    }
    async with aclosing(there.peers[0].stream(await there.peers[0].resume(have))) as pages:
        await anext(pages)  # it stands
        for number, op in enumerate(here.fleet.take(0, WARM_OPS + LIVE_OPS)):
            if number == WARM_OPS:
                before, before_down = here.line.up, here.line.down
            begun = time.monotonic()
            await here.push(0, [op])
            while op.op_id not in {arrived.op_id for arrived in (await anext(pages)).ops}:
                pass
            if number >= WARM_OPS:
                measured.waits.append(time.monotonic() - begun)
            await asyncio.sleep(LIVE_EVERY_S)
    measured.live = [(here.line.up - before) / LIVE_OPS]
    measured.live_down = [(here.line.down - before_down) / LIVE_OPS]
