"""Bytes from a hub to the server above it, on the socket: while a backlog drains, and for single live ops.

A real `Peer`, as a hub's uplink has it, pushes to a real server through a relay that counts. Everything counts that a
client writes: request lines, headers and tokens too. TLS would add 22 bytes to each write, TCP and IP theirs.
"""

from __future__ import annotations

import asyncio
from typing import Final

from bench.context import Context
from bench.counting import CountingRelay
from bench.figure import Bound, Figure, Series
from bench.programs import make_hub_token
from bench.stage import Subject
from medxz.op import Operation
from medxz.peer import Peer

BATCH_OPS: Final = 500
BATCHES: Final = 8
SINGLES: Final = 400
DEVICES: Final = 8
BEFORE: Final = 2_000  # ops that the devices wrote earlier: what is measured is no clinic's first hour


def bytes_up(context: Context) -> list[Figure]:
    """Both bounds, and what the same singles cost as requests."""
    with context.base.copied() as subject:
        token = make_hub_token(subject.hub)
        subject.fleet.take(0, BEFORE)
        batches = [_taken(subject, BATCH_OPS) for _ in range(BATCHES)]
        singles = [[op] for op in _taken(subject, SINGLES)]
        as_requests = [[op] for op in _taken(subject, SINGLES)]
        run = context.loop.run
        port = subject.hub.port
        drained, _ = run(_pushed(port, token, batches, thrifty=False))
        live, answers = run(_pushed(port, token, singles, thrifty=True))
        plain, _ = run(_pushed(port, token, as_requests, thrifty=False))
    op_bytes = Series("an op as JSON", "B", [_mean([len(op.json()) for op in ops]) for ops in batches])
    return [
        Figure(
            "wan", f"bytes up an op, batches of {BATCH_OPS}", "absolute", Bound("at most", 75), "B",
            [count / BATCH_OPS for count in drained], (op_bytes,),
        ),
        Figure(
            "wan.live", "bytes up a single live op", "absolute", Bound("at most", 150), "B", [_mean(live)],
            (
                Series("each of them", "B", live),
                Series("its answer", "B", answers),
                Series("the same as requests, headers and all", "B", plain),
            ),
        ),
    ]  # fmt: skip


def _taken(subject: Subject, count: int) -> list[Operation]:
    """The next ops of the clinic's devices, in the order in which a hub takes them in."""
    return [subject.fleet.take(number % DEVICES, 1)[0] for number in range(count)]


async def _pushed(
    port: int, token: str, pushes: list[list[Operation]], *, thrifty: bool
) -> tuple[list[int], list[int]]:
    """What each push took, up and down. The first opens connections, and is part of it."""
    up, down = [], []
    async with CountingRelay(port) as relay:
        peer = Peer(f"http://127.0.0.1:{relay.port}", token=lambda: token, thrifty=thrifty)
        try:
            for ops in pushes:
                up_before, down_before = relay.up, relay.down
                answer = await peer.push([op.json() for op in ops])
                assert {result.status for result in answer.results} <= {"accepted", "conflict"}
                up.append(relay.up - up_before)
                down.append(relay.down - down_before)
        finally:
            await peer.aclose()
            await asyncio.sleep(0)
    return up, down


def _mean(values: list[int]) -> float:
    return sum(values) / len(values)
