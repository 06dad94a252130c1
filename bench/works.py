"""What a hub is asked to do, each returning what was measured: the works that figures compare with a limit, with
another work, or with the same work on a longer log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench import load
from bench.ops import push_body
from bench.stage import MEASURERS, STORED, Subject

BATCH_OPS: Final = 500
PAGE_OPS: Final = 500
DISTINCT_PAGES: Final = 20


@dataclass(frozen=True, slots=True)
class Pushed:
    """A push of many requests: the rate, each wait, and what was sent and answered."""

    ops: int
    run: load.Run
    requests: Sequence[Sequence[bytes]]
    answers: Sequence[Sequence[bytes]]
    wall: tuple[float, float]

    @property
    def ops_a_second(self) -> float:
        return self.ops / self.run.seconds


async def push(subject: Subject, *, clients: int, requests: int, ops_each: int) -> Pushed:
    """So many requests by each client, all ops new; all of them must be stored."""
    sent = subject.pushes(clients, requests, ops_each)
    return await _send(subject, sent, ops_each, STORED)


async def replay(subject: Subject, pushed: Pushed, ops_each: int) -> Pushed:
    """The same requests once more: everything is a duplicate."""
    return await _send(subject, pushed.requests, ops_each, (b'"duplicate"',))


async def _send(
    subject: Subject, requests: Sequence[Sequence[bytes]], ops_each: int, statuses: Sequence[bytes]
) -> Pushed:
    scripts = [load.Sends(own) for own in requests]
    began = time.time()
    run = await load.run(subject.hub.port, scripts)
    wall = (began, time.time())
    for script in scripts:
        for answer in script.answers:
            if sum(map(answer.count, statuses)) != ops_each:
                raise load.Unexpected(f"not every op is {b' or '.join(statuses).decode()}: {answer[:600]!r}")
    ops = sum(len(own) for own in requests) * ops_each
    return Pushed(ops, run, requests, [script.answers for script in scripts], wall)


def json_bytes(pushed: Pushed, ops_each: int) -> int:
    """What the ops of a push weigh as JSON, without the request around them."""
    around = len(push_body([])) + ops_each - 1
    bodies = (request.partition(b"\r\n\r\n")[2] for own in pushed.requests for request in own)
    return sum(len(body) - around for body in bodies)


async def pull(subject: Subject, *, readers: int, pages: int, start: bytes | None) -> load.Run:
    """Full pages, each reader by itself, over and over the same ones."""
    scripts = [
        load.Pulls(subject.tokens[reader], PAGE_OPS, pages=pages, lap=DISTINCT_PAGES, start=start)
        for reader in range(readers)
    ]
    return await load.run(subject.hub.port, scripts)


async def pages(subject: Subject, start: bytes | None) -> load.Pulls:
    """The pages that `pull` reads, and by which cursors."""
    script = load.Pulls(subject.tokens[0], PAGE_OPS, pages=DISTINCT_PAGES, start=start, keep=True)
    await load.run(subject.hub.port, [script])
    return script


@dataclass(frozen=True, slots=True)
class Mixed:
    """Pushers and a puller at once."""

    pushes: load.Run
    pages: load.Run


async def push_and_pull(subject: Subject, *, requests: int, start: bytes | None) -> Mixed:
    """Singles by 32 clients, and one reader of pages for as long as they take."""
    sent = [load.Sends(own) for own in subject.pushes(MEASURERS, requests, 1)]
    over = False
    puller = load.Pulls(subject.tokens[0], PAGE_OPS, lap=DISTINCT_PAGES, start=start, until=lambda: over)
    pulling = asyncio.create_task(load.run(subject.hub.port, [puller]))
    pushes = await load.run(subject.hub.port, sent)
    over = True
    return Mixed(pushes, await pulling)


async def until_streamed(subject: Subject, count: int) -> list[float]:
    """Seconds from when A sends one op until it has come to B, who reads the stream."""
    cursor = await subject.cursor_behind(1)
    stream = await load.Stream.open(subject.hub.port, subject.tokens[1], cursor)
    connection = await load.connect(subject.hub.port, load.Sends([]))
    waits = []
    try:
        for _ in range(count):
            [op] = subject.fleet.take(0, 1)
            request = load.post("/v1/sync/push", subject.tokens[0], push_body([op]))
            seen = stream.expect(op.op_id.encode())
            sent_at = time.perf_counter()
            answered = connection.ask(request)
            async with asyncio.timeout(10):
                waits.append(await seen - sent_at)
                await answered
    finally:
        stream.close()
        connection.close()
    return waits


async def open_streams(subject: Subject, count: int) -> list[load.Stream]:
    """So many readers at the head of the log, spread over the devices."""
    cursor = await subject.cursor_behind(1)
    return [
        await load.Stream.open(subject.hub.port, subject.tokens[at % MEASURERS], cursor)
        for at in range(count)
    ]
