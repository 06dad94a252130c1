"""Whether a server still speaks, told within two seconds where a round trip takes less than a tenth of one.

Silence is normal while nothing is awaited. Where something is, the server may be silent for a moment, and a stream from
one ping to the next; after that it is asked whether it lives, on connections of their own, and whatever comes from it
meanwhile counts as well. Only who says nothing to all of that is gone. Every limit follows the length of the round trips
and how late pings have come: on a slow link, or one that loses much, patience grows with it.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, NoReturn

from medxz.clock import Clock
from medxz.errors import PeerRefused, PeerUnreachable

PING_S: Final = 1.0
"""How often a hub's stream is asked to say that it lives."""
QUIET_S: Final = 0.6
"""How long an answer may take before there are doubts."""
LATE_S: Final = 0.1
"""How late a ping may come."""
LATE_S_MAX: Final = 1.0
"""Later than that it is no longer the way that is slow."""
ANSWER_S: Final = 0.5
"""How long a server about which there are doubts has to answer; five round trips, where that is longer."""
FIRST_ANSWER_S: Final = 1.2
"""The same while nothing is known of the way there."""
ROUND_TRIPS: Final = 5
KNOCKS: Final = 3
SAMPLES: Final = 7
# by so much does the memory of a late ping fade with each that comes
FADING: Final = 0.9
# who slept longer than he meant to was busy, or suspended: then silence says nothing
OVERSLEPT_S: Final = 0.3

assert PING_S + LATE_S + ANSWER_S < 2 > QUIET_S + FIRST_ANSWER_S


class Gone(PeerUnreachable):
    """A server that says nothing any more, not even when it is asked."""


class Pulse:
    """`medxz.peer.Ear` of one way to one server. `knock` asks once whether it lives; its argument: on a new connection.

    `doubts` is called when it begins to look as if nobody were there, so that another can be looked for meanwhile.
    """

    def __init__(
        self,
        clock: Clock,
        knock: Callable[[bool], Awaitable[None]],
        *,
        name: str,
        ping_s: float | None = PING_S,
        doubts: Callable[[], None] = lambda: None,
        rtt_s: float | None = None,
    ) -> None:
        self.ping_s = ping_s
        self._clock = clock
        self._knock = knock
        self._name = name
        self._doubts = doubts
        self._awaited: Counter[float] = Counter()
        self._changed = asyncio.Event()
        self._heard_at = clock.monotonic()
        self._samples: deque[float] = deque([] if rtt_s is None else [rtt_s], maxlen=SAMPLES)
        self._late_s = 0.0

    @property
    def rtt_s(self) -> float | None:
        """About one round trip: an answer that took long for once does not count."""
        return sorted(self._samples)[len(self._samples) // 2] if self._samples else None

    # ------------------------------------------------------------------------------------ what a peer tells

    def awaits(self, silent_s: float) -> None:
        if not self._awaited or silent_s < min(self._awaited):
            self._heard_at = self._clock.monotonic()
            self._changed.set()
        self._awaited[silent_s] += 1

    def no_longer(self, silent_s: float) -> None:
        self._awaited[silent_s] -= 1
        self._awaited += Counter()  # what is nothing goes

    def heard(self) -> None:
        now = self._clock.monotonic()
        if self._awaited and (usual_s := min(self._awaited)):
            late_s = now - self._heard_at - usual_s
            self._late_s = min(LATE_S_MAX, max(self._late_s * FADING, late_s))
        self._heard_at = now

    def round_trip(self, seconds: float) -> None:
        self._samples.append(seconds)

    # --------------------------------------------------------------------------------------- who listens

    async def watch(self) -> NoReturn:
        """Listen, until the server is gone: PeerUnreachable."""
        while True:
            await self._silence()
            self._doubts()
            if not await self._lives():
                raise Gone(f"{self._name} does not answer any more")
            self._heard_at = self._clock.monotonic()

    async def _silence(self) -> None:
        """Return when it has been silent for longer than it may."""
        while True:
            self._changed.clear()
            if not self._awaited:
                await self._changed.wait()
                continue
            left_s = self._heard_at + self._may_be_silent_s() - self._clock.monotonic()
            if left_s <= 0:
                return
            due = self._clock.monotonic() + left_s
            if await self._slept(left_s) and self._clock.monotonic() - due > OVERSLEPT_S:
                self._heard_at = self._clock.monotonic()

    async def _slept(self, seconds: float) -> bool:
        """False: less is awaited with patience now, look again."""
        sleeping = asyncio.ensure_future(self._clock.sleep(seconds))
        changing = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait({sleeping, changing}, return_when=asyncio.FIRST_COMPLETED)
            return sleeping.done()
        finally:
            sleeping.cancel()
            changing.cancel()
            await asyncio.gather(sleeping, changing, return_exceptions=True)

    def _may_be_silent_s(self) -> float:
        usual_s, rtt_s = min(self._awaited), self.rtt_s or 0.0
        if usual_s == 0:
            return max(QUIET_S, 2 * rtt_s)
        return usual_s + max(LATE_S, rtt_s, 2 * self._late_s)

    async def _lives(self) -> bool:
        """Ask, and ask again: an answer to any of it will do, and so will anything that comes by itself."""
        patience_s = max(
            FIRST_ANSWER_S if self.rtt_s is None else ANSWER_S,
            ROUND_TRIPS * (self.rtt_s or 0.0),
            2 * self._late_s,
        )
        silent_since, begun = self._heard_at, self._clock.monotonic()
        asking: set[asyncio.Future[None]] = set()
        try:
            for number in range(KNOCKS):
                asking.add(asyncio.ensure_future(self._asked(is_new=number > 0)))
                left_s = begun + patience_s * (number + 1) / KNOCKS - self._clock.monotonic()
                waiting = asyncio.ensure_future(self._clock.sleep(max(0.0, left_s)))
                asking.add(waiting)
                while not waiting.done():
                    done, asking = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
                    if self._heard_at != silent_since or any(
                        one is not waiting and one.exception() is None for one in done
                    ):
                        return True
        finally:
            for one in asking:
                one.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        return self._heard_at != silent_since

    async def _asked(self, *, is_new: bool) -> None:
        with suppress(PeerRefused):  # who refuses lives
            await self._knock(is_new)
