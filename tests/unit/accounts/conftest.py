"""A cloud with a clinic, on each database that there is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.accounts.house import House, Relay


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str | None:
    """A PostgreSQL database of the test's own, or None where the test is about a file."""
    return str(request.getfixturevalue("own_database_url")) if request.param == "postgres" else None


@pytest.fixture
async def house(url: str | None, tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path / "authority.db" if url is None else None, url)
    yield made
    await made.close()


@pytest.fixture
async def relay(house: House) -> Relay:
    return await house.begin()
