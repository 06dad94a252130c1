"""The authority's tables on every database that there is, opened as often as a test has processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from medxz.store.authority.base import Transactions
from medxz.store.authority.postgres import open_postgres
from medxz.store.authority.sqlite import open_sqlite
from medxz.store.postgres.pool import Pool, open_pool
from medxz.work import ThreadWorker

KEY = bytes(range(32))


class Database:
    """One database. Each `open` is what a process of its own would have."""

    def __init__(self, path: Path | None, url: str | None) -> None:
        self.path = path
        self.url = url
        self._opened: list[Transactions] = []
        self._pools: list[Pool] = []

    async def open(self) -> Transactions:
        if self.path is not None:
            transactions: Transactions = await open_sqlite(self.path, KEY, ThreadWorker("authority"))
        else:
            assert self.url is not None
            pool = await open_pool(self.url, connections_max=8)
            self._pools.append(pool)
            transactions = await open_postgres(pool)
        self._opened.append(transactions)
        return transactions

    async def close(self) -> None:
        for transactions in self._opened:
            await transactions.close()
        for pool in self._pools:
            await pool.close()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str | None:
    """A PostgreSQL database of the test's own, or None where the test is about a file."""
    return str(request.getfixturevalue("own_database_url")) if request.param == "postgres" else None


@pytest.fixture
async def database(url: str | None, tmp_path: Path) -> AsyncIterator[Database]:
    made = Database(tmp_path / "authority.db" if url is None else None, url)
    yield made
    await made.close()


@pytest.fixture
async def transactions(database: Database) -> Transactions:
    return await database.open()
