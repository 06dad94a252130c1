"""Every backend that exists, each opened on a real file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from medxz.store.files import Identity, LogFile
from medxz.store.sqlite import SqliteLog, Workers, open_log
from medxz.work import InlineWorker
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


@pytest.fixture(params=["sqlite-plain", "sqlite-encrypted", "sqlite-inline"])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    made = Backend(
        tmp_path / "hub.db",
        None if request.param == "sqlite-plain" else KEY,
        inline_workers if request.param == "sqlite-inline" else Workers.threads,
    )
    yield made
    await made.close()


@pytest.fixture
async def log(backend: Backend) -> SqliteLog:
    return await backend.open()
