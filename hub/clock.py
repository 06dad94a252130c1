"""The hub's clock: the machine's as far as that can be right, and one of its own where it can't.

A box without a battery boots in 1970, a battery that runs dry wakes in any year, and on a LAN anybody may play time
server. So the hub keeps in its store where its clock stood, and goes on from there rather than back. Its word is
taken by who can prove it: the cloud, over TLS that was verified, sets it, forwards and back; a token that the cloud's
key signed moves it forwards. Nobody else does, and nothing sets it before this program was made.

While neither the cloud has told the time since the start nor the machine's clock is plausible, it has doubts
(`medxz.clock.Doubting`): now may be years later than it says. Decision 66 says what follows, and what is left to an
attacker.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError
from structlog.typing import FilteringBoundLogger

from hub.uplink.patience import CutShort
from medxz.clock import Clock, format_time, parse_time
from medxz.errors import MedxzError
from medxz.store.registry import SqliteRegistry
from medxz.wire import Check

# no clock is right that stands before this; raised with each release
RELEASED_MS: Final = parse_time("2026-09-01T00:00:00.000Z")
# a clock that is no further off than this is right
OFF_MS: Final = 120_000
# a machine's clock that is further ahead of what is known is not believed
AHEAD_MS_MAX: Final = 5 * 365 * 86_400_000
# a machine's clock that went ahead by more than this is written down only once it has stood there for so long
LEAP_MS: Final = 31 * 86_400_000
LEAP_S: Final = 6 * 3_600.0
LOOK_S: Final = 10.0
KEEP_S: Final = 300.0

_SECRET: Final = "clock"  # noqa: S105  the name of what is kept, no secret

Source = Literal["cloud", "machine", "floor"]


class Kept(BaseModel):
    """Where this clock stood, the newest moment that was proved, and how the machine's clock was then.

    `machine_is_off`: it was wrong when the cloud last told the time.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    stood_ms: int
    proven_ms: int
    machine_is_off: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """What this clock says, by whom, and what the machine's says."""

    now_ms: int
    source: Source
    machine_ms: int
    floor_ms: int
    machine_is_off: bool

    @property
    def is_trusted(self) -> bool:
        return self.source != "floor"

    @property
    def detail(self) -> str:
        """In words that say what to do."""
        machine, now = format_time(self.machine_ms), format_time(self.now_ms)
        match self.source:
            case "cloud" if self.machine_ms == self.now_ms:
                return f"{now}, as the cloud says"
            case "cloud":
                return f"{now} by the cloud; this machine's clock says {machine}: let it ask a time server"
            case "machine":
                return f"{now} by this machine's clock"
        why = "too far ahead of" if self.machine_ms > self.floor_ms else "behind"
        if self.machine_is_off:
            why = "and was wrong when the cloud last told the time; the hub goes on from"
        return (
            f"not to be trusted: this machine's clock says {machine}, {why} {now};"
            " set it, let it ask a time server, or connect the cloud"
        )

    def told(self) -> dict[str, bool | str]:
        """As `medxz-hub status --json` says it. `by`: `cloud`, `machine`, or `floor`, which is doubtful."""
        return {
            "trusted": self.is_trusted,
            "by": self.source,
            "now": format_time(self.now_ms),
            "machine": format_time(self.machine_ms),
        }


class _Anchor(NamedTuple):
    """A moment, and what the machine's monotonic clock said then."""

    ms: int
    at_s: float

    def now_ms(self, monotonic_s: float) -> int:
        return self.ms + max(0, int((monotonic_s - self.at_s) * 1_000))


