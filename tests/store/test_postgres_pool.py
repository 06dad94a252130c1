"""Connections to a real PostgreSQL: migrations that several run at once, errors that are ours, hints that arrive."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from medxz.errors import Overloaded, SchemaTooNew, StoreError
from medxz.store.postgres.channel import Channel
from medxz.store.postgres.migrate import migrate
from medxz.store.postgres.pool import describe, open_pool
from tests.postgres import run_sql


def write(folder: Path, *scripts: str) -> Path:
    folder.mkdir(exist_ok=True)
    for number, script in enumerate(scripts, 1):
        (folder / f"{number:04}_step.sql").write_text(script)
    return folder


async def test_migrations_run_once_whoever_starts_at_the_same_time(
    own_database_url: str, tmp_path: Path
) -> None:
    """Of relays that start together one runs what is new; the tables of another name are none of its business."""
    folder = write(tmp_path / "a", "CREATE TABLE a (x INTEGER);", "ALTER TABLE a ADD y INTEGER; SELECT 1;")
    other = write(tmp_path / "b", "CREATE TABLE b (x INTEGER);")
    pools = [await open_pool(own_database_url) for _ in range(4)]
    ran = await asyncio.gather(
        *(migrate(pool, "a", folder) for pool in pools), *(migrate(pool, "b", other) for pool in pools)
    )
    assert sorted(ran) == [0] * 6 + [1, 2]
    for pool in pools:
        await pool.close()


async def test_a_failed_migration_leaves_nothing(own_database_url: str, tmp_path: Path) -> None:
    """What a migration did before its mistake is undone, and it can be run again."""
    pool = await open_pool(own_database_url)
    with pytest.raises(StoreError, match="42601"):
        await migrate(pool, "a", write(tmp_path, "CREATE TABLE a (x INTEGER);", "nonsense"))
    assert await migrate(pool, "a", write(tmp_path, "CREATE TABLE a (x INTEGER);", "SELECT 1;")) == 2
    await pool.close()


async def test_a_newer_schema_is_refused(own_database_url: str, tmp_path: Path) -> None:
    """A database that a newer version has written is left as it is."""
    pool = await open_pool(own_database_url)
    await migrate(pool, "a", write(tmp_path / "new", "SELECT 1;", "SELECT 1;"))
    with pytest.raises(SchemaTooNew):
        await migrate(pool, "a", write(tmp_path / "old", "SELECT 1;"))
    await pool.close()


async def test_a_database_that_is_not_there_says_where_it_should_be() -> None:
    """Opening fails with the address and without the password."""
    url = "postgresql://someone:secret-word@127.0.0.1:1/records"
    assert "secret-word" not in describe(url)
    with pytest.raises(StoreError, match=r"'records' at 127\.0\.0\.1:1") as refused:
        await open_pool(url)
    assert "secret-word" not in str(refused.value)
    with pytest.raises(StoreError):
        await open_pool("mysql://127.0.0.1/records")


async def test_a_connection_that_is_lost_is_made_anew(postgres_url: str) -> None:
    """Whoever used it hears Overloaded, and the next one gets another."""
    pool = await open_pool(postgres_url, 1)
    with pytest.raises(Overloaded):
        async with pool.connection() as connection:
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    async with pool.connection() as connection:
        assert await connection.fetchval("SELECT 1") == 1
    await pool.close()


async def test_an_error_of_the_driver_may_be_caught_where_it_is_raised(postgres_url: str) -> None:
    """Inside the block it is asyncpg's, outside it is ours."""
    pool = await open_pool(postgres_url, 1)
    async with pool.connection() as connection:
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.execute("SELECT 1/0")
    with pytest.raises(StoreError, match="22012"):
        async with pool.connection() as connection:
            await connection.execute("SELECT 1/0")
    await pool.close()


async def test_what_is_told_is_heard_by_other_relays(postgres_url: str) -> None:
    """Also when the listening connection was cut meanwhile: then that something may have been missed."""
    pool = await open_pool(postgres_url)
    heard: asyncio.Queue[str | None] = asyncio.Queue()
    speaking = Channel(pool, "medxz_test", lambda _: None)
    listening = Channel(pool, "medxz_test", heard.put_nowait)
    speaking.open()
    listening.open()
    assert await asyncio.wait_for(heard.get(), 10) is None
    speaking.tell("one")
    assert await asyncio.wait_for(heard.get(), 10) == "one"
    await run_sql(
        postgres_url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ILIKE 'listen%medxz_test%'",
    )
    assert await asyncio.wait_for(heard.get(), 10) is None
    speaking.tell("two")
    assert await asyncio.wait_for(heard.get(), 10) == "two"
    await speaking.close()
    await listening.close()
    await pool.close()
