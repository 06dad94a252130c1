"""Devices that push to a hub that is being hurt, a reader, and the ledger of what they were told.

The ledger knows every op that was offered, with its payload's bytes, and every answer. Holding a hub against it
shows that nothing acknowledged is lost, stored twice or changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec

from medxz.have import Have, Numbers
from medxz.ids import RandomIds
from medxz.op import Operation
from medxz.wire import PullAnswer
from tests.system.hub_process import CLINIC, HubProcess

PAYLOAD_MARK = "Wanjiru"
_IDS = RandomIds()
_READ_PAGE = msgspec.json.Decoder(PullAnswer).decode
_REPLAYED_OF_100, _BAD_OF_100 = 10, 4


@dataclass(frozen=True, slots=True)
class Offer:
    """An op as a device made it. A `bad` one breaks a rule and is rejected whenever it is offered."""

    op: Operation
    bad: bool


@dataclass(slots=True)
class Ledger:
    """What was offered and what was answered, of all devices."""

    offers: dict[str, Offer] = field(default_factory=dict)
    seqs: dict[str, int] = field(default_factory=dict)
    dead: set[str] = field(default_factory=set)
    told_through: dict[str, int] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    epoch: str | None = None

    def take(self, op_id: str, result: dict[str, Any]) -> None:
        """Note an answer: what is in the log is a duplicate where it was, all else is new, and stays what it is."""
        assert result["op_id"] == op_id, result
        if self.offers[op_id].bad:
            assert (result["status"], result.get("code")) == ("rejected", "invalid"), result
            self.dead.add(op_id)
            return
        known = self.seqs.get(op_id)
        assert result["status"] == ("accepted" if known is None else "duplicate"), (known, result)
        assert known in {None, result["server_seq"]}, (known, result)
        self.seqs[op_id] = result["server_seq"]

    def take_all(self, op_ids: list[str], answer: httpx.Response) -> None:
        """Note the answer to a push of these."""
        assert answer.status_code == 200, answer.text
        for op_id, result in zip(op_ids, answer.json()["results"], strict=True):
            self.take(op_id, result)

    def tell_through(self, device_id: str, through: int) -> None:
        """Note a watermark: it never falls."""
        assert through >= self.told_through.get(device_id, 0), (device_id, through, self.told_through)
        self.told_through[device_id] = through

    async def hold(self, client: httpx.AsyncClient, tokens: dict[str, str]) -> None:
        """Hold the hub's whole log and its watermarks against what was answered so far."""
        before = self.log
        self.log = []
        certain: Have = {device_id: Numbers() for device_id in tokens}
        async for op in self._pull(client, next(iter(tokens.values()))):
            offer = self.offers[op.op_id].op
            assert op.payload == offer.payload, op
            assert op.digest() == offer.digest(), op
            self.log.append(op.op_id)
            assert op.server_seq == len(self.log), op
            assert self.seqs.setdefault(op.op_id, op.server_seq) == op.server_seq, op
            certain[op.device_id].add(op.device_seq)
        assert self.log[: len(before)] == before, "the log changed what it said"
        lost = self.seqs.keys() - set(self.log)
        assert not lost, f"{len(lost)} acknowledged ops are gone"
        assert len(self.seqs) == len(self.log), "an op is there twice"
        await self._hold_watermarks(client, tokens, certain)

    async def _pull(self, client: httpx.AsyncClient, token: str) -> AsyncIterator[Operation]:
        query: dict[str, str | int] = {"limit": 1_000}
        while True:
            answer = await client.get("/v1/sync/pull", params=query, headers=bearer(token))
            assert answer.status_code == 200, answer.text
            page = _READ_PAGE(answer.content)
            assert self.epoch in {None, page.epoch}, "the log began a new epoch"
            self.epoch = page.epoch
            for op in page.ops:
                yield op
            if not page.has_more:
                return
            query["cursor"] = page.next_cursor

    async def _hold_watermarks(
        self, client: httpx.AsyncClient, tokens: dict[str, str], certain: Have
    ) -> None:
        possible = {device_id: numbers.copy() for device_id, numbers in certain.items()}
        for op_id, offer in self.offers.items():
            if offer.bad:
                possible[offer.op.device_id].add(offer.op.device_seq)
            if op_id in self.dead:
                certain[offer.op.device_id].add(offer.op.device_seq)
        for device_id, token in tokens.items():
            status = (await client.get("/v1/sync/status", headers=bearer(token))).json()
            self.tell_through(device_id, status["received_through"])
            low, high = certain[device_id].through(), possible[device_id].through()
            assert low <= status["received_through"] <= high, (low, status, high)


