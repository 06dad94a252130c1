"""Staying in step, for as long as somebody wants to: with the best server that there is, and with the next when it goes.

A server that is gone is left at once; who takes its place was looked for as soon as there were doubts. While the device
is with one that it does not prefer, it looks for a better one, brings that one into step first, and moves when it has
answered for a while.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from medxz.clock import Clock
from medxz.device.store.identity import Kind
from medxz.device.targets.chain import OVER_EVERYWHERE, Chain, Standings, worst
from medxz.device.targets.health import Health
from medxz.device.targets.pulse import Gone
from medxz.device.targets.ways import Target, Way
from medxz.errors import PeerRefused, PeerUnreachable
from medxz.replicate import LIVE_ROUND_S, LIVE_S_MIN, STREAM_ENDED, Replicator, Standing
from medxz.replicate.cycle import IdentityTaken, LogChanged
from medxz.replicate.retry import can_help
from medxz.waiting import first_of

if TYPE_CHECKING:
    from medxz.device.discovery.looking import Hear
    from medxz.device.renewal import Renewal

PAUSE_S: Final = 0.5
PAUSE_S_MAX: Final = 10.0
LOOK_S: Final = 1.0
LOOK_S_MAX: Final = 5.0
"""How often a better server is looked for."""
FAR_AFTER_S: Final = 300.0
FAR_LOOK_S: Final = 30.0
"""Who has been without its hub for so long is likely to be elsewhere."""
AHEAD_S: Final = 10.0
"""What was found when there were doubts is good for so long."""
_WAITED_FOR: Final = frozenset({429, 503})


@dataclass(slots=True)
class Stay:
    """How it went with one server."""

    target: Target
    live_at: float | None = None
    rtt_s: float | None = None
    better: Target | None = None
    error: Exception | None = None


class Staying:
    """One stay in step, through all the servers. `tell` hears when it is live with one, and when with nobody."""

    def __init__(
        self, chain: Chain, clock: Clock, renewal: Renewal, hear: Hear | None, *,
        arrived: Callable[[], None], tell: Callable[[Standing, str], None],
    ) -> None:  # fmt: skip
        self._chain = chain
        self._clock = clock
        self._renewal = renewal
        self._hear = hear
        self._arrived = arrived
        self._tell = tell
        self._health: dict[str, Health] = {}
        self._with: Target | None = None
        self._tried_somebody = asyncio.Event()
        self._ahead: _Ahead | None = None

    async def follow(self, wake: asyncio.Event) -> NoReturn:
        """Ends with the error that no server can mend."""
        listening = asyncio.create_task(self._listen(), name="hubs on the LAN")
        try:
            await self._follow(wake)
        finally:
            listening.cancel()
            if self._ahead is not None:
                self._ahead.close()
            await asyncio.gather(listening, return_exceptions=True)
            self._chain.at = None

    async def _follow(self, wake: asyncio.Event) -> NoReturn:
        last: Stay | None = None
        failures = 0
        while True:
            stay, errors = await self._round(wake, last)
            failures += 1
            last = None
            if stay.better is not None:
                last, failures = Stay(stay.better), 0
            elif stay.live_at is None:
                await self._with_nobody(errors, failures)
            elif self._clock.monotonic() - stay.live_at >= LIVE_S_MIN:
                last, failures = stay, 0
            else:
                last = stay
                await self._pause(failures - 1)  # its streams don't last
            if isinstance(stay.error, Gone):
                last = None

    async def _round(self, wake: asyncio.Event, last: Stay | None) -> tuple[Stay, list[Exception]]:
        """Until the device was live with somebody, or has tried everybody."""
        standings = await self._chain.standings()
        errors: list[Exception] = []
        stay = Stay(Target("", None, None, "typed"))
        async with aclosing(self._turns(standings, last)) as targets:
            async for target in targets:
                rtt_s = last.rtt_s if last is not None and last.target.url == target.url else None
                stay = await self._stay(target, standings, wake, rtt_s)
                self._tried_somebody.set()
                if stay.better is not None or stay.live_at is not None:
                    break
                if stay.error is not None:
                    errors.append(stay.error)
        return stay, errors

    async def _turns(self, standings: Standings, last: Stay | None) -> AsyncGenerator[Target, None]:
        """The last one again; whoever was found when there were doubts; then the others."""
        tried: set[str] = set()
        if last is not None:
            tried.add(last.target.url)
            yield last.target
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead.is_fresh(self._clock.monotonic()):
            try:
                async for target in ahead.found():
                    tried.add(target.url)
                    yield target
            finally:
                ahead.close()
        chain = self._chain
        left = chain.others(standings, frozenset(tried)) if tried else chain.turns(standings)
        async with aclosing(left) as targets:
            async for target in targets:
                if target.url not in tried:
                    yield target

    async def _stay(
        self, target: Target, standings: Standings, wake: asyncio.Event, rtt_s: float | None
    ) -> Stay:
        stay, live = Stay(target, rtt_s=rtt_s), asyncio.Event()
        self._chain.at = target

        def tell(standing: Standing, why: str) -> None:
            if standing == "live":
                live.set()
            else:
                self._tell(standing, why)

        def doubts() -> None:
            self._look_ahead(standings, target)

        way = self._chain.way(target, standings, renewal=self._renewal, doubts=doubts, rtt_s=rtt_s)
        try:
            async with way as way_there:
                replicator = Replicator(
                    await self._chain.side(target), way_there.server,
                    clock=self._clock, arrived=self._arrived, tell=tell,
                )  # fmt: skip
                session = way_there.run(replicator.session(wake, _can_wait))
                try:
                    await first_of(session, self._while_live(stay, way_there, live, standings))
                finally:
                    stay.rtt_s = way_there.rtt_s
        except (PeerUnreachable, PeerRefused, LogChanged, IdentityTaken) as error:
            if isinstance(error, PeerRefused) and error.code in OVER_EVERYWHERE:
                raise
            stay.error = error
            await self._failed(stay)
        return stay

    async def _failed(self, stay: Stay) -> None:
        why = str(stay.error)
        if isinstance(stay.error, (PeerUnreachable, PeerRefused)) and why != STREAM_ENDED:
            self._of(stay.target).failed()
            await self._chain.note(stay.target, stay.error)
        if stay.live_at is not None:
            self._tell("offline", why)

    async def _while_live(self, stay: Stay, way: Way, live: asyncio.Event, standings: Standings) -> None:
        """From when the stream stands: say so, and look for a better server, until one is there."""
        await live.wait()
        stay.live_at = self._clock.monotonic()
        stay.target = self._chain.at = await self._chain.met(stay.target)
        if self._with is not None and _key(self._with) != _key(stay.target):
            self._of(self._with).left(stay.live_at)
        self._with = stay.target
        self._of(stay.target).taken(stay.live_at)
        await self._chain.note_answer(stay.target, way.rtt_s)
        self._tell("live", "")
        self._tried_somebody.set()
        await first_of(self._note_now_and_then(stay.target, way), self._better(stay, standings))

    async def _note_now_and_then(self, target: Target, way: Way) -> NoReturn:
        while True:
            await self._clock.sleep(LIVE_ROUND_S)
            await self._chain.note_answer(target, way.rtt_s)

    async def _better(self, stay: Stay, standings: Standings) -> None:
        """Return when there is one: it has answered for a while, and is in step."""
        kinds = standings.kinds[: standings.rank(stay.target)]
        begun, pause_s = self._clock.monotonic(), LOOK_S
        while True:
            if not kinds:
                await asyncio.Event().wait()
            found = await self._anybody(standings, kinds)
            now = self._clock.monotonic()
            if found is None:
                for health in self._health.values():
                    health.failed()
                pause_s = min(pause_s * 1.5, LOOK_S_MAX if now - begun < FAR_AFTER_S else FAR_LOOK_S)
            else:
                health = self._of(found)
                health.answered(now)
                if health.may_be_taken(now) and await self._is_in_step(found, standings):
                    stay.better = found
                    return
                pause_s = max(LOOK_S, health.hold_s / 4)
            await self._wait(pause_s)

    async def _anybody(self, standings: Standings, kinds: Sequence[Kind]) -> Target | None:
        async with aclosing(self._chain.others(standings, frozenset(), kinds)) as others:
            async for target in others:
                return target
        return None

    async def _is_in_step(self, target: Target, standings: Standings) -> bool:
        """Bring it into step, before the one that works is left."""
        try:
            async with self._chain.way(target, standings, renewal=self._renewal) as way:
                await way.run(self._chain.catch_up(way, self._arrived))
        except (PeerUnreachable, PeerRefused) as error:
            if isinstance(error, PeerRefused) and error.code in OVER_EVERYWHERE:
                raise
            now, health = self._clock.monotonic(), self._of(target)
            health.taken(now)
            health.left(now)
            await self._chain.note(target, error)
            return False
        return True

    async def _with_nobody(self, errors: Sequence[Exception], failures: int) -> None:
        if errors and not any(can_help(error) for error in errors):
            raise worst(errors)
        self._tell("offline", str(worst(errors)))
        await self._chain.with_nobody()
        asked_s = [error.retry_after_s or 0.0 for error in errors if isinstance(error, PeerRefused)]
        await self._pause(failures, min(asked_s) if len(asked_s) == len(errors) and errors else 0.0)

    async def _pause(self, failures: int, least_s: float = 0.0) -> None:
        if failures > 0:
            ceiling_s = min(PAUSE_S_MAX, PAUSE_S * 2.0 ** min(failures - 1, 8))
            await self._wait(max(least_s, ceiling_s * random.random()))  # noqa: S311  nobody is to guess nothing

    async def _wait(self, seconds: float) -> None:
        """Or until the hubs on the LAN are others."""
        browser = self._chain.browser
        if browser is None:
            await self._clock.sleep(seconds)
        else:
            await first_of(self._clock.sleep(seconds), browser.next_change())

    def _look_ahead(self, standings: Standings, target: Target) -> None:
        """There are doubts about this one: know who else there is by the time that it is sure."""
        now = self._clock.monotonic()
        if self._ahead is not None:
            if self._ahead.is_fresh(now):
                return
            self._ahead.close()
        self._ahead = _Ahead(self._chain.others(standings, frozenset({target.url})), now)

    async def _listen(self) -> None:
        """Hear the hubs on the LAN from when the first server was tried: listening takes a moment to begin."""
        await self._tried_somebody.wait()
        if self._hear is None:
            return
        async with self._hear() as browser:
            self._chain.browser = browser
            try:
                await asyncio.Event().wait()
            finally:
                self._chain.browser = None

    def _of(self, target: Target) -> Health:
        return self._health.setdefault(_key(target), Health())


class _Ahead:
    """A search that runs before anybody waits for what it finds."""

    def __init__(self, targets: AsyncGenerator[Target, None], now: float) -> None:
        self._targets = targets
        self._begun = now
        self._queue: asyncio.Queue[Target | None] = asyncio.Queue()
        self._running = asyncio.create_task(self._run(), name="looking ahead")

    def is_fresh(self, now: float) -> bool:
        return now - self._begun < AHEAD_S

    async def found(self) -> AsyncGenerator[Target, None]:
        while (target := await self._queue.get()) is not None:
            yield target

    def close(self) -> None:
        self._running.cancel()

    async def _run(self) -> None:
        try:
            async with aclosing(self._targets) as targets:
                async for target in targets:
                    self._queue.put_nowait(target)
        finally:
            self._queue.put_nowait(None)


def _key(target: Target) -> str:
    return target.server_id or target.url


def _can_wait(refused: PeerRefused) -> bool:
    """What a server can't take now for want of time; one whose disk is full, another may take it from."""
    return refused.status in _WAITED_FOR
