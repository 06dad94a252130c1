"""Listening whether a server still speaks: what a peer tells somebody who would rather go elsewhere than wait.

It is told of silence that is normal (a stream between two pings, a pull that is held), of each sign of life, and of how
long a round trip takes. Called on the event loop; nothing of it waits or fails.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from medxz.peer.request import Request

Trace = Callable[[str, Mapping[str, Any]], Awaitable[None]]

_CONNECTED = "connection.connect_tcp.complete"
_SECURING = "connection.start_tls.started"
_SECURED = "connection.start_tls.complete"
_SENT = "send_request_body.complete"
_ANSWERED = "receive_response_headers.complete"


class Ear(Protocol):
    """Who listens."""

    @property
    def ping_s(self) -> float | None:
        """How long a stream may be silent; None: as the server likes."""
        ...

    def awaits(self, silent_s: float) -> None:
        """Something of the server is awaited from now on; it may be silent for so long beyond what is usual."""
        ...

    def heard(self) -> None:
        """It lives."""
        ...

    def no_longer(self, silent_s: float) -> None:
        """What was awaited under this has come, or is given up."""
        ...

    def round_trip(self, seconds: float) -> None: ...


class Listening:
    """One peer's side of it: nothing at all where nobody listens."""

    def __init__(self, ear: Ear | None) -> None:
        self._ear = ear

    @property
    def ping_s(self) -> float | None:
        return self._ear.ping_s if self._ear is not None else None

    @contextmanager
    def during(self, request: Request) -> Iterator[None]:
        if self._ear is None:
            yield
            return
        silent_s = request.longer_s + request.silent_s
        self._ear.awaits(silent_s)
        try:
            yield
        finally:
            self._ear.no_longer(silent_s)

    def heard(self) -> None:
        if self._ear is not None:
            self._ear.heard()

    async def each(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The same chunks: each of them is a sign of life, and so is each that goes out."""
        async for chunk in chunks:
            self.heard()
            yield chunk

    def extensions(self, request: Request) -> dict[str, Any]:
        """What makes the client tell how a request gets on."""
        return {} if self._ear is None else {"trace": _trace(self._ear, times=_is_quick(request))}


def _trace(ear: Ear, *, times: bool) -> Trace:
    """`times`: the server has nothing to do for this one, so that its answer takes a round trip."""
    begun_at = 0.0

    async def trace(event: str, _: Mapping[str, Any]) -> None:
        nonlocal begun_at
        if event == _CONNECTED:
            ear.heard()
        elif event == _SECURING or (times and event.endswith(_SENT)):
            begun_at = time.monotonic()
        elif event == _SECURED or (times and event.endswith(_ANSWERED)):
            ear.round_trip(time.monotonic() - begun_at)
            ear.heard()

    return trace


def _is_quick(request: Request) -> bool:
    return request.body is None and not request.longer_s