@dataclass(slots=True)
class Pusher:
    """A device: it pushes what was not answered, then what is new, and now and then something again."""

    ledger: Ledger
    device_id: str
    user_id: str
    token: str
    chance: random.Random
    batch_max: int
    outbox: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    last_number: int = 0
    repeated: int = 0

    async def run(self, client: httpx.AsyncClient) -> None:
        """Push until the hub is gone."""
        with contextlib.suppress(httpx.TransportError):
            while True:
                answer = await self.push_once(client)
                assert answer.status_code in {200, 503}, answer.text
                await asyncio.sleep(self.chance.uniform(0, 0.004))

    async def push_once(self, client: httpx.AsyncClient) -> httpx.Response:
        """One push. What it offers stays in the outbox until it is answered."""
        offered = self.outbox[: self.batch_max] or self._next()
        self.repeated += sum(op_id in self.ledger.seqs for op_id in offered)
        answer = await self.send(client, self.body(offered))
        if answer.status_code == 200:
            self.ledger.take_all(offered, answer)
            self.outbox = [op_id for op_id in self.outbox if op_id not in offered]
            self.done += offered
        return answer

    def body(self, op_ids: list[str]) -> bytes:
        """A push of these."""
        return b'{"ops":[%b]}' % b",".join(self.ledger.offers[op_id].op.json() for op_id in op_ids)

    async def send(self, client: httpx.AsyncClient, body: bytes) -> httpx.Response:
        return await client.post("/v1/sync/push", content=body, headers=bearer(self.token))

    def _next(self) -> list[str]:
        if self.done and self.chance.randrange(100) < _REPLAYED_OF_100:
            return list({self.chance.choice(self.done) for _ in range(self.batch_max)})
        self.outbox += [self.record() for _ in range(self.chance.randint(1, self.batch_max))]
        return self.outbox[: self.batch_max]

    def record(self) -> str:
        """A new op, the next of this device."""
        self.last_number += 1
        bad = self.chance.randrange(100) < _BAD_OF_100
        filler = PAYLOAD_MARK + "x" * self.chance.randrange(900)
        payload = f'{{"value":{self.chance.random():.6f}0,"n":{10**22 + self.last_number},"note":"{filler}"}}'
        op = Operation(
            op_id=_IDS.uuid7(), clinic_id=CLINIC, device_id=self.device_id, user_id=self.user_id,
            entity_type="Observation", entity_id=_IDS.uuid7(), op_type="delete" if bad else "create", parents=(),
            device_time="2026-11-21T10:00:00.000Z", device_seq=self.last_number, schema_version=1,
            payload=msgspec.Raw(payload.encode()),
        )  # fmt: skip
        self.ledger.offers[op.op_id] = Offer(op, bad)
        return op.op_id


@dataclass(slots=True)
class Reader:
    """Somebody who follows the log by its cursor, from one life of the hub to the next."""

    token: str
    cursor: str | None = None
    seen: list[str] = field(default_factory=list)

    async def run(self, client: httpx.AsyncClient) -> None:
        """Read until the hub is gone."""
        with contextlib.suppress(httpx.TransportError):
            while True:
                await self.read_once(client, wait_s=1)

    async def read_once(self, client: httpx.AsyncClient, wait_s: float = 0) -> bool:
        """A page; whether there is more."""
        query: dict[str, str | float] = {"limit": 100, "wait": wait_s}
        if self.cursor is not None:
            query["cursor"] = self.cursor
        answer = await client.get("/v1/sync/pull", params=query, headers=bearer(self.token))
        assert answer.status_code == 200, answer.text
        page = _READ_PAGE(answer.content)
        self.cursor = page.next_cursor
        self.seen += [op.op_id for op in page.ops]
        return page.has_more


async def meets_epoch(ledger: Ledger, reader: Reader, client: httpx.AsyncClient) -> bool:
    """Whether it began a new epoch, as a hub does whose last transaction was torn: all read anew, and it is the same log."""
    answer = await client.get("/v1/sync/pull", params={"limit": 1}, headers=bearer(reader.token))
    if ledger.epoch in {None, answer.json()["epoch"]}:
        return False
    ledger.epoch, reader.cursor, reader.seen = None, None, []
    return True


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def client_of(hub: HubProcess) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=hub.url, timeout=30, trust_env=False)


def make_pushers(
    hub: HubProcess, ledger: Ledger, chance: random.Random, batches: tuple[int, ...]
) -> list[Pusher]:
    """One device for each of these sizes of a push, all with one user."""
    user_id = _IDS.uuid7()
    ids = [_IDS.uuid7() for _ in batches]
    return [
        Pusher(ledger, device_id, user_id, hub.token(device_id, user_id, "--ttl", "36000"), chance, batch_max)
        for device_id, batch_max in zip(ids, batches, strict=True)
    ]
