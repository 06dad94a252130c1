"""The hub's connection to its cloud, for as long as the hub runs: up what came, down what came elsewhere, at once.

Whatever the cloud does or fails to do, devices are served: it has no part of their requests. Nothing ends it but the
hub's stop. What it can't mend by trying again, such as a hub that was revoked, it tells and tries later all the same.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Final, NoReturn

from structlog.typing import FilteringBoundLogger

from hub.lent import Lent
from hub.uplink.breaker import Breaker
from hub.uplink.mirror import Mirror
from hub.uplink.patience import CutShort
from hub.uplink.side import CloudSide
from hub.uplink.tokens import HubTokens
from medxz.clock import Clock, format_time
from medxz.errors import MedxzError, PeerRefused
from medxz.replicate import STREAM_ENDED, Remote, Replicator, Standing
from medxz.service import Link
from medxz.store.sqlite import SqliteLog
from medxz.waiting import first_of
from medxz.web.log import told

KEEP_EVERY_S: Final = 0.5
# what follows an op this closely goes up with it
GATHER_S: Final = 0.005
# within which what came from another hub of the site has come down from the cloud too, where that hub can reach it
LENT_S: Final = 2.0
PAUSE_S: Final = 5.0
PAUSE_S_MAX: Final = 300.0
ERROR_CHARS_MAX: Final = 300


@dataclass(frozen=True, slots=True)
class Ways:
    """What the connection is made of."""

    remote: Remote
    tokens: HubTokens
    mirror: Mirror
    breaker: Breaker
    clock: CutShort
    lent: Lent = field(default_factory=Lent)


class Uplink:
    """One hub's. `run` it beside the serving; `link` tells how it is."""

    def __init__(
        self,
        log: SqliteLog,
        side: CloudSide,
        ways: Ways,
        say: FilteringBoundLogger,
        random_unit: Callable[[], float] = random.random,
    ) -> None:
        self._log: Final = log
        self._side: Final = side
        self._ways: Final = ways
        self._clock: Final[Clock] = ways.clock
        self._say: Final = say
        self._random_unit: Final = random_unit
        self._wake: Final = asyncio.Event()
        self._link = Link()
        self._failures = 0
        self.in_step: Final = asyncio.Event()  # once the cloud was read to its end
        self._following: Final = asyncio.Lock()
        self._interrupted: Final = asyncio.Event()

    def link(self) -> Link:
        return replace(self._link, backlog=self._side.backlog)

    async def run(self) -> None:
        """Until it is cancelled; what is known by then is written down."""
        with suppress(MedxzError):  # a damaged log is told by those who serve it
            await self._side.load()
        works = (self._follow, self._watch, self._keep, self._mirror)
        tasks = [
            asyncio.create_task(self._for_ever(work), name=f"uplink-{work.__name__.strip('_')}")
            for work in works
        ]
        try:
            await asyncio.wait(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with suppress(MedxzError):
                await self._side.keep()

    def met(self) -> None:
        """The cloud has just answered."""
        self._failures = 0
        self._ways.breaker.succeeded()
        if not self._link.is_online:
            self._say.info("uplink online")
        self._link = Link(is_online=True, last_ok_at=format_time(self._clock.now_ms()))

    def _lost(self, why: str) -> None:
        self._ways.breaker.failed()
        self._ways.mirror.doubt()
        if self._link.is_online or self._link.last_error is None:
            self._say.info("uplink offline", why=why[:ERROR_CHARS_MAX])
        self._link = replace(self._link, is_online=False, last_error=why[:ERROR_CHARS_MAX])

    def _tell(self, standing: Standing, why: str) -> None:
        if standing == "live":
            self.in_step.set()
            self.met()
        elif why == STREAM_ENDED:  # whether it is gone, the next request tells
            self._ways.mirror.doubt()
        else:
            self._lost(why)

    async def _for_ever(self, work: Callable[[], Awaitable[None]]) -> NoReturn:
        """What ends it is told, and it begins again."""
        while True:
            try:
                await work()
            except MedxzError as error:
                self._lost(str(error))
                if isinstance(error, PeerRefused) and error.status in {401, 403}:
                    self._ways.tokens.forget()
            except Exception as error:  # noqa: BLE001  the root of a task: the hub goes on, the log has the rest
                self._lost(f"a mistake of ours: {type(error).__name__}")
                self._say.error("uplink broke", **told(error))
            self._failures += 1
            await self._clock.sleep(self._pause_s())

    def _pause_s(self) -> float:
        return min(PAUSE_S_MAX, PAUSE_S * 2.0 ** min(self._failures - 1, 10)) * self._random_unit()

    @asynccontextmanager
    async def aside(self) -> AsyncIterator[None]:
        """While a courier brings the log into step: nothing is asked of the cloud, and then it goes on from there."""
        self._interrupted.set()
        async with self._following:
            self._interrupted.clear()
            await self._side.keep()
            try:
                yield
            finally:
                await self._side.begin_anew()
                self._ways.mirror.doubt()
        self._ways.clock.hurry()

    async def _follow(self) -> None:
        """Until a courier interrupts it."""
        async with self._following:
            await first_of(self._replicate(), self._interrupted.wait())

    async def _replicate(self) -> None:
        await Replicator(
            self._side,
            self._ways.remote,
            clock=self._clock,
            random_unit=self._random_unit,
            progress=lambda _: self.met(),
            tell=self._tell,
            revised=self._ways.mirror.heard,
        ).follow(self._wake)

    async def _watch(self) -> None:
        """Wake what goes up when something was stored here; what comes in bursts goes up together."""
        seen, lent = 0, 0
        while True:
            await self._log.wait_beyond(seen)
            await self._leave_to_neighbours(seen, lent)
            seen, lent = self._log.last_seq, self._ways.lent.ops
            self._wake.set()
            await self._clock.sleep(GATHER_S)

    async def _leave_to_neighbours(self, seen: int, lent: int) -> None:
        """Until more came than other hubs of the site have lent, or what they lent has had its time to go up there."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LENT_S):
                while seen < (length := self._log.last_seq) <= seen + self._ways.lent.ops - lent:
                    await self._log.wait_beyond(length)

    async def _keep(self) -> None:
        while True:
            await self._side.changed.wait()
            await self._side.keep()
            await self._clock.sleep(KEEP_EVERY_S)

    async def _mirror(self) -> None:
        while True:
            await self._ways.mirror.wanted.wait()
            try:
                await self._ways.mirror.refresh()
            except MedxzError:
                self._ways.mirror.wanted.set()
                raise
