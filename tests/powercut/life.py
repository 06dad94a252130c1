"""One hub's life of power cuts: who works with it, and what must hold after each.

Every op is noted as acknowledged the moment its answer is there, and every decision of the operator too. After each
cut the whole log is read and held against that.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

import httpx

from hub.ask import ask
from hub.config import HubPlaces
from medxz import limits
from medxz.ids import RandomIds
from medxz.program.errors import CommandFailed
from tests.powercut.box import Box, DieAt
from tests.powercut.journal import Kind
from tests.system.hub_process import DEADLINE_S
from tests.system.ledger import Ledger, Pusher, Reader, bearer, client_of, make_pushers, meets_epoch

MOMENTS: Final = (
    ("start",) * 3 + ("load",) * 5 + ("commit",) * 4 + ("checkpoint",) * 4 + ("audit",) * 2 + ("stop",) * 2
)
_BATCHES: Final = (1, 1, 1, 25, 100)
_USER: Final = "ruth@clinic.example"
_IDS: Final = RandomIds()
_KILLED_BEFORE_OF_100: Final = 25
_WORK_S_MAX: Final = 2.0


class Ended(Exception):
    """The hub ended before somebody was through with it, as it was told to."""


@dataclass(slots=True)
class Operator:
    """Decides all the time: on a user's account, which stands in the audit of the hub in the same transaction."""

    token: str
    offered: int = 0
    acknowledged: int = 0

    async def run(self, place: Path) -> None:
        while True:
            self.offered += 1
            decision = {"user": _USER, "disabled": bool(self.offered % 2)}
            try:
                await asyncio.to_thread(ask, place, "user_disable", decision)
            except CommandFailed:
                return  # the hub is gone
            self.acknowledged += 1

    async def hold(self, client: httpx.AsyncClient) -> None:
        """Every chain is whole, and no decision that was acknowledged is missing from it."""
        verified = await client.get("/v1/audit/verify", headers=bearer(self.token))
        assert verified.status_code == 200, verified.text
        assert verified.json()["ok"], verified.text
        found = 0
        query: dict[str, str | int] = {"limit": limits.LIST_PAGE_MAX}
        while True:
            answer = await client.get("/v1/audit", params=query, headers=bearer(self.token))
            assert answer.status_code == 200, answer.text
            page = answer.json()
            found += sum(entry["event"] in {"user_disabled", "user_enabled"} for entry in page["entries"])
            if page["next_cursor"] is None:
                break
            query["cursor"] = page["next_cursor"]
        assert self.acknowledged <= found <= self.offered, (self.acknowledged, found, self.offered)


@dataclass(slots=True)
class Cut:
    """One power cut, as it was."""

    moment: str
    was_killed_before: bool
    acknowledged: int
    serves_after_s: float | None = None


