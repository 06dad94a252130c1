"""kill -9 of a real hub at any moment: what was answered is there, each op once, and nothing else is told.

A power cut takes more than a process; that what is answered was synced is counted by the benchmark. Here a hub dies
while it starts, while it works, while it copies its write-ahead log and while it stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import secrets
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from hub.ask import ask
from hub.config import HubPlaces
from medxz.ids import RandomIds
from medxz.program.errors import CommandFailed
from tests.system.hub_process import DEADLINE_S, EAGER_PROGRAM, HubProcess
from tests.system.ledger import (
    PAYLOAD_MARK,
    Ledger,
    Pusher,
    Reader,
    bearer,
    client_of,
    make_pushers,
    meets_epoch,
)

IDS = RandomIds()
SEED_VARIABLE = "MEDXZ_TEST_KILL_SEED"
# of each life; there are two, for two cores: 32 kills
MOMENTS = ("start",) * 5 + ("load",) * 8 + ("stop",) * 3
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubProcess]:
    process = HubProcess(tmp_path)
    yield process
    process.kill()


@dataclass(slots=True)
class Life:
    """A hub that dies again and again, and those who go on with it."""

    hub: HubProcess
    chance: random.Random
    ledger: Ledger
    pushers: list[Pusher]
    reader: Reader
    logins: list[str] = field(default_factory=list)
    start_s: float = 1.0
    kills: Counter[str] = field(default_factory=Counter)
    epochs_begun: int = 0

    @property
    def tokens(self) -> dict[str, str]:
        return {pusher.device_id: pusher.token for pusher in self.pushers}

    async def die(self, moment: str) -> None:
        """One start and one kill."""
        begun = time.monotonic()
        port = self.hub.url.rpartition(":")[2] if self.hub.url and self.chance.random() < 0.5 else "0"
        self.hub.launch("--plain-http", "--port", port, program=EAGER_PROGRAM)
        if moment == "start":
            await asyncio.sleep(self.chance.uniform(0.3, 1.1) * self.start_s)
            await self.kill(moment)
            return
        await asyncio.to_thread(self.hub.wait_until_ready)
        self.start_s = time.monotonic() - begun
        async with client_of(self.hub) as client:
            await self.hold(client)
            await self.work_and_die(client, moment)

    async def hold(self, client: httpx.AsyncClient) -> None:
        """Everything answered in earlier lives is there, the reader read nothing else, and every row is sound."""
        self.epochs_begun += await meets_epoch(self.ledger, self.reader, client)
        await self.ledger.hold(client, self.tokens)
        assert self.reader.seen == self.ledger.log[: len(self.reader.seen)]
        for token in self.logins[-3:]:
            assert (await client.get("/v1/sync/status", headers=bearer(token))).status_code == 200
        deadline = time.monotonic() + DEADLINE_S
        while "being checked" in (check := await integrity(client)):
            assert time.monotonic() < deadline, check
            await asyncio.sleep(0.01)
        assert check.endswith("all sound") or "no check was needed" in check, check

    async def work_and_die(self, client: httpx.AsyncClient, moment: str) -> None:
        work = [
            *(asyncio.create_task(pusher.run(client)) for pusher in self.pushers),
            asyncio.create_task(self.reader.run(client)),
            asyncio.create_task(self.watch(client)),
            asyncio.create_task(self.log_in()),
        ]
        await asyncio.sleep(self.chance.uniform(0.02, 0.6))
        if moment == "stop":
            assert self.hub.process is not None
            self.hub.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(self.chance.uniform(0, 0.1))
        await self.kill(moment)
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*work)

    async def watch(self, client: httpx.AsyncClient) -> None:
        """Ask for watermarks all the time: one that was told must hold after the kill."""
        with contextlib.suppress(httpx.TransportError):
            while True:
                pusher = self.chance.choice(self.pushers)
                answer = await client.get("/v1/sync/status", headers=bearer(pusher.token))
                self.ledger.tell_through(pusher.device_id, answer.json()["received_through"])

    async def log_in(self) -> None:
        """Have devices made known all the time, through the same writer: who was let in must be let in later."""
        place = HubPlaces(self.hub.data).socket
        while True:
            who = {"user": IDS.uuid7(), "device": IDS.uuid7(), "role": "clinician", "ttl": 36_000}
            try:
                told = await asyncio.to_thread(ask, place, "token", who)
            except CommandFailed:
                return  # the hub is gone; where it is not, its log has told of a mistake
            self.logins.append(told["access_token"])

    async def kill(self, moment: str) -> None:
        process = self.hub.process
        assert process is not None
        process.kill()
        await asyncio.to_thread(self.hub.kill)
        self.kills[moment if process.returncode == -signal.SIGKILL else "too late"] += 1


async def integrity(client: httpx.AsyncClient) -> str:
    checks = (await client.get("/health")).json()["checks"]
    [check] = [check for check in checks if check["name"] == "integrity"]
    assert check["ok"], check
    return str(check["detail"])


def hold_log(hub: HubProcess) -> None:
    """Nothing broke, and no line of the log holds anything of an op."""
    for line in hub.log.read_text().splitlines():
        event = json.loads(line)
        assert event["level"] in {"info", "warning"}, event
        assert PAYLOAD_MARK not in line


@pytest.mark.parametrize("life_number", [1, 2])
async def test_what_was_answered_survives_every_kill(hub: HubProcess, life_number: int) -> None:
    """After each of many kills every answered op is in the log once, where it was, with its bytes; the rest is
    pushed again and is taken or known; watermarks never fall, cursors hold, and the check finds nothing.
    """
    seed = int(os.environ.get(SEED_VARIABLE) or secrets.randbelow(2**32))
    print(f"{SEED_VARIABLE}={seed} replays these moments (not the machine's)")
    chance = random.Random(seed + life_number)
    ledger = Ledger()
    pushers = await asyncio.to_thread(make_pushers, hub, ledger, chance, (1, 1, 1, 40, 150))
    life = Life(hub, chance, ledger, pushers, Reader(pushers[0].token))
    empty_bytes = (hub.data / "hub.db").stat().st_size
    moments = list(MOMENTS)
    chance.shuffle(moments)
    for moment in moments:
        await life.die(moment)
    while life.kills.total() - life.kills["too late"] < len(MOMENTS):  # some stopped before they were killed
        await life.die("load")
    await asyncio.to_thread(hub.start, "--plain-http")
    async with client_of(hub) as client:
        await life.hold(client)
        for pusher in pushers:
            while pusher.outbox:
                assert (await pusher.push_once(client)).status_code == 200
        await ledger.hold(client, life.tokens)
        while await life.reader.read_once(client):
            pass
    assert life.reader.seen == ledger.log
    # a kill seldom falls between a frame's header and its page, which looks as if power had failed there
    assert life.epochs_begun <= 2
    good = sum(not offer.bad for offer in ledger.offers.values())
    assert len(ledger.log) == good
    assert (hub.data / "hub.db").stat().st_size > empty_bytes, "no checkpoint ever ran"
    assert hub.stop()[0] == 0
    hold_log(hub)
    print(
        f"{len(life.logins)} logins, {dict(life.kills)}; {len(ledger.log)} ops, {sum(p.repeated for p in pushers)} repeated"
    )


async def test_a_device_that_dies_before_its_answer(hub: HubProcess) -> None:
    """What was stored and never answered is a duplicate when it is pushed again, after a kill of the hub too."""
    ledger = Ledger()
    [pusher] = await asyncio.to_thread(make_pushers, hub, ledger, random.Random(1), (20,))
    await asyncio.to_thread(hub.start, "--plain-http")
    ids = [pusher.record() for _ in range(20)]
    body = pusher.body(ids)
    host, port = hub.url.removeprefix("http://").split(":")
    _, gone = await asyncio.open_connection(host, int(port))
    head = f"POST /v1/sync/push HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {pusher.token}\r\nContent-Length: {len(body)}\r\n\r\n"
    gone.write(head.encode() + body)
    await gone.drain()
    async with client_of(hub) as client:
        deadline = time.monotonic() + DEADLINE_S
        while not (await client.get("/v1/sync/pull", headers=bearer(pusher.token))).json()["ops"]:
            assert time.monotonic() < deadline
    gone.transport.abort()
    hub.kill()
    await asyncio.to_thread(hub.start, "--plain-http")
    async with client_of(hub) as client:
        await ledger.hold(client, {pusher.device_id: pusher.token})
        pusher.outbox = ids
        assert (await pusher.push_once(client)).status_code == 200
        assert pusher.repeated == len(ledger.log) > 0
        await ledger.hold(client, {pusher.device_id: pusher.token})
