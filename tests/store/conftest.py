"""Every backend that exists: a log in a real file, plain or encrypted, and one in a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from medxz.ids import RandomIds
from medxz.store.base import LogStore
from medxz.store.files import Identity, LogFile
from medxz.store.postgres.log import PostgresLog
from medxz.store.postgres.pool import Pool, open_pool
from medxz.store.postgres.relay import Relay
from medxz.store.postgres.writing import Writing
from medxz.store.sqlite import SqliteLog, Workers, open_log
from medxz.work import InlineWorker, ThreadWorker, Worker
from tests.making import CLINIC, HandClock, fixed_id

KEY = bytes(range(32))
IDENTITY = Identity(CLINIC, fixed_id(0xA1), fixed_id(0xEE), b"c" * 32)


class Backend:
    """A log that a test opens, and opens again."""

    def __init__(self, path: Path, key: bytes | None, make_workers: Callable[[], Workers]) -> None:
        self.path = path
        self.key = key
        self.clock = HandClock()
        self._make_workers = make_workers
        self._opened: list[tuple[SqliteLog, Workers]] = []
        LogFile.create(path, key, IDENTITY)

    async def open(self) -> SqliteLog:
        workers = self._make_workers()
        log, _ = await open_log(self.path, self.key, self.clock, workers)
        self._opened.append((log, workers))
        return log

    async def close(self) -> None:
        while self._opened:
            log, workers = self._opened.pop()
            await log.close()
            workers.close()

    async def reopen(self) -> SqliteLog:
        await self.close()
        return await self.open()


def inline_workers() -> Workers:
    return Workers(InlineWorker(), InlineWorker(), [InlineWorker()])


class Cloud:
    """What the logs of a cloud have in common, as far as they need it."""

    def __init__(self, epoch: str = IDENTITY.epoch) -> None:
        self.server_id = IDENTITY.server_id
        self.epoch = epoch

    async def begin(self, epoch: str) -> None:
        self.epoch = epoch


class PostgresBackend:
    """A clinic of its own in the database of the process; opening it again is what another relay does."""

    writing = Writing

    def __init__(self, url: str) -> None:
        self.url = url
        self.clock = HandClock()
        self.cloud = Cloud()
        self.clinic_id = RandomIds().uuid7()
        self._opened: list[tuple[PostgresLog, Relay, Pool, Worker]] = []

    async def open(self) -> PostgresLog:
        pool, worker = await open_pool(self.url, 4), ThreadWorker("bodies")
        relay = Relay(pool, self.cloud, self.clock, worker)
        relay.writing = self.writing
        await relay.open()
        log = await relay.open_log(self.clinic_id)
        self._opened.append((log, relay, pool, worker))
        return log

    async def close(self) -> None:
        while self._opened:
            log, relay, pool, worker = self._opened.pop()
            await log.close()
            await relay.close()
            await pool.close()
            worker.close()

    async def reopen(self) -> PostgresLog:
        await self.close()
        return await self.open()


AnyBackend = Backend | PostgresBackend
FILES = ("sqlite-plain", "sqlite-encrypted", "sqlite-inline")


def files(kind: str, folder: Path) -> Backend:
    return Backend(
        folder / "hub.db",
        None if kind == "sqlite-plain" else KEY,
        inline_workers if kind == "sqlite-inline" else Workers.threads,
    )


@pytest.fixture(params=[*FILES, "postgres"])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AnyBackend]:
    made: AnyBackend
    if request.param == "postgres":
        made = PostgresBackend(request.getfixturevalue("postgres_url"))
    else:
        made = files(request.param, tmp_path)
    yield made
    await made.close()


@pytest.fixture(params=FILES)
async def file_backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    """The files alone, for what only a hub asks."""
    made = files(request.param, tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def postgres_backend(postgres_url: str) -> AsyncIterator[PostgresBackend]:
    made = PostgresBackend(postgres_url)
    yield made
    await made.close()


@pytest.fixture
async def own_database_backend(own_database_url: str) -> AsyncIterator[PostgresBackend]:
    made = PostgresBackend(own_database_url)
    yield made
    await made.close()


@pytest.fixture
async def log(backend: AnyBackend) -> LogStore:
    return await backend.open()
