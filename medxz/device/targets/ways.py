"""A way to one server: by which certificates, with whose token, and with somebody who listens whether it still speaks.

A hub is held against the clinic's CAs and the id that is expected of it, a cloud against what the system trusts or the
CAs that came for it. Refused: a server that was only told of, on another machine, without TLS.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from medxz.clock import Clock
from medxz.device.reach import Connect, Server, by_address, no_token, of_clinic, over_http
from medxz.device.store.identity import Kind
from medxz.device.store.targets import Source, Trust
from medxz.device.targets.pulse import PING_S, Pulse
from medxz.errors import PeerUntrusted

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from medxz.peer import TokenSource

T = TypeVar("T")

CLOUD_PING_S: Final = 5.0
"""A cloud has farther to go, and is paid for by the byte; it is asked to ping where a hub could take its place."""


@dataclass(frozen=True, slots=True)
class Target:
    """A server that a device may go to. Who is there is not known before it was met."""

    url: str
    kind: Kind | None
    server_id: str | None
    source: Source

    @property
    def name(self) -> str:
        return f"the {self.kind or 'server'} at {self.url}"


@dataclass(frozen=True, slots=True)
class Way:
    """An open way to a target."""

    target: Target
    server: Server
    pulse: Pulse | None

    @property
    def rtt_s(self) -> float | None:
        return self.pulse.rtt_s if self.pulse is not None else None

    async def run(self, work: Awaitable[T]) -> T:
        """Do this with the server, for as long as that one speaks; PeerUnreachable when it does not any more."""
        if self.pulse is None:
            return await work
        working = asyncio.ensure_future(work)
        listening = asyncio.ensure_future(self.pulse.watch())
        try:
            await asyncio.wait({working, listening}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            listening.result()
            raise AssertionError("a pulse is listened to without an end")
        finally:
            working.cancel()
            listening.cancel()
            await asyncio.gather(working, listening, return_exceptions=True)


class Ways:
    """Opens ways. `connect` is how a server is reached."""

    def __init__(self, clock: Clock, connect: Connect | None) -> None:
        self._clock = clock
        self._connect = connect or over_http

    def open(
        self, target: Target, trust: Trust, token: TokenSource, *,
        is_last: bool, doubts: Callable[[], None], rtt_s: float | None,
    ) -> AbstractAsyncContextManager[Way]:  # fmt: skip
        """`is_last`: there is nobody to go to in its place, so that it is waited for. `rtt_s`: as it was a moment ago."""
        return (
            self._waited_for(target, trust, token)
            if is_last
            else self._heard(target, trust, token, doubts, rtt_s)
        )

    @asynccontextmanager
    async def _waited_for(
        self, target: Target, trust: Trust, token: TokenSource
    ) -> AsyncGenerator[Way, None]:
        server = self._connect(target.url, token=token, ssl_context=context_to(target, trust))
        try:
            yield Way(target, server, None)
        finally:
            await server.aclose()

    @asynccontextmanager
    async def _heard(
        self,
        target: Target,
        trust: Trust,
        token: TokenSource,
        doubts: Callable[[], None],
        rtt_s: float | None,
    ) -> AsyncGenerator[Way, None]:
        context = context_to(target, trust)
        kept = self._connect(target.url, token=no_token, ssl_context=context)

        async def knock(is_new: bool) -> None:
            server = self._connect(target.url, token=no_token, ssl_context=context) if is_new else kept
            try:
                await server.alive()
            finally:
                if is_new:
                    await server.aclose()

        ping_s = CLOUD_PING_S if target.kind == "cloud" else PING_S
        pulse = Pulse(self._clock, knock, name=target.name, ping_s=ping_s, doubts=doubts, rtt_s=rtt_s)
        server = self._connect(target.url, token=token, ssl_context=context, ear=pulse)
        try:
            yield Way(target, server, pulse)
        finally:
            await server.aclose()
            await kept.aclose()


def context_to(target: Target, trust: Trust) -> ssl.SSLContext | None:
    """What the server there must show; None for what the system trusts."""
    if not target.url.startswith("https:"):
        return None
    kind = target.kind or ("hub" if trust.tls == "hub" else "cloud")
    if kind == "cloud":
        return by_address(trust.cloud_cas) if trust.cloud_cas is not None else None
    if trust.hub_cas is None:
        raise PeerUntrusted(f"{target.url} is said to be a hub, and this device has no CA to hold it against")
    if target.server_id is None:
        return of_clinic(trust.hub_cas)
    from medxz.trust.certificates import client_context  # what only records never loads it

    return client_context(trust.hub_cas.encode(), target.server_id)
