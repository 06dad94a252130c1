"""The logs that a relay has open in a PostgreSQL, and how it hears that another relay has appended to one of them.

By NOTIFY at once; and by asking for all counts from time to time, more often while nobody listens.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from importlib import resources
from typing import Final

from medxz.clock import Clock
from medxz.errors import MedxzError
from medxz.store.postgres import statements
from medxz.store.postgres.bodies import Bodies
from medxz.store.postgres.channel import Channel
from medxz.store.postgres.log import PostgresLog, ServerState, Shared
from medxz.store.postgres.migrate import migrate
from medxz.store.postgres.pool import Pool
from medxz.store.postgres.writing import Writing
from medxz.work import Worker

CHANNEL: Final = "medxz_log"
POLL_S: Final = 5.0
POLL_DEAF_S: Final = 0.25
_CURSOR_KEY_BYTES: Final = 32

_SQL = resources.files("medxz.store.postgres") / "sql"


class Relay:
    """What the logs of one process share. `open` it, and `close` it when its logs are closed."""

    writing: type[Writing] = Writing

    def __init__(self, pool: Pool, server: ServerState, clock: Clock, worker: Worker) -> None:
        """Neither pool nor worker is closed with it."""
        self._pool: Final = pool
        self._server: Final = server
        self._clock: Final = clock
        self._bodies: Final = Bodies(worker)
        self._logs: Final[dict[str, PostgresLog]] = {}
        self._look_now: Final = asyncio.Event()
        self._channel: Final = Channel(pool, CHANNEL, self._heard)
        self._polling: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Bring the tables up to date, and listen."""
        await migrate(self._pool, "log", _SQL)
        self._channel.open()
        self._polling = asyncio.create_task(self._poll(), name="poll logs")

    async def open_log(self, clinic_id: str) -> PostgresLog:
        """The log of a clinic, which is made where there is none. One at a time of each."""
        async with self._pool.connection() as connection:
            await connection.execute(statements.MAKE, clinic_id, secrets.token_bytes(_CURSOR_KEY_BYTES))
            cursor_key = await connection.fetchval(statements.CURSOR_KEY, clinic_id)
        shared = Shared(
            self._server,
            self._pool,
            self._bodies,
            self._clock,
            self._channel.tell,
            self._let_go,
            self.writing,
        )
        log = self._logs[clinic_id] = PostgresLog(clinic_id, cursor_key, shared)
        try:
            await log.follow()
        except BaseException:
            await log.close()
            raise
        return log

    async def close(self) -> None:
        await self._channel.close()
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.wait([self._polling])

    def _let_go(self, log: PostgresLog) -> None:
        if self._logs.get(log.clinic_id) is log:
            del self._logs[log.clinic_id]

    def _heard(self, clinic_id: str | None) -> None:
        if clinic_id is None:
            self._look_now.set()
        elif clinic_id in self._logs:
            self._logs[clinic_id].follow_soon()

    async def _poll(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_S if self._channel.is_listening else POLL_DEAF_S):
                    await self._look_now.wait()
            self._look_now.clear()
            with suppress(MedxzError):  # it is asked again soon
                await self._look()

    async def _look(self) -> None:
        """Have those logs follow which are at another commit than is known here."""
        if not self._logs:
            return
        async with self._pool.connection() as connection:
            rows = await connection.fetch(statements.COUNTS, list(self._logs))
        for clinic_id, *at in rows:
            log = self._logs.get(str(clinic_id))
            if log is not None and log.known_at != tuple(at):
                log.follow_soon()
