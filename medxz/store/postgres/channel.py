"""Telling other relays by NOTIFY that something is worth a look, and hearing of it by LISTEN.

A notification is a hint and nothing more: it may be lost, and whoever relies on it polls as well. It is sent behind the
commit that it tells of, on a connection of its own which waits for no disk and no standby: inside a transaction it
would hold a lock of the whole database through both. What is told while one is on its way goes out together.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import asyncpg

from medxz.errors import MedxzError
from medxz.store.postgres.pool import DRIVER_ERRORS, Pool

RETRY_S_MIN: Final = 0.05
RETRY_S_MAX: Final = 2.0
PAUSE_S: Final = 0.005
"""Between two notifications, so that what comes close together goes out together."""
PAYLOADS_MAX: Final = 10_000
"""What waits to be told; more is let go of: who polls finds it."""


class Channel:
    """One channel of a database, for as long as a process runs."""

    def __init__(
        self,
        pool: Pool,
        name: str,
        heard: Callable[[str | None], None],
        random_unit: Callable[[], float] = random.random,
    ) -> None:
        """`heard` gets what others told; None where something may have been missed."""
        self._pool: Final = pool
        self._name: Final = name
        self._heard: Final = heard
        self._random_unit: Final = random_unit
        self._untold: dict[str, None] = {}
        self._something: Final = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._speaks_as: int | None = None
        self.is_listening: bool = False

    def open(self) -> None:
        """Begin to listen."""
        self._tasks = [
            asyncio.create_task(self._stay(self._listen), name=f"listen {self._name}"),
            asyncio.create_task(self._stay(self._speak), name=f"notify {self._name}"),
        ]

    def tell(self, payload: str) -> None:
        """Tell everybody, soon."""
        if len(self._untold) < PAYLOADS_MAX:
            self._untold[payload] = None
            self._something.set()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _stay(self, use: Callable[[asyncpg.Connection[asyncpg.Record]], object]) -> None:
        """Keep a connection for one use, and make it anew when it is lost."""
        delay_s = RETRY_S_MIN
        while True:
            with suppress(MedxzError, *DRIVER_ERRORS):
                connection = await self._pool.connect()
                delay_s = RETRY_S_MIN
                try:
                    await use(connection)  # type: ignore[misc]
                finally:
                    connection.terminate()
            await asyncio.sleep(delay_s * (0.5 + self._random_unit() / 2))
            delay_s = min(2 * delay_s, RETRY_S_MAX)

    async def _listen(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        await connection.add_listener(self._name, self._arrived)
        self.is_listening = True
        try:
            self._heard(None)  # what was told before
            await lost.wait()
        finally:
            self.is_listening = False

    def _arrived(self, _connection: object, process: int, _channel: str, payload: object) -> None:
        if process != self._speaks_as:
            self._heard(str(payload))

    async def _speak(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        self._speaks_as = connection.get_server_pid()
        await connection.execute("SET synchronous_commit = off")
        while True:
            await self._something.wait()
            telling = list(self._untold)
            await connection.execute(
                "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload", self._name, telling
            )
            for payload in telling:
                self._untold.pop(payload, None)
            if not self._untold:
                self._something.clear()
            await asyncio.sleep(PAUSE_S)
