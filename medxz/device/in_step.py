"""Coming into step and staying there: with the one server that a token was given for, or with the best of many.

A device that was made by a token has that token's server and no other. One that was enrolled has the clinic's: the chain
of medxz/device/targets finds who can be gone to. Part of `Device`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from medxz.clock import Clock, format_time
from medxz.device.local import DeviceSide
from medxz.device.reach import Server, context_of, no_token, over_http
from medxz.device.store import DeviceStore
from medxz.device.store.identity import Identity, Kind
from medxz.device.store.targets import HeldTarget
from medxz.errors import LoginNeeded
from medxz.replicate import Progress, Remote, Replicator, Report, Standing
from medxz.work import Worker

if TYPE_CHECKING:
    from medxz.device.device import Machine
    from medxz.device.renewal import Renewal
    from medxz.device.targets.chain import Chain
    from medxz.device.targets.ways import Target

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """A server that this device may go to, and how it was last. `state`: current, ready, down, refused or unknown."""

    kind: Kind | None
    url: str
    server_id: str | None
    source: str
    state: str
    rtt_ms: float | None
    last_ok_at: str | None
    code: str | None
    why: str | None


class InStepCalls:
    """What `Device` has of servers."""

    _store: DeviceStore
    _worker: Worker
    _clock: Clock
    _machine: Machine
    _renewal: Renewal
    _recorded: asyncio.Event
    _made_chain: Chain | None = None

    @property
    def at(self) -> Target | None:
        """Which server of several the device is with while it syncs or watches."""
        return self._made_chain.at if self._made_chain is not None else None

    async def _synced(self, progress: Callable[[Progress], None], attempts: int, patience_s: float) -> Report:
        if await self._has_several():
            return await self._chain.sync(progress, attempts, patience_s)
        peer, side = await self._reach()
        try:
            replicator = Replicator(side, peer, clock=self._clock, progress=progress)
            return await replicator.run(attempts=attempts, patience_s=patience_s)
        finally:
            await peer.aclose()

    @asynccontextmanager
    async def _followed(
        self, arrived: Callable[[], None], tell: Callable[[Standing, str], None]
    ) -> AsyncGenerator[asyncio.Task[None], None]:
        """While this stands the device stays in step. The task ends with the error that ends it."""
        peer: Remote | None = None
        if await self._has_several():
            from medxz.device.targets.staying import Staying  # what only records never loads it

            staying = Staying(
                self._chain, self._clock, self._renewal, self._machine.hear, arrived=arrived, tell=tell
            )
            following: asyncio.Task[None] = asyncio.create_task(staying.follow(self._recorded))
        else:
            peer, side = await self._reach()
            replicator = Replicator(side, peer, clock=self._clock, arrived=arrived, tell=tell)
            following = asyncio.create_task(replicator.follow(self._recorded))
        following.add_done_callback(lambda _: arrived())
        try:
            yield following
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            if peer is not None:
                await peer.aclose()

    async def _ask(self, work: Callable[[Server], Awaitable[T]]) -> T:
        """Do this with a server, without a token."""
        identity = await self._worker.run(self._store.identity)
        if identity.tls != "token":
            return await self._chain.ask(work)
        connect = self._machine.connect or over_http
        server = connect(identity.server_url, token=no_token, ssl_context=context_of(identity))
        try:
            return await work(server)
        finally:
            await server.aclose()

    async def _has_several(self) -> bool:
        identity = await self._worker.run(self._store.identity)
        if not identity.access_token:
            raise LoginNeeded("nobody is logged in on this device, or a server has ended the session")
        return identity.tls != "token"

    @property
    def _chain(self) -> Chain:
        from medxz.device.targets.chain import Chain  # what only records never loads it

        if self._made_chain is None:
            self._made_chain = Chain(self._store, self._machine, self._renewal)
        return self._made_chain

    async def _reach(self) -> tuple[Remote, DeviceSide]:
        identity = await self._worker.run(self._store.identity)
        side = DeviceSide(
            self._store, self._worker, self._clock, self._machine.ids, identity,
            become_another=self._renewal.changed,
        )  # fmt: skip
        connect = self._machine.connect or over_http
        return connect(identity.server_url, token=self._renewal, ssl_context=context_of(identity)), side


def target_of(identity: Identity, held: list[HeldTarget]) -> str | None:
    """Where the device is, or was last; None where it has tried, and nobody is there."""
    current = next((one.url for one in held if one.is_current), None)
    if identity.tls == "token" or not any(one.tried_ms for one in held):
        return identity.server_url
    return current


def target_status(held: HeldTarget) -> TargetStatus:
    return TargetStatus(
        held.kind, held.url, held.server_id, held.source,
        "current" if held.is_current else held.state,
        held.rtt_ms, None if held.last_ok_ms is None else format_time(held.last_ok_ms), held.code, held.why,
    )  # fmt: skip
