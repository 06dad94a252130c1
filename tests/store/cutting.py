"""A way to a PostgreSQL that a test cuts at a place of its choosing: before a message arrives, or before its answer does."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, urlsplit

Where = Literal["before it arrives", "before it is answered"]


class Cutting:
    """Listens in a folder; the URL leads through it."""

    def __init__(self, url: str, folder: Path) -> None:
        self._socket = Path(parse_qs(urlsplit(url).query)["host"][0]) / ".s.PGSQL.5432"
        self.url = f"postgresql://postgres@/{urlsplit(url).path.strip('/')}?host={folder}"
        self._folder = folder
        self._pattern: bytes | None = None
        self._where: Where = "before it arrives"
        self._tasks: set[asyncio.Task[None]] = set()
        self.cuts = 0
        self.ends_are_told = True
        self.ended = asyncio.Event()

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._pass_on, self._folder / ".s.PGSQL.5432")

    async def close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self, pattern: bytes, where: Where) -> None:
        """Once a message has this in it, end the connection."""
        self._pattern, self._where = pattern, where

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        server_reader, server_writer = await asyncio.open_unix_connection(str(self._socket))
        answering = asyncio.create_task(self._answer(server_reader, writer))
        with suppress(ConnectionError):
            while data := await reader.read(1 << 20):
                is_here = self._pattern is not None and self._pattern in data
                if is_here:
                    self._pattern = None
                    self.cuts += 1
                    answering.cancel()
                    await asyncio.wait([answering])
                    if self._where == "before it is answered":
                        server_writer.write(data)
                        await server_reader.read(1)
                    break
                server_writer.write(data)
                await server_writer.drain()
        for each in (server_writer, writer):
            each.close()
        answering.cancel()
        await asyncio.wait([answering])
        self._tasks.discard(task)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(1 << 20):
                writer.write(data)
                await writer.drain()
        self.ended.set()
        if self.ends_are_told:
            writer.close()
