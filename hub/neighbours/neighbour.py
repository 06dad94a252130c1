"""The link to one neighbour, for as long as it is one: found, proved, read from, and looked for again when it is lost.

Before a byte of ours goes there it has shown a certificate by the clinic's CA that names its id. In with this hub's own
assertion for that one server, never with a token of the cloud's. Nothing ends the link but whoever began it.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from typing import Final, NoReturn

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from structlog.typing import FilteringBoundLogger

from hub.lent import Lent
from hub.neighbours.side import NeighbourSide
from hub.uplink.tokens import HubTokens, Signing
from medxz.clock import Clock, format_time
from medxz.errors import MedxzError, PeerUnreachable
from medxz.ids import Ids
from medxz.peer import Peer
from medxz.replicate import STREAM_ENDED, Replicator, Standing
from medxz.store.registry import SqliteRegistry
from medxz.store.sqlite import SqliteLog
from medxz.trust.certificates import client_context
from medxz.trust.dates import judge_dates_by
from medxz.waiting import first_of
from medxz.web.log import told

CONNECT_S_MAX: Final = 2.0
KEEP_EVERY_S: Final = 5.0
# not even who is said to be there again is asked sooner than this
PAUSE_S_MIN: Final = 0.25
PAUSE_S: Final = 0.5
PAUSE_S_MAX: Final = 30.0
ERROR_CHARS_MAX: Final = 300


@dataclass(frozen=True, slots=True)
class Own:
    """What every link of this hub is made with. `roots` gives the clinic's CAs of now, in PEM."""

    hub_id: str
    key: EllipticCurvePrivateKey
    roots: Callable[[], bytes]
    log: SqliteLog
    registry: SqliteRegistry
    clock: Clock
    ids: Ids
    say: FilteringBoundLogger
    lent: Lent


@dataclass(frozen=True, slots=True)
class LinkState:
    """How a neighbour was met last."""

    hub_id: str
    url: str | None = None
    is_online: bool = False
    last_ok_at: str | None = None
    last_error: str | None = None


class Neighbour:
    """One of them, from this hub. `run` it; `state` tells how it is."""

    def __init__(self, hub_id: str, own: Own, urls: tuple[str, ...]) -> None:
        self._own: Final = own
        self._side: Final = NeighbourSide(hub_id, own.log, own.registry, own.lent, own.clock, self._heard)
        self._hurried: Final = asyncio.Event()
        self._urls = urls
        self._failures = 0
        self.state = LinkState(hub_id)

    def may_be_at(self, urls: tuple[str, ...]) -> None:
        """Where it is looked for from now on."""
        if urls != self._urls:
            self._urls = urls
            self.hurry()

    def hurry(self) -> None:
        """It may be there again: look now."""
        if not self.state.is_online:
            self._hurried.set()

    async def run(self) -> NoReturn:
        """Until it is cancelled; how far it is by then is written down."""
        keeping = asyncio.create_task(self._keep(), name="neighbour-keep")
        try:
            while True:
                self._hurried.clear()
                try:
                    await self._attend()
                except MedxzError as error:
                    self._lost(str(error))
                except Exception as error:  # noqa: BLE001  the root of a task: the hub goes on, the log has the rest
                    self._lost(f"a mistake of ours: {type(error).__name__}")
                    self._own.say.error("neighbour broke", hub_id=self.state.hub_id, **told(error))
                await self._pause()
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            with suppress(MedxzError):
                await self._side.keep()

    async def _attend(self) -> None:
        """Read from it until the stream ends."""
        own, hub_id = self._own, self.state.hub_id
        context = client_context(own.roots(), hub_id)
        # both boxes may have booted in 1970, with no cloud to tell them the time
        judge_dates_by(context, own.clock)
        async with AsyncExitStack() as stack:
            found = await self._found(context, stack)
            tokens = HubTokens(found, Signing(own.key, own.hub_id, hub_id), own.clock, own.ids)
            peer = Peer(found.url, token=tokens, ssl_context=context, ids=own.ids)
            stack.push_async_callback(peer.aclose)
            replicator = Replicator(self._side, peer, clock=own.clock, tell=self._tell)
            await replicator.attend(asyncio.Event())

    async def _found(self, context: ssl.SSLContext, stack: AsyncExitStack) -> Peer:
        """It, at the first address where it proves itself; where it was met last is tried first."""
        last, problem = self.state.url, "nobody says where it is"
        for url in sorted(self._urls, key=lambda url: url != last):
            try:
                peer = Peer(url, ssl_context=context, ids=self._own.ids, connect_timeout_s=CONNECT_S_MAX)
                stack.push_async_callback(peer.aclose)
                info = await peer.info()
            except MedxzError as error:
                problem = str(error)
                continue
            if info.server_id == self.state.hub_id and info.kind == "hub":
                self.state = replace(self.state, url=url)
                return peer
            problem = f"another server answers at {url}"
        raise PeerUnreachable(problem)

    def _heard(self) -> None:
        if not self.state.is_online:
            self._own.say.info("neighbour online", hub_id=self.state.hub_id, url=self.state.url)
        at = format_time(self._own.clock.now_ms())
        self.state = replace(self.state, is_online=True, last_ok_at=at, last_error=None)
        self._failures = 0

    def _lost(self, why: str) -> None:
        why = why[:ERROR_CHARS_MAX]
        if self.state.is_online or self.state.last_error is None:
            self._own.say.info("neighbour offline", hub_id=self.state.hub_id, why=why)
        self.state = replace(self.state, is_online=False, last_error=why)
        self._failures += 1

    def _tell(self, standing: Standing, why: str) -> None:
        if standing == "live":
            self._heard()
        elif why != STREAM_ENDED:  # as each does when its token ends
            self._lost(why)

    async def _pause(self) -> None:
        if not self._failures:
            return
        await self._own.clock.sleep(PAUSE_S_MIN)
        ceiling_s = min(PAUSE_S_MAX, PAUSE_S * 2.0 ** min(self._failures, 10))
        slept = self._own.clock.sleep(ceiling_s * random.random())  # noqa: S311  nobody gains by guessing it
        await first_of(slept, self._hurried.wait())

    async def _keep(self) -> NoReturn:
        while True:
            await self._side.changed.wait()
            try:
                await self._side.keep()
            except MedxzError as error:
                self._own.say.warning("neighbour's cursor not kept", why=str(error)[:ERROR_CHARS_MAX])
            await self._own.clock.sleep(KEEP_EVERY_S)