class HubClock:
    """A `Clock` over the machine's. `begin` it by the store; have it `watched` while the hub runs."""

    def __init__(self, machine: Clock) -> None:
        self._machine: Final = machine
        self._stood = _Anchor(RELEASED_MS, machine.monotonic())  # one tuple: the writer's thread reads it too
        self._proven_ms = RELEASED_MS
        self._is_told = False
        self._machine_is_off = False
        self._leapt_at_s: float | None = None
        self._registry: SqliteRegistry | None = None
        self._kept: Kept | None = None
        self._waits: Final = CutShort(machine)
        self._turned = asyncio.Event()

    # ------------------------------------------------------------------------------------- what time it is

    def now_ms(self) -> int:
        return self.standing().now_ms

    def monotonic(self) -> float:
        return self._machine.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self._machine.sleep(seconds)

    def latest_ms(self) -> int:
        """The latest that now can be."""
        standing = self.standing()
        return standing.now_ms if standing.is_trusted else standing.now_ms + AHEAD_MS_MAX

    async def check(self) -> Check:
        """For /health."""
        standing = self.standing()
        return Check(name="clock", ok=standing.is_trusted, detail=standing.detail)

    def standing(self) -> Standing:
        machine_ms = self._machine.now_ms()
        floor_ms = self._stood.now_ms(self._machine.monotonic())
        is_near = abs(machine_ms - floor_ms) <= OFF_MS
        is_plausible = is_near or floor_ms < machine_ms <= floor_ms + AHEAD_MS_MAX
        source: Source = "floor"
        if self._is_told:
            source = "cloud"
        elif is_plausible and not self._machine_is_off:
            source = "machine"
        goes_by_machine = source == "machine" or (source == "cloud" and is_near)
        now_ms = machine_ms if goes_by_machine else floor_ms
        return Standing(now_ms, source, machine_ms, floor_ms, self._machine_is_off)

    @property
    def is_told(self) -> bool:
        """Whether the cloud has told the time since the start."""
        return self._is_told

    @property
    def proven_ms(self) -> int:
        """The newest moment that somebody else has proved: now is later, whatever this clock said before."""
        return self._proven_ms

    # ------------------------------------------------------------------------------------- who may set it

    def tell(self, cloud_ms: int, at_s: float) -> None:
        """The cloud's time at a moment of `monotonic`: to be called with what came over TLS that was verified."""
        if cloud_ms < RELEASED_MS:  # its own clock is wrong
            return
        self._stood, self._proven_ms, self._is_told = _Anchor(cloud_ms, at_s), cloud_ms, True
        self._leapt_at_s = None
        self._machine_is_off = abs(self._machine.now_ms() - self._stood.now_ms(self.monotonic())) > OFF_MS
        self._waits.hurry()

    def witness(self, signed_ms: int) -> None:
        """A moment at which somebody whose clock is right signed something: now is later.

        It counts for nothing once the cloud itself has told the time, nor where it lies too far ahead to be right.
        """
        floor_ms = self._stood.now_ms(self.monotonic())
        if self._is_told or signed_ms > floor_ms + AHEAD_MS_MAX:
            return
        self._proven_ms = max(self._proven_ms, signed_ms)
        if signed_ms > floor_ms:
            self._stood = _Anchor(signed_ms, self.monotonic())
            self._waits.hurry()

    # ------------------------------------------------------------------------------------- what is kept

    async def begin(self, registry: SqliteRegistry, received_ms: int = 0) -> None:
        """Go on from where it stood, by this store from now on.

        `received_ms`: when the newest op came. It counts where it came soon after this was last written down, and not
        for more: it was stamped by this clock too.
        """
        self._registry = registry
        text = await registry.get_secret(_SECRET)
        try:
            kept = Kept.model_validate_json(text) if text is not None else None
        except ValidationError:  # of another version
            kept = None
        floor_ms = max(RELEASED_MS, kept.stood_ms if kept is not None else 0)
        gap_ms = int(2 * KEEP_S * 1_000) if kept is not None else AHEAD_MS_MAX
        if floor_ms < received_ms <= floor_ms + gap_ms:
            floor_ms = received_ms
        self._kept = kept
        self._stood = _Anchor(floor_ms, self.monotonic())
        if kept is not None:
            self._proven_ms, self._machine_is_off = max(RELEASED_MS, kept.proven_ms), kept.machine_is_off

    async def keep(self) -> None:
        """Write down where it stands. A leap of the machine's clock that nobody confirmed has to last first."""
        standing, at_s = self.standing(), self.monotonic()
        if standing.source == "machine" and self._may_stand_at(standing, at_s):
            self._stood = _Anchor(max(standing.now_ms, standing.floor_ms), at_s)
        kept = Kept(
            stood_ms=self._stood.now_ms(at_s), proven_ms=self._proven_ms, machine_is_off=self._machine_is_off
        )
        if self._registry is not None and kept != self._kept:
            await self._registry.put_secret(_SECRET, kept.model_dump_json().encode())
            self._kept = kept

    def _may_stand_at(self, standing: Standing, at_s: float) -> bool:
        # of a hub that begins nothing is known but when its program was made
        if self._kept is None or standing.now_ms - standing.floor_ms <= LEAP_MS:
            self._leapt_at_s = None
            return True
        if self._leapt_at_s is None:
            self._leapt_at_s = at_s
        return at_s - self._leapt_at_s >= LEAP_S

    @asynccontextmanager
    async def watched(self, say: FilteringBoundLogger) -> AsyncIterator[None]:
        """While the hub runs: the log is told who is trusted, who waits for that is woken, and it is written down."""
        watching = asyncio.create_task(self._watch(say), name="clock")
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.wait([watching])

    async def _watch(self, say: FilteringBoundLogger) -> None:
        before, since_s = self.standing(), self.monotonic()
        if not before.is_trusted:  # else there is nothing to tell
            _say(before, say)
        keep_at_s = since_s  # the first time soon, and off the way to being ready
        while True:
            await self._waits.sleep(LOOK_S)
            standing, at_s = self.standing(), self.monotonic()
            jump_ms = standing.now_ms - before.now_ms - int((at_s - since_s) * 1_000)
            is_new = standing.source != before.source or abs(jump_ms) > OFF_MS
            before, since_s = standing, at_s
            if is_new:
                _say(standing, say)
                self._turn()
            if is_new or at_s >= keep_at_s:
                keep_at_s = at_s + KEEP_S
                await self.try_to_keep()

    async def try_to_keep(self) -> None:
        """The same where that may fail: on a full disk there will be room again, or nothing to go by but the rest."""
        try:
            await self.keep()
        except MedxzError:
            return

    def _turn(self) -> None:
        self._turned.set()
        self._turned = asyncio.Event()

    async def turned(self) -> None:
        """Wait until another is trusted than before, or until it jumps."""
        await self._turned.wait()


@dataclass(frozen=True, slots=True)
class Lasting:
    """The hub's clock without a leap that has not lasted yet, for what drops things: a year that is mended must not have
    cost what can't be had back.
    """

    clock: HubClock

    def now_ms(self) -> int:
        standing = self.clock.standing()
        return min(standing.now_ms, standing.floor_ms)

    def monotonic(self) -> float:
        return self.clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self.clock.sleep(seconds)


def _say(standing: Standing, say: FilteringBoundLogger) -> None:
    tell = say.info if standing.is_trusted else say.warning
    tell("clock", trusted=standing.is_trusted, by=standing.source, detail=standing.detail)
