"""A fleet that no hub is in: thousands of hubs that report as real ones do, while a rollout comes to them.

One relay on PostgreSQL, asked over HTTP by hubs and by an operator at the same time. Hubs take what they are offered at once,
so that the reports of a whole batch come together: a fleet's worst moment.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import httpx

from bench import load
from bench.context import Context
from bench.figure import RATIO, Bound, Figure, Series
from bench.relay import Database, Relay, relay
from cloud.config import load_settings
from cloud.fleet.operators import Operators
from cloud.releases import Description, Shelf
from cloud.store import open_store
from medxz import limits
from medxz.clock import SystemClock
from medxz.ids import RandomIds

HUBS_EACH: Final = 100
CONNECTIONS: Final = 20
KIND: Final = "medxz-hub-arm64"
OLD, NEW = "0.1.0", "0.2.0"
SECOND_MS: Final = 1_000


class _Operator:
    """Who asks; how long each answer took, in milliseconds."""

    def __init__(self, port: int, token: str) -> None:
        self._http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Authorization": f"Bearer {token}"},
            timeout=60,
            trust_env=False,
        )
        self.inventory_ms: list[float] = []
        self.rollout_ms: list[float] = []

    async def close(self) -> None:
        await self._http.aclose()

    async def begin(self) -> str:
        answer = await self._http.post("/v1/fleet/rollouts", json={"version": NEW})
        answer.raise_for_status()
        return str(answer.json()["rollout_id"])

    async def inventory(self) -> list[dict[str, Any]]:
        """Every hub, page by page."""
        found: list[dict[str, Any]] = []
        begun, cursor = time.perf_counter(), None
        while True:
            query = {"limit": str(limits.LIST_PAGE_MAX)} | ({"cursor": cursor} if cursor else {})
            page = (await self._http.get("/v1/fleet/hubs", params=query)).raise_for_status().json()
            found += page["hubs"]
            cursor = page["next_cursor"]
            if cursor is None:
                self.inventory_ms.append(SECOND_MS * (time.perf_counter() - begun))
                return found

    async def rollout(self, rollout_id: str) -> dict[str, Any]:
        begun = time.perf_counter()
        answer = (await self._http.get(f"/v1/fleet/rollouts/{rollout_id}")).raise_for_status()
        self.rollout_ms.append(SECOND_MS * (time.perf_counter() - begun))
        told: dict[str, Any] = answer.json()
        return told


def rollouts(context: Context) -> list[Figure]:
    """One rollout, from its beginning to its end."""
    count = context.sizes.fleet_hubs
    folder = context.folder / "fleet"
    with (
        Database() as database,
        relay(folder, database.url, clinic_count=count // HUBS_EACH, hubs_each=HUBS_EACH) as subject,
    ):
        return context.loop.run(_measured(context, subject, folder))


async def _measured(context: Context, subject: Relay, folder: Path) -> list[Figure]:
    data = folder / f"relay-{len(subject.clinics)}"
    for version in (OLD, NEW):
        _offer(data, folder, version)
    operator = _Operator(subject.cloud.port, await _token(data, subject.database))
    tokens = {
        hub_id: token
        for clinic in subject.clinics
        for hub_id, token in zip(clinic.hub_ids, clinic.tokens, strict=True)
    }
    rates: list[float] = []
    done = 0
    try:
        await _report(subject, list(tokens.values()), OLD)
        rollout_id = await operator.begin()
        for _ in context.samples("a rollout, batch by batch", 4):
            hubs = await operator.inventory()
            offered = [
                tokens[hub["hub_id"]]
                for hub in hubs
                if hub["rollout"] and hub["rollout"]["state"] == "offered"
            ]
            rate, *_ = await asyncio.gather(
                _report(subject, offered, NEW), operator.inventory(), operator.rollout(rollout_id)
            )
            rates.append(rate)
            done += len(offered)
            await _stepped(operator, rollout_id, done)
        told = await operator.rollout(rollout_id)
        assert (told["state"], told["hubs"]["done"]) == ("done", len(tokens)), told
    finally:
        await operator.close()
    return _figures(len(tokens), operator, rates)


def _figures(count: int, operator: _Operator, rates: Sequence[float]) -> list[Figure]:
    needed = count / limits.REPORT_EVERY_S
    return [
        Figure(
            "fleet.inventory", f"the whole inventory of {count:,} hubs, in pages of {limits.LIST_PAGE_MAX}, while a batch reports",
            "absolute", Bound("at most", 1_000), "ms", operator.inventory_ms,
        ),
        Figure(
            "fleet.rollout", f"how a rollout stands, {count:,} hubs", "absolute", Bound("at most", 1_000), "ms",
            operator.rollout_ms,
        ),
        Figure(
            "fleet.reports", "reports taken in a second, a whole batch at once, an operator asking meanwhile",
            f"what {count:,} hubs send, each every {limits.REPORT_EVERY_S} s", Bound("at least", 10), RATIO,
            [rate / needed for rate in rates], (Series("reports", "reports/s", rates),),
        ),
    ]  # fmt: skip


async def _report(subject: Relay, tokens: Sequence[str], version: str) -> float:
    """One of each of these hubs; how many were taken in a second."""
    body = json.dumps(
        {"version": version, "compatible": KIND, "health": {"ok": True, "failing": []}, "backlog": 0}
    ).encode()
    scripts = [
        load.Sends([load.post("/v1/hubs/report", token, body) for token in tokens[first::CONNECTIONS]])
        for first in range(min(CONNECTIONS, len(tokens)))
    ]
    run = await load.run(subject.cloud.port, scripts)
    assert sum(len(script.answers) for script in scripts) == len(tokens)
    return len(tokens) / run.seconds


async def _stepped(operator: _Operator, rollout_id: str, done: int) -> None:
    """Until so many are done, and others were offered it where there are any."""
    async with asyncio.timeout(60):
        while True:
            told = await operator.rollout(rollout_id)
            hubs = told["hubs"]
            if hubs["done"] == done and (hubs["offered"] or told["state"] == "done"):
                return
            await asyncio.sleep(0.1)


def _offer(data: Path, folder: Path, version: str) -> None:
    bundle = folder / f"{version}.raucb"
    bundle.write_bytes(version.encode())
    said = {"version": version, "compatible": KIND, "size": bundle.stat().st_size}
    said["sha256"] = hashlib.sha256(bundle.read_bytes()).hexdigest()
    bundle.with_name(bundle.name + ".json").write_text(json.dumps(said))
    told = Description.beside(bundle)
    Shelf(data).add(bundle, told, "2026-11-22T00:00:00.000Z", lambda _done, _size: None, held=True)


async def _token(data: Path, database: str) -> str:
    settings = load_settings({"data": data, "database": database}, {})
    async with open_store(settings, {}, SystemClock(), RandomIds()) as store:
        operators = Operators(store.authority)
        text, _ = await operators.token(await operators.add("bench"))
        return text