@dataclass(slots=True)
class Life:
    """`begin` it, `cut` it often, and `end` it."""

    box: Box
    chance: Random
    ledger: Ledger = field(default_factory=Ledger)
    pushers: list[Pusher] = field(default_factory=list)
    reader: Reader | None = None
    operator: Operator | None = None
    start_s: float = 1.0
    served: list[float] = field(default_factory=list)
    is_dark: bool = False
    epochs_begun: int = 0

    async def begin(self) -> None:
        hub = self.box.hub
        self.pushers = await asyncio.to_thread(make_pushers, hub, self.ledger, self.chance, _BATCHES)
        self.reader = Reader(self.pushers[0].token)
        admin = (_IDS.uuid7(), _IDS.uuid7(), "--role", "admin", "--ttl", "36000")
        self.operator = Operator(await asyncio.to_thread(hub.token, *admin))
        self.box.launch()
        await asyncio.to_thread(hub.wait_until_ready)
        user = {"email": _USER, "name": "Ruth", "roles": ["clinician"], "password": "correct horse battery"}
        await asyncio.to_thread(ask, HubPlaces(hub.data).socket, "user_add", user)
        await asyncio.to_thread(self.box.stop)

    async def cut(self, moment: str) -> Cut:
        """Start it, hold it against what was acknowledged, work, and cut the power."""
        was_killed_before = self.chance.randrange(100) < _KILLED_BEFORE_OF_100
        if was_killed_before:
            await self._live(self.chance.choice(MOMENTS))
        await self._live(moment)
        self.box.cut_power(self.chance)
        self.is_dark = True
        return Cut(moment, was_killed_before, len(self.ledger.seqs))

    async def end(self) -> None:
        """After the last cut all that is left is pushed, and everything is there once."""
        await self.start()
        async with client_of(self.box.hub) as client:
            await self.hold(client)
            for pusher in self.pushers:
                while pusher.outbox:
                    assert (await pusher.push_once(client)).status_code == 200
            await self.hold(client)
        await asyncio.to_thread(self.box.stop)
        for line in self.box.hub.log.read_text().splitlines():
            assert json.loads(line)["level"] in {"info", "warning"}, line

    async def _live(self, moment: str) -> None:
        """From a start to a kill."""
        die_at = self._die_at(moment)
        try:
            if moment == "start":
                self.box.launch(die_at)
                await asyncio.sleep(self.chance.uniform(0.2, 1.2) * self.start_s)
                return
            await self.start(die_at)
            async with client_of(self.box.hub) as client:
                await self.hold(client)
                await self.work(client, die_at, stops=moment == "stop")
        except (Ended, httpx.TransportError):
            assert die_at is not None, self.box.hub.log.read_text()
            assert self.box.has_ended
        finally:
            await asyncio.to_thread(self.box.kill)

    def _die_at(self, moment: str) -> DieAt | None:
        """In the middle of what is written: at which entry of which file."""
        match moment:
            case "commit":
                kind = self.chance.choice((Kind.WRITE, Kind.WRITE, Kind.SYNC_BEGUN, Kind.SYNCED))
                return "hub.db-wal", kind, self.chance.randint(1, 600 if kind == Kind.WRITE else 60)
            case "checkpoint":
                kind = self.chance.choice((Kind.WRITE, Kind.WRITE, Kind.WRITE, Kind.SYNC_BEGUN, Kind.SYNCED))
                return "hub.db", kind, self.chance.randint(1, 150 if kind == Kind.WRITE else 3)
            case "audit":
                return "audit.db-wal", Kind.WRITE, self.chance.randint(1, 200)
            case _:
                return None

    async def start(self, die_at: DieAt | None = None) -> None:
        """Run it until it has answered somebody."""
        self.box.launch(die_at)
        try:
            await asyncio.to_thread(self.box.hub.wait_until_ready)
        except AssertionError:
            if die_at is not None and self.box.has_ended:
                raise Ended from None
            raise
        async with client_of(self.box.hub) as client:
            answer = await client.get("/v1/sync/status", headers=bearer(self.pushers[0].token))
        assert answer.status_code == 200, answer.text
        self.start_s = self.box.running_s
        if self.is_dark:
            self.served.append(self.start_s)
        self.is_dark = False

    async def hold(self, client: httpx.AsyncClient) -> None:
        assert self.reader is not None
        assert self.operator is not None
        self.epochs_begun += await meets_epoch(self.ledger, self.reader, client)
        await self.ledger.hold(client, {pusher.device_id: pusher.token for pusher in self.pushers})
        assert self.reader.seen == self.ledger.log[: len(self.reader.seen)], "a reader saw what is not there"
        await self.operator.hold(client)
        deadline = time.monotonic() + DEADLINE_S
        while "being checked" in (check := await _integrity(client)):
            assert time.monotonic() < deadline, check
            await asyncio.sleep(0.01)
        assert check.endswith("all sound") or "no check was needed" in check, check

    async def work(self, client: httpx.AsyncClient, die_at: DieAt | None, *, stops: bool = False) -> None:
        """Everybody works until the hub is gone."""
        assert self.reader is not None
        assert self.operator is not None
        work = [
            *(asyncio.create_task(pusher.run(client)) for pusher in self.pushers),
            asyncio.create_task(self.reader.run(client)),
            asyncio.create_task(self.operator.run(HubPlaces(self.box.hub.data).socket)),
        ]
        working_s = self.chance.uniform(0.02, 0.6) if die_at is None else _WORK_S_MAX
        until = time.monotonic() + working_s
        while time.monotonic() < until and not self.box.has_ended:
            await asyncio.sleep(0.005)
        if stops and self.box.hub.process is not None:
            self.box.hub.process.terminate()
            await asyncio.sleep(self.chance.uniform(0, 0.15))
        if self.box.hub.process is not None:
            self.box.hub.process.kill()
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*work)


async def _integrity(client: httpx.AsyncClient) -> str:
    checks: list[dict[str, Any]] = (await client.get("/health")).json()["checks"]
    [check] = [check for check in checks if check["name"] == "integrity"]
    assert check["ok"], check
    return str(check["detail"])


@contextlib.asynccontextmanager
async def a_life(folder: Path, chance: Random, plant: str | None = None) -> Any:
    """One that has begun; whatever happens, its process is gone afterwards."""
    box = await asyncio.to_thread(Box, folder, plant)
    life = Life(box, chance)
    try:
        await life.begin()
        yield life
    finally:
        await asyncio.to_thread(box.hub.kill)
