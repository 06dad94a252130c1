"""The fleet's tables on both databases: hubs by their filters, steps, and rollouts that two relays bring on at once."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from cloud.fleet.hubs import Hubs
from cloud.fleet.operators import Operators
from cloud.fleet.rollouts import Rollouts
from cloud.releases import Release
from medxz.accounts.base import Authority
from medxz.errors import RolloutState
from medxz.ids import SeededIds
from medxz.service.fleet import HubsAsked
from medxz.store.authority import clinics, fleet, hubs, rollouts
from medxz.store.authority.audit import AuditTrail
from medxz.store.authority.base import Transactions, Tx
from medxz.store.authority.hubs import HubRow
from medxz.store.authority.secrets import Seal
from medxz.wire import (
    HubRingRequest,
    ReportedHealth,
    ReportRequest,
    RingRequest,
    RingSettings,
    RolloutRequest,
)
from tests.making import HandClock, fixed_id
from tests.store.authority.conftest import KEY, Database

KIND = "medxz-hub-arm64"
CLINICS = (fixed_id(0xC1), fixed_id(0xC2))
HOUR_S = 3_600


async def releases() -> list[Release]:
    return [
        Release(version=version, compatible=KIND, size=1, sha256=version, added_at="2026-11-22T00:00:00.000Z")
        for version in ("0.1.0", "0.2.0")
    ]


def hub_id(number: int) -> str:
    return fixed_id(0xB00 + number)


def clinic_of(number: int) -> str:
    return CLINICS[number % 2]


async def furnish(transactions: Transactions, count: int) -> None:
    """So many hubs, of two clinics by turns."""

    async def furnish(tx: Tx) -> None:
        for clinic_id in CLINICS:
            await clinics.add(tx, clinic_id, f"Clinic {clinic_id[-2:]}", 1)
            await clinics.add_site(tx, clinic_id, fixed_id(0x51), "North", 1)
        for number in range(count):
            row = HubRow(hub_id(number), fixed_id(0x51), f"hub-{number}", "key", "certificate", 1)
            await hubs.add(tx, clinic_of(number), row)

    await transactions.run(furnish)


class Relay:
    """One process of the cloud."""

    def __init__(self, transactions: Transactions, clock: HandClock, seed: int) -> None:
        ids = SeededIds(clock, seed=seed)
        authority = Authority(transactions, Seal(KEY), AuditTrail(ids, clock), clock, ids)
        self.rollouts, self.hubs = Rollouts(authority, releases), Hubs(authority, releases)
        self.operators = Operators(authority)

    async def hear(self, number: int, version: str, *, ok: bool = True, backlog: int = 0) -> str | None:
        report = ReportRequest(
            version=version,
            compatible=KIND,
            health=ReportedHealth(ok=ok, failing=() if ok else ("disk",)),
            backlog=backlog,
        )
        return (await self.hubs.report(clinic_of(number), hub_id(number), report)).version

    async def names(self, **asked: str) -> list[str]:
        page = await self.hubs.page(HubsAsked(**asked), ("", ""), 100)
        return [hub.name for hub in page.hubs]


@pytest.fixture
async def relays(database: Database) -> list[Relay]:
    clock = HandClock()
    opened = [await database.open() for _ in range(2)]
    await furnish(opened[0], 6)
    return [Relay(transactions, clock, seed) for seed, transactions in enumerate(opened)]


async def test_filters_and_pages(relays: list[Relay]) -> None:
    """Each filter finds its hubs, a page goes on behind the last, and who was revoked is not in it."""
    relay, other = relays
    for number, version in enumerate(["0.1.0", "0.1.0", "0.2.0"]):
        await relay.hear(number, version, ok=number != 1)
    await relay.hubs.put_into_ring(hub_id(2), HubRingRequest(ring="canary"))
    assert await other.names(version="0.1.0") == ["hub-0", "hub-1"]
    assert await other.names(clinic_id=CLINICS[1]) == ["hub-1", "hub-3", "hub-5"]
    assert await other.names(ring="canary") == ["hub-2"]
    assert [await other.names(health=health) for health in ("ok", "unwell", "unknown", "away")] == [
        ["hub-0", "hub-2"], ["hub-1"], ["hub-4", "hub-3", "hub-5"], [],
    ]  # fmt: skip
    first = await relay.hubs.page(HubsAsked(), ("", ""), 4)
    last = first.hubs[-1]
    rest = await relay.hubs.page(HubsAsked(), (last.clinic_id, last.hub_id), 4)
    assert [hub.name for hub in (*first.hubs, *rest.hubs)] == [
        "hub-0",
        "hub-2",
        "hub-4",
        "hub-1",
        "hub-3",
        "hub-5",
    ]
    assert (first.next_cursor is None, rest.next_cursor) == (False, None)
    await relay.hubs._authority.clock.sleep(HOUR_S)
    assert await relay.names(health="away") == ["hub-0", "hub-2", "hub-1"]
    await relay.hubs._authority.transactions.run(
        partial(hubs.revoke, clinic_id=clinic_of(0), hub_id=hub_id(0))
    )
    assert "hub-0" not in await other.names()


async def test_two_relays_bring_one_rollout_on(relays: list[Relay]) -> None:
    """Reports to either, and steps of both at once, are one rollout: each hub is offered it once, and it ends."""
    first, second = relays
    for number in range(6):
        await first.hear(number, "0.1.0")
    request = RolloutRequest(version="0.2.0", rings=("all",), serial=2)
    begun = await asyncio.gather(
        first.rollouts.begin(request), second.rollouts.begin(request), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in begun) == ["RolloutAnswer", "RolloutState"]
    rollout_id = await first.rollouts.newest()
    assert rollout_id is not None
    for done in range(6):
        told = await second.rollouts.get(rollout_id)
        assert (told.hubs.done, told.hubs.offered) == (done, 2 - done % 2)
        wanted = [
            await relays[number % 2].hear(number, "0.1.0") for number in await waiting(relays, rollout_id)
        ]
        assert wanted.count("0.2.0") == told.hubs.offered
        [number, *_] = [number for number in range(6) if await offered(first, number)]
        await relays[done % 2].hear(number, "0.2.0")
        await asyncio.gather(*(relay.rollouts.step() for relay in relays for _ in range(2)))
    told = await second.rollouts.get(rollout_id)
    assert (told.state, told.hubs.done) == ("done", 6)
    later = await first.rollouts.begin(RolloutRequest(version="0.2.0"))
    assert (later.state, later.hubs.skipped) == ("done", 6)
    assert (await first.rollouts.get(rollout_id)).hubs.done == 6, "what came of it is kept"
    page = await second.rollouts.page(None, 1)
    assert [one.rollout_id for one in page.rollouts] == [later.rollout_id]
    assert page.next_cursor is not None


async def waiting(relays: list[Relay], rollout_id: str) -> list[int]:
    """Those that have not got it."""
    hubs = (await relays[0].hubs.page(HubsAsked(), ("", ""), 100)).hubs
    return [
        number
        for number in range(6)
        for hub in hubs
        if hub.hub_id == hub_id(number) and hub.version == "0.1.0"
    ]


async def offered(relay: Relay, number: int) -> bool:
    hubs = (await relay.hubs.page(HubsAsked(), ("", ""), 100)).hubs
    return any(
        hub.hub_id == hub_id(number) and hub.rollout is not None and hub.rollout.state == "offered"
        for hub in hubs
    )


async def test_what_was_left_behind_counts_no_more(relays: list[Relay]) -> None:
    """A ring that is set gets its hubs out of an old rollout's hands; no ring is set while one is under way."""
    relay, _ = relays
    await relay.hear(0, "0.1.0")
    begun = await relay.rollouts.begin(RolloutRequest(version="0.2.0"))
    with pytest.raises(RolloutState):
        await relay.hubs.set_ring("all", RingRequest(version="0.1.0"))
    await relay.hubs.set_ring("all", RingRequest(settings=RingSettings(log_level="debug")))
    await relay.hear(0, "0.2.0", backlog=3)
    await relay.rollouts.change(begun.rollout_id, "abort")
    assert await relay.hear(0, "0.2.0", backlog=3) == "0.1.0"
    await relay.hubs.set_ring("all", RingRequest(version="0.2.0"))
    assert await relay.hear(0, "0.2.0") == "0.2.0"
    row = await relay.hubs._authority.transactions.read(partial(rollouts.ring, name="all"))
    assert (row.version, row.settings) == ("0.2.0", {"log_level": "debug"})
    ring, step = await relay.hubs._authority.transactions.read(
        partial(fleet.own, clinic_id=clinic_of(0), hub_id=hub_id(0))
    )
    assert (ring, step) == ("all", None)


async def test_a_token_of_another_relay(relays: list[Relay]) -> None:
    """What one relay makes another takes at once, and what one revokes another refuses at once."""
    first, second = relays
    await first.operators.add("Ada")
    text, row = await first.operators.token("Ada")
    assert (await second.operators.identify(text)).name == "Ada"
    await first.operators.revoke(row.token_id)
    with pytest.raises(Exception, match="revoked"):
        await second.operators.identify(text)
