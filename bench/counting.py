"""What goes over a wire: a relay between a client and a server that counts the bytes each way."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final, Self

_READ_BYTES: Final = 65_536


class CountingRelay:
    """Stands where the server's address is expected. `up` is what clients sent, `down` what they got.

    `port_there` may change: a server that comes back on another port is found where it was.
    """

    def __init__(self, port_there: int) -> None:
        self.port_there = port_there
        self.port = 0
        self.up = self.down = 0
        self._server: asyncio.Server | None = None
        self._ways: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for way in self._ways:
            way.cancel()
        await asyncio.gather(*self._ways, return_exceptions=True)

    async def _relay(self, here: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        try:
            there, on = await asyncio.open_connection("127.0.0.1", self.port_there)
        except OSError:
            back.close()  # nobody is there: nobody is here
            return
        for way in (self._carry(here, on, is_up=True), self._carry(there, back, is_up=False)):
            task = asyncio.create_task(way)
            self._ways.add(task)
            task.add_done_callback(self._ways.discard)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_up: bool) -> None:
        try:
            while data := await source.read(_READ_BYTES):
                if is_up:
                    self.up += len(data)
                else:
                    self.down += len(data)
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass  # one end has gone: so does the other
        finally:
            sink.close()
