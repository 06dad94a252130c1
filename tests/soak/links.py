"""A link between two programs: a TCP relay that an operator of a test cuts, slows, or makes swallow all that it is given.

Bytes pass as they are, so that TLS goes through. Refused: nothing; who can't be reached behind it is a reset connection.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final, Literal, Self

State = Literal["whole", "cut", "slow", "swallowing"]

CHUNK_BYTES: Final = 64 * 1_024
SLOW_DELAY_S: Final = 0.15
"""Each piece of a slow link comes so much later; pieces are at most `CHUNK_BYTES`."""
RECONNECT_S: Final = 2.0


class Link:
    """Stands at `port` and leads to another. `state` may change at any time."""

    def __init__(self, name: str, port_there: int) -> None:
        self.name = name
        self.port = 0
        self.state: State = "whole"
        self._there = port_there
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._changed = asyncio.Event()
        self._carrying: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._met, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.become("cut")
        if self._carrying:
            await asyncio.wait(self._carrying)
        await self._server.wait_closed()

    def become(self, state: State) -> None:
        """From now on. A cut resets what is open; a link that swallows leaves it open, and says nothing."""
        self.state = state
        self._changed.set()
        self._changed = asyncio.Event()
        if state == "cut":
            for writer in tuple(self._open):
                writer.transport.abort()

    @property
    def connections(self) -> int:
        return len(self._open) // 2

    def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry_both(reader, writer))
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)

    async def _carry_both(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        there: asyncio.StreamWriter | None = None
        try:
            if self.state == "cut":
                return
            async with asyncio.timeout(RECONNECT_S):
                there_reader, there = await asyncio.open_connection("127.0.0.1", self._there)
            self._open.add(there)
            await asyncio.gather(self._carry(reader, there), self._carry(there_reader, writer))
        except (OSError, TimeoutError):
            pass  # an end has gone, or was cut off
        finally:
            for end in (writer, there):
                if end is not None:
                    self._open.discard(end)
                    end.transport.abort()

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(CHUNK_BYTES):
            if self.state == "slow":
                await asyncio.sleep(SLOW_DELAY_S)
            while self.state == "swallowing":
                await self._changed.wait()
            sink.write(data)
            await sink.drain()
        with contextlib.suppress(OSError):
            sink.write_eof()
