"""Hub, then cloud, then nobody for now: one device's way through its servers, once.

The server that was good last is gone to at once. Where it fails, everybody else is asked at the same time, and the first
that answers takes its place: one that is preferred before the others. What a server refuses, another may take; only what
is over everywhere ends it.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from medxz.device.local import DeviceSide
from medxz.device.person import read_roles
from medxz.device.reach import Server, no_token
from medxz.device.store.identity import Kind
from medxz.device.store.targets import HeldTarget, Trust
from medxz.device.targets.routing import route
from medxz.device.targets.search import Search
from medxz.device.targets.ways import Target, Way, Ways
from medxz.errors import MedxzError, PeerRefused, PeerUnreachable, PeerUntrusted
from medxz.replicate import Progress, Replicator, Report
from medxz.replicate.retry import Retry

if TYPE_CHECKING:
    from medxz.device.device import Machine
    from medxz.device.discovery.looking import Heard
    from medxz.device.renewal import Renewal
    from medxz.device.store import DeviceStore

T = TypeVar("T")

LOOK_AGAIN_MS: Final = 60_000
"""A LAN on which nobody was found is searched again for one sync after this; who stays in step listens all the time."""
REST_MS: Final = 30_000
"""Who kept silent so lately is not waited for again, where there is another."""
OVER_EVERYWHERE: Final = frozenset({"session_revoked"})


@dataclass(frozen=True, slots=True)
class Standings:
    """Who can be gone to, as the store knows it, and which kinds in which order."""

    trust: Trust
    held: Sequence[HeldTarget]
    kinds: tuple[Kind, ...]

    def rank(self, target: Target) -> int:
        """How many kinds are preferred to this one."""
        return self.kinds.index(target.kind) if target.kind in self.kinds else 0


class Chain:
    """One device's. `renewal` gives the tokens, and asks here for a server to renew them at."""

    def __init__(self, store: DeviceStore, machine: Machine, renewal: Renewal) -> None:
        self._store = store
        self._worker = machine.worker
        self._clock = machine.clock
        self._ids = machine.ids
        self._hear = machine.hear
        self._renewal = renewal
        self._ways = Ways(machine.clock, machine.connect)
        self._search = Search(store, machine.worker, machine.clock, machine.connect)
        self.browser: Heard | None = None
        """Who listens on the LAN all the time, where somebody does."""
        self.at: Target | None = None
        """With whom the device is in step now, or tries to be."""

    async def sync(self, progress: Callable[[Progress], None], attempts: int, patience_s: float) -> Report:
        """Push and pull once, with the first server with which that can be done; tried again while that can help."""
        report = Report()
        retry = Retry(self._clock, random.random, lambda _: None)
        async for attempt in retry.times(attempts, patience_s):
            with attempt:
                try:
                    await self._with_somebody(lambda way: self._cycle(way, progress, report), self._renewal)
                except (PeerUnreachable, PeerRefused):
                    await self.with_nobody()
                    raise
        return report

    async def ask(self, work: Callable[[Server], Awaitable[T]]) -> T:
        """Ask without a token: where the device is, or else whoever answers first and can say."""
        return await self._with_somebody(lambda way: work(way.server), None)

    async def catch_up(self, way: Way, arrived: Callable[[], None]) -> None:
        """Push and pull once with this server, and stay where the device is."""
        replicator = Replicator(await self.side(way.target), way.server, clock=self._clock, arrived=arrived)
        await replicator.run(attempts=1, patience_s=0)

    async def standings(self) -> Standings:
        trust = await self._worker.run(self._store.targets.trust)
        held = await self._worker.run(self._store.targets.everything)
        identity = await self._worker.run(self._store.identity)
        return Standings(trust, held, route(trust.routing, read_roles(identity.roles)))

    async def side(self, target: Target) -> DeviceSide:
        identity = await self._worker.run(self._store.identity)
        return DeviceSide(
            self._store, self._worker, self._clock, self._ids, identity,
            become_another=self._renewal.changed, url=target.url,
        )  # fmt: skip

    def way(
        self, target: Target, standings: Standings, *, renewal: Renewal | None,
        doubts: Callable[[], None] = lambda: None, rtt_s: float | None = None,
    ) -> AbstractAsyncContextManager[Way]:  # fmt: skip
        """With the tokens of `renewal`, or none."""
        token = no_token if renewal is None else renewal.at(target.kind, target.server_id)
        is_last = target.kind == standings.kinds[-1] == "cloud"
        return self._ways.open(
            target, standings.trust, token, is_last=is_last, doubts=doubts, rtt_s=rtt_s
        )  # fmt: skip

    async def turns(self, standings: Standings, first: Target | None = None) -> AsyncGenerator[Target, None]:
        """`first`, or who was good last, at once; then the others as they answer. Each address once."""
        direct = first or self._direct(standings)
        tried: set[str] = set()
        if direct is not None:
            tried.add(direct.url)
            yield direct
        async with aclosing(self.others(standings, frozenset(tried))) as others:
            async for target in others:
                if target.url not in tried:
                    tried.add(target.url)
                    yield target

    async def others(
        self, standings: Standings, without: frozenset[str], kinds: Sequence[Kind] | None = None
    ) -> AsyncGenerator[Target, None]:
        """Who else answers. Where nobody listens on the LAN all the time, it is searched now and then."""
        kinds = kinds or standings.kinds
        async with AsyncExitStack() as stack:
            browser = self.browser
            searches = browser is None and self._hear is not None and self._may_search(standings, kinds)
            if searches and self._hear is not None:
                browser = await stack.enter_async_context(self._hear())
            found = await stack.enter_async_context(
                aclosing(self._search.found(kinds, browser=browser, without=without))
            )
            hubs = 0
            async for target in found:
                hubs += target.kind == "hub"
                yield target
            if searches and not hubs:
                await self._worker.run(self._store.targets.looked)

    async def note(self, target: Target, error: MedxzError) -> None:
        """What was wrong with it."""
        code = "untrusted" if isinstance(error, PeerUntrusted) else None
        await self._worker.run(self._store.targets.failed, target.url, str(error), code)

    async def note_answer(self, target: Target, rtt_s: float | None) -> None:
        """It is where the device is now. Who it is was written down when it was met."""
        await self._worker.run(self._store.targets.go_to, target.url, rtt_s)

    async def with_nobody(self) -> None:
        self.at = None
        await self._worker.run(self._store.targets.go_to, None)

    async def met(self, target: Target) -> Target:
        """The same, with who was met there."""
        for held in await self._worker.run(self._store.targets.everything):
            if held.url == target.url and held.last_ok_ms is not None:
                return Target(held.url, held.kind, held.server_id, held.source)
        return target

    async def _with_somebody(self, work: Callable[[Way], Awaitable[T]], renewal: Renewal | None) -> T:
        errors: list[Exception] = []
        standings = await self.standings()
        async with aclosing(self.turns(standings, self.at if renewal is None else None)) as targets:
            async for target in targets:
                try:
                    async with self.way(target, standings, renewal=renewal) as way:
                        return await way.run(work(way))
                except (PeerUnreachable, PeerRefused) as error:
                    errors.append(error)
                    await self.note(target, error)
                    if not _others_may(error, is_asked=renewal is None):
                        raise
        raise worst(errors)

    async def _cycle(self, way: Way, progress: Callable[[Progress], None], report: Report) -> None:
        side = await self.side(way.target)
        replicator = Replicator(side, way.server, clock=self._clock, progress=progress)
        before, self.at = self.at, way.target
        try:
            await replicator.run(attempts=1, patience_s=0)
        finally:
            self.at = before
            report.add(replicator.report)
        await self.note_answer(way.target, way.rtt_s)

    def _direct(self, standings: Standings) -> Target | None:
        """Who was good when it was tried last, of the kind that is preferred; None: that has to be found out."""
        for kind in standings.kinds:
            of_kind = [one for one in standings.held if (one.kind or standings.kinds[0]) == kind]
            for one in of_kind:  # the one in use first, then by when they answered
                if one.state in {"ready", "unknown"}:
                    return Target(one.url, one.kind, one.server_id, one.source)
            now_ms = self._clock.now_ms()
            if any(one.tried_ms is None or abs(now_ms - one.tried_ms) > REST_MS for one in of_kind):
                return None
            if not of_kind and self._may_search(standings, (kind,)):
                return None
        return None

    def _may_search(self, standings: Standings, kinds: Sequence[Kind]) -> bool:
        looked_ms = standings.trust.looked_ms
        is_time = looked_ms is None or abs(self._clock.now_ms() - looked_ms) > LOOK_AGAIN_MS
        return self._hear is not None and "hub" in kinds and is_time


def worst(errors: Sequence[Exception]) -> Exception:
    """The one to tell, where nobody could be gone to: what a server said counts for more than silence."""
    refused = [error for error in errors if isinstance(error, PeerRefused)]
    if not errors:
        return PeerUnreachable("no server is known that could be asked, and none was found")
    return refused[0] if refused else errors[0]


def _others_may(error: PeerUnreachable | PeerRefused, *, is_asked: bool) -> bool:
    """Whether another server may do what this one would not. Who asks to be let in is asked back by each alike."""
    if isinstance(error, PeerUnreachable):
        return True
    return error.status >= 500 if is_asked else error.code not in OVER_EVERYWHERE
