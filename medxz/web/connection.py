"""Connections: aiohttp's HTTP/1.1 protocol, told what a connection may cost and how its own errors are answered.

aiohttp bounds the request line, the headers and what it reads ahead. Here stand the number of connections, the
answers to what is not HTTP, and the end of connections on which nothing moves.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, cast

from aiohttp import web

from medxz import limits
from medxz.web.log import told

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from structlog.typing import FilteringBoundLogger

_OPTIONS: Final = {
    "keepalive_timeout": limits.KEEPALIVE_S,
    "max_line_size": limits.REQUEST_LINE_BYTES_MAX,
    "max_field_size": limits.HEADER_BYTES_MAX,
    "max_headers": limits.HEADERS_MAX,
    "auto_decompress": False,
    "access_log": None,
    "lingering_time": 5.0,
}


class Connections(web.Server):
    """The connections of one server; the factory that a listening socket is given."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        refuse: Callable[[web.BaseRequest], web.StreamResponse],
        log: FilteringBoundLogger,
        most: int = limits.CONNECTIONS_MAX,
    ) -> None:
        super().__init__(handler)
        self.refuse = refuse
        self.log = log
        self.most = most
        self.open_count = 0
        self._waiting: dict[Connection, int] = {}

    def __call__(self) -> Connection:
        return Connection(self, loop=asyncio.get_running_loop(), **_OPTIONS)

    def drop_stalled(self) -> None:
        """End the connections whose client has taken nothing of what waits for it since the last call."""
        waiting: dict[Connection, int] = {}
        for connection in self.connections:
            transport = connection.transport
            if not isinstance(connection, Connection) or transport is None:
                continue
            size = transport.get_write_buffer_size()
            if size and self._waiting.get(connection) == size:
                self.log.info("connection stalled", waiting_bytes=size)
                transport.abort()
            elif size:
                waiting[connection] = size
        self._waiting = waiting


class Connection(web.RequestHandler):
    """One connection."""

    __slots__ = ("_connections", "_when_lost")

    def __init__(self, connections: Connections, **options: Any) -> None:
        super().__init__(connections, **options)
        self._connections = connections
        self._when_lost: dict[object, Callable[[], object]] = {}

    def when_lost(self, act: Callable[[], object]) -> Callable[[], None]:
        """Have this called when the client has gone; what is returned takes that back."""
        key = object()
        self._when_lost[key] = act

        def forget() -> None:
            self._when_lost.pop(key, None)

        return forget

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connections.open_count += 1
        if self._connections.open_count > self._connections.most:
            cast("asyncio.Transport", transport).abort()  # uvloop's is one by its methods only
            return
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._connections.open_count -= 1
        super().connection_lost(exc)
        for act in list(self._when_lost.values()):
            act()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,  # noqa: ARG002  # aiohttp's signature
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002
    ) -> web.StreamResponse:
        """Answer what aiohttp could not read as a request. Everything else is answered further in."""
        if isinstance(exc, ConnectionError):
            raise exc  # the client has gone, or is given up: nothing is sent
        response = self._connections.refuse(request)
        response.force_close()
        return response

    def log_exception(self, *_args: Any, **kw: Any) -> None:
        error = kw.get("exc_info")
        details = told(error) if isinstance(error, BaseException) else {}
        self._connections.log.error("connection failed", **details)
