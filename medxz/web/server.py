"""Serving: listening sockets, TLS, and a stop that loses nothing.

Stopping takes no new connections and no new requests on old ones, ends what lasts (streams, waiting pulls), lets
the answers in flight finish, and cuts whatever is left at the deadline.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from medxz import limits
from medxz.web.connection import Connections

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Sequence

    from aiohttp import web
    from structlog.typing import FilteringBoundLogger

    from medxz.web.lasting import Lasting

_BACKLOG: Final = 1_024
_TLS_SHUTDOWN_S: Final = 1.0


class Answering(Protocol):
    """What answers requests: the API (medxz/web/app.py), or a few pages without one (medxz/web/plain.py)."""

    @property
    def log(self) -> FilteringBoundLogger: ...
    @property
    def lasting(self) -> Lasting: ...
    async def answer(self, request: web.BaseRequest) -> web.StreamResponse: ...
    def refuse(self, request: web.BaseRequest) -> web.StreamResponse: ...


class Serving:
    """A server that serves."""

    def __init__(
        self, app: Answering, connections: Connections, servers: list[asyncio.Server], scheme: str
    ) -> None:
        self._app = app
        self.connections = connections
        self._servers = servers
        self._scheme = scheme
        self._sweep = asyncio.ensure_future(self._drop_stalled())

    @property
    def urls(self) -> list[str]:
        """Where it serves, one address for each socket."""
        return [
            f"{self._scheme}://{_host(listening)}:{listening.getsockname()[1]}"
            for server in self._servers
            for listening in server.sockets
        ]

    @property
    def url(self) -> str:
        """Where it serves, the first address."""
        return self.urls[0]

    @property
    def open_connections(self) -> int:
        return self.connections.open_count

    async def stop(self, deadline_s: float = limits.SHUTDOWN_S_MAX) -> None:
        """End it within the deadline. What was answered, was answered; a request without an answer gets none."""
        for server in self._servers:
            server.close()
        await asyncio.sleep(0)  # requests that have just come begin, so that they are waited for
        self.connections.pre_shutdown()
        self._app.lasting.stop()
        self._sweep.cancel()
        # aiohttp waits that long for the answer, and once more for the connection's end
        await self.connections.shutdown(deadline_s / 2)

    async def _drop_stalled(self) -> None:
        while True:
            await asyncio.sleep(limits.STALLED_S)
            self.connections.drop_stalled()


async def serve(
    app: Answering,
    *,
    host: str | None = None,
    port: int = 0,
    sockets: Sequence[socket.socket] = (),
    ssl_context: ssl.SSLContext | None = None,
    connections_max: int = limits.CONNECTIONS_MAX,
) -> Serving:
    """Serve on a host and port (0: a free one), on sockets that are bound already, or on both."""
    connections = Connections(app.answer, app.refuse, app.log, connections_max)
    loop = asyncio.get_running_loop()
    listen = partial(
        loop.create_server,
        connections,
        ssl=ssl_context,
        backlog=_BACKLOG,
        ssl_handshake_timeout=limits.STALLED_S if ssl_context else None,
        ssl_shutdown_timeout=_TLS_SHUTDOWN_S if ssl_context else None,
    )
    servers: list[asyncio.Server] = []
    try:
        if host is not None:
            servers.append(await listen(host=host, port=port))
        for bound in sockets:
            servers.append(await listen(sock=bound))  # noqa: PERF401  # those that were opened are to be closed
    except OSError:
        for server in servers:
            server.close()
        raise
    if not servers:
        raise ValueError("nothing to serve on: give a host, or sockets")
    return Serving(app, connections, servers, "http" if ssl_context is None else "https")


def _host(listening: socket.socket) -> str:
    host = str(listening.getsockname()[0])
    return f"[{host}]" if ":" in host else host
