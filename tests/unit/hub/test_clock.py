"""The hub's clock: whose word it takes, where it goes on from, when it has doubts, and what it writes down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from hub.clock import AHEAD_MS_MAX, KEEP_S, LEAP_MS, LEAP_S, RELEASED_MS, HubClock, Lasting
from hub.uplink.peer import TowardsCloud
from medxz.clock import format_time, has_doubts, latest_of
from medxz.errors import StorageFull
from medxz.ids import RandomIds
from medxz.store.files import Identity, LogFile
from medxz.store.registry import SqliteRegistry
from medxz.web import make_log
from medxz.work import InlineWorker
from tests.making import CLINIC, NOON_MS

DAY_MS = 86_400_000
YEAR_MS = 365 * DAY_MS
IN_1970_MS = 12_000


@dataclass
class Box:
    """A machine: its clock of the day, which anybody may set, and the one that only runs."""

    time_ms: int = NOON_MS
    run_s: float = 40.0

    def now_ms(self) -> int:
        return self.time_ms

    def monotonic(self) -> float:
        return self.run_s

    async def sleep(self, seconds: float) -> None:
        self.pass_s(seconds)
        await asyncio.sleep(0)

    def pass_s(self, seconds: float) -> None:
        self.time_ms += int(seconds * 1_000)
        self.run_s += seconds


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[SqliteRegistry]:
    ids = RandomIds()
    LogFile.create(tmp_path / "hub.db", bytes(32), Identity(CLINIC, ids.uuid7(), ids.uuid7(), bytes(32)))
    file = LogFile.open(tmp_path / "hub.db", bytes(32))
    yield SqliteRegistry(file, InlineWorker())
    file.close(clean=True)


async def restarted(registry: SqliteRegistry, box: Box, received_ms: int = 0) -> HubClock:
    box.run_s = 5.0  # another run of the machine
    clock = HubClock(box)
    await clock.begin(registry, received_ms)
    return clock


async def kept_at(registry: SqliteRegistry, time_ms: int) -> None:
    """As a hub leaves it that ran until then."""
    clock = HubClock(Box(time_ms))
    await clock.begin(registry)
    await clock.keep()


def says(clock: HubClock) -> tuple[int, str, bool]:
    standing = clock.standing()
    return standing.now_ms, standing.source, standing.is_trusted


def test_a_plausible_clock_of_the_machine_is_the_hub_s() -> None:
    """Nothing is added to it, and there are no doubts."""
    box = Box()
    clock = HubClock(box)
    box.pass_s(10)
    assert says(clock) == (NOON_MS + 10_000, "machine", True)
    assert (latest_of(clock)(), has_doubts(clock)) == (clock.now_ms(), False)


def test_the_very_first_start_in_1970_is_at_the_release() -> None:
    """Where nothing was ever written down it is at least when the program was made, and may be years later."""
    box = Box(IN_1970_MS)
    clock = HubClock(box)
    box.pass_s(60)
    assert says(clock) == (RELEASED_MS + 60_000, "floor", False)
    assert has_doubts(clock)
    assert "1970-01-01T00:01:12.000Z, behind 2026-09-01T00:01:00.000Z" in clock.standing().detail


def test_the_release_lies_before_now() -> None:
    """Whoever raises the constant does not put a right clock in doubt."""
    import time

    assert time.time() * 1_000 - 3 * YEAR_MS < RELEASED_MS < time.time() * 1_000


async def test_a_new_hub_goes_by_its_machine_however_old_the_release_is(registry: SqliteRegistry) -> None:
    """The first that is written down is no leap."""
    clock = await restarted(registry, Box(NOON_MS + YEAR_MS))
    await clock.keep()
    assert says(await restarted(registry, Box(IN_1970_MS)))[0] == NOON_MS + YEAR_MS


async def test_it_goes_on_from_where_it_stood(registry: SqliteRegistry) -> None:
    """A start in 1970 is no earlier than the last thing that this hub knew of time, however often it starts."""
    await kept_at(registry, NOON_MS)
    clock = await restarted(registry, box := Box(IN_1970_MS))
    box.pass_s(3_600)
    assert says(clock) == (NOON_MS + 3_600_000, "floor", False)
    await clock.keep()
    clock = await restarted(registry, Box(IN_1970_MS))
    assert says(clock) == (NOON_MS + 3_600_000, "floor", False)


async def test_the_last_op_tells_of_the_minutes_that_were_not_written_down(registry: SqliteRegistry) -> None:
    """After a power cut it goes on from when the newest op came; a stamp of another year counts for nothing."""
    await kept_at(registry, NOON_MS)
    clock = await restarted(registry, Box(IN_1970_MS), received_ms=NOON_MS + 240_000)
    assert says(clock)[0] == NOON_MS + 240_000
    clock = await restarted(registry, Box(IN_1970_MS), received_ms=NOON_MS + 3 * YEAR_MS)
    assert says(clock)[0] == NOON_MS


async def test_a_store_of_before_has_its_ops_to_go_by(registry: SqliteRegistry) -> None:
    """Where nothing was written down yet the newest op counts; but not of a year that is out of the question."""
    clock = await restarted(registry, Box(IN_1970_MS), received_ms=NOON_MS)
    assert says(clock)[0] == NOON_MS
    clock = await restarted(registry, Box(IN_1970_MS), received_ms=NOON_MS + 10 * YEAR_MS)
    assert says(clock)[0] == RELEASED_MS


async def test_time_servers_may_set_the_machine_forwards(registry: SqliteRegistry) -> None:
    """What was doubtful is right as soon as the machine's clock is plausible."""
    await kept_at(registry, NOON_MS)
    clock = await restarted(registry, box := Box(IN_1970_MS))
    assert has_doubts(clock)
    box.time_ms = NOON_MS + 5 * DAY_MS
    assert says(clock) == (NOON_MS + 5 * DAY_MS, "machine", True)
    box.time_ms = IN_1970_MS
    assert says(clock) == (NOON_MS, "floor", False)


def test_nobody_sets_it_back_or_out_of_this_world() -> None:
    """A machine that is set back, or ahead by more years than a release lasts, is not followed."""
    box = Box()
    clock = HubClock(box)
    clock.witness(NOON_MS)
    for wrong_ms in (NOON_MS - DAY_MS, NOON_MS + AHEAD_MS_MAX + 1, 2**52):
        box.time_ms = wrong_ms
        assert says(clock) == (NOON_MS, "floor", False)


async def test_a_small_step_back_is_followed_and_never_adds_up(registry: SqliteRegistry) -> None:
    """A time server may correct seconds; one that does so again and again does not walk the clock back."""
    clock = await restarted(registry, box := Box())
    for _ in range(20):
        await clock.keep()
        box.time_ms -= 100_000
        box.pass_s(1)
    assert NOON_MS - 120_000 <= clock.now_ms() <= NOON_MS + 21_000


async def test_the_cloud_sets_it(registry: SqliteRegistry) -> None:
    """However far off the machine's clock is, and in whichever direction, the cloud's word is time from then on."""
    box = Box()
    clock = HubClock(box)
    for box.time_ms in (IN_1970_MS, NOON_MS + YEAR_MS, NOON_MS - 8 * DAY_MS):
        clock = await restarted(registry, box)
        clock.tell(NOON_MS, box.run_s - 1)
        box.pass_s(9)
        assert says(clock) == (NOON_MS + 10_000, "cloud", True)
        assert "let it ask a time server" in clock.standing().detail
    box.time_ms = NOON_MS + 9_500
    assert says(clock) == (NOON_MS + 9_500, "cloud", True), "a machine that is right has the finer clock"


async def test_what_the_cloud_said_outweighs_who_sets_the_machine(registry: SqliteRegistry) -> None:
    """Once the cloud has told the time, a time server on the LAN moves nothing; nor do old or new tokens."""
    clock = await restarted(registry, box := Box())
    clock.tell(NOON_MS, box.run_s)
    for wrong_ms in (NOON_MS + YEAR_MS, NOON_MS + DAY_MS, IN_1970_MS):
        box.time_ms = wrong_ms
        clock.witness(NOON_MS + DAY_MS)
        await clock.keep()
        assert says(clock) == (NOON_MS, "cloud", True)


def test_a_cloud_that_lives_before_the_release_is_not_believed() -> None:
    """Its own clock is wrong."""
    clock = HubClock(Box())
    clock.tell(RELEASED_MS - 1, 0.0)
    assert says(clock) == (NOON_MS, "machine", True)


async def test_the_cloud_brings_a_clock_back_for_good(registry: SqliteRegistry) -> None:
    """Where it stood ahead of time, the next start without the cloud goes on from the cloud's word."""
    await kept_at(registry, NOON_MS + 20 * DAY_MS)
    clock = await restarted(registry, box := Box(NOON_MS + 20 * DAY_MS))
    clock.tell(NOON_MS, box.run_s)
    await clock.keep()
    clock = await restarted(registry, Box(IN_1970_MS), received_ms=NOON_MS + 20 * DAY_MS)
    assert says(clock)[0] == NOON_MS


async def test_a_machine_that_was_wrong_is_not_believed_at_the_next_start(registry: SqliteRegistry) -> None:
    """Until the cloud finds it right again."""
    clock = await restarted(registry, box := Box(NOON_MS + YEAR_MS))
    clock.tell(NOON_MS, box.run_s)
    await clock.keep()
    clock = await restarted(registry, box := Box(NOON_MS + YEAR_MS))
    assert says(clock) == (NOON_MS, "floor", False)
    assert "was wrong when the cloud last told the time" in clock.standing().detail
    box.time_ms = NOON_MS + 5_000
    clock.tell(NOON_MS + 5_000, box.run_s)
    await clock.keep()
    assert says(await restarted(registry, Box(NOON_MS + 6_000))) == (NOON_MS + 6_000, "machine", True)


def test_what_the_cloud_signed_moves_it_forwards() -> None:
    """A token of now shows that a clock is behind; older ones, and one of the far future, show nothing."""
    clock = HubClock(Box(IN_1970_MS))
    clock.witness(NOON_MS)
    clock.witness(NOON_MS - DAY_MS)
    clock.witness(NOON_MS + AHEAD_MS_MAX + 1)
    assert says(clock) == (NOON_MS, "floor", False)
    behind = HubClock(box := Box(NOON_MS - 10 * DAY_MS))
    assert says(behind)[1] == "machine"
    behind.witness(NOON_MS)
    assert says(behind) == (NOON_MS, "floor", False)
    box.time_ms = NOON_MS + 1
    assert says(behind) == (NOON_MS + 1, "machine", True)


async def test_a_leap_that_nobody_confirmed_has_to_last(registry: SqliteRegistry) -> None:
    """A clock that was ahead for an hour, and was then set right, leaves nothing behind; one of a day's work counts."""
    await kept_at(registry, NOON_MS)
    clock = await restarted(registry, box := Box(NOON_MS + LEAP_MS + DAY_MS))
    await clock.keep()
    box.pass_s(3_600)
    await clock.keep()
    clock = await restarted(registry, box := Box(NOON_MS + 4_000_000))
    assert says(clock) == (NOON_MS + 4_000_000, "machine", True)
    box.time_ms = NOON_MS + LEAP_MS + DAY_MS
    await clock.keep()
    box.pass_s(LEAP_S)
    await clock.keep()
    assert says(await restarted(registry, Box(IN_1970_MS)))[0] == NOON_MS + LEAP_MS + DAY_MS + int(
        LEAP_S * 1_000
    )


async def test_what_drops_things_waits_until_a_leap_has_lasted(registry: SqliteRegistry) -> None:
    """It goes with the clock, but for a leap that somebody may mend; and with one that lasts, or that the cloud confirms."""
    await kept_at(registry, NOON_MS)
    lasting = Lasting(clock := await restarted(registry, box := Box(NOON_MS + DAY_MS)))
    await clock.keep()
    assert lasting.now_ms() == clock.now_ms() == NOON_MS + DAY_MS
    box.time_ms += LEAP_MS + DAY_MS
    await clock.keep()
    assert lasting.now_ms() == NOON_MS + DAY_MS < clock.now_ms()
    box.pass_s(LEAP_S)
    await clock.keep()
    assert lasting.now_ms() == clock.now_ms()
    clock.tell(NOON_MS + 900 * DAY_MS, box.run_s)
    assert lasting.now_ms() == NOON_MS + 900 * DAY_MS


async def test_the_cloud_s_certificate_has_ended_only_where_that_is_sure(registry: SqliteRegistry) -> None:
    """A clock in doubt, which may have stood ahead of time, does not keep the hub from the one who can set it right."""
    clock = await restarted(registry, box := Box())
    clock.tell(NOON_MS, box.run_s)
    await clock.keep()
    clock = await restarted(registry, box := Box(NOON_MS + 20 * DAY_MS))
    await clock.keep()
    cloud = TowardsCloud(clock)
    assert cloud.now_ms() == box.time_ms, "without doubts it is judged by now"
    box.time_ms = NOON_MS + DAY_MS
    assert says(clock) == (NOON_MS + 20 * DAY_MS, "floor", False)
    assert (cloud.now_ms(), latest_of(cloud)() > NOON_MS + YEAR_MS) == (NOON_MS, True)
    clock.tell(NOON_MS + DAY_MS, box.run_s)
    assert (cloud.now_ms(), latest_of(cloud)()) == (NOON_MS + DAY_MS, NOON_MS + DAY_MS)


async def test_what_was_written_by_another_version_is_passed_over(registry: SqliteRegistry) -> None:
    """A hub starts all the same."""
    await registry.put_secret("clock", b'{"stood": "yesterday"}')
    assert says(await restarted(registry, Box(IN_1970_MS)))[0] == RELEASED_MS


@asynccontextmanager
async def watched(clock: HubClock, said: BytesIO) -> AsyncIterator[None]:
    async with clock.watched(make_log(said, Box(), "info")):
        yield


async def until(holds: Any) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0)


async def test_the_log_tells_whom_it_trusts_and_who_waits_is_woken(registry: SqliteRegistry) -> None:
    """Once at a doubtful start, and once for each change and each jump, with what is to be done."""
    clock, said = await restarted(registry, box := Box(IN_1970_MS)), BytesIO()
    async with watched(clock, said):
        await until(lambda: b'"floor"' in said.getvalue())
        waiting = asyncio.create_task(clock.turned())
        await asyncio.sleep(0)
        box.time_ms = NOON_MS
        async with asyncio.timeout(10):
            await waiting
        clock.tell(NOON_MS, box.run_s)
        await until(lambda: b'"cloud"' in said.getvalue())
        waiting = asyncio.create_task(clock.turned())
        await asyncio.sleep(0)
        clock.tell(NOON_MS + DAY_MS, box.run_s)
        async with asyncio.timeout(10):
            await waiting
    assert said.getvalue().count(b'"clock"') == 4
    assert b"let it ask a time server" in said.getvalue()


async def test_a_clock_that_nobody_doubts_says_nothing(registry: SqliteRegistry) -> None:
    """A log is not for what is as it should be."""
    clock, said = await restarted(registry, box := Box()), BytesIO()
    async with watched(clock, said):
        await until(lambda: box.run_s > 10 * KEEP_S)
    assert said.getvalue() == b""


class Patient(Box):
    """Waits as long as it was told to."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def test_who_waits_does_not_wait_for_the_next_look(registry: SqliteRegistry) -> None:
    """What the cloud says, and what a token shows, is seen at once."""
    clock, said = await restarted(registry, Patient(IN_1970_MS)), BytesIO()
    async with watched(clock, said):
        await until(lambda: b'"floor"' in said.getvalue())
        clock.tell(NOON_MS, clock.monotonic())
        async with asyncio.timeout(2):
            await until(lambda: b'"cloud"' in said.getvalue())


async def test_it_is_written_down_while_it_runs(registry: SqliteRegistry) -> None:
    """A power cut loses minutes, not the time."""
    clock, begun_s = await restarted(registry, box := Box()), 5.0
    async with watched(clock, BytesIO()):
        await until(lambda: box.run_s > begun_s + 2 * KEEP_S)
    again = await restarted(registry, Box(IN_1970_MS))
    assert format_time(again.now_ms()) >= format_time(NOON_MS + int(KEEP_S * 1_000))


async def test_a_full_disk_does_not_stop_it(
    registry: SqliteRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it stands is written down when there is room again."""

    async def full(*_: object) -> None:
        raise StorageFull("no room")

    clock = await restarted(registry, Box())
    with monkeypatch.context() as patched:
        patched.setattr(registry, "put_secret", full)
        await clock.try_to_keep()
    await clock.try_to_keep()
    assert says(await restarted(registry, Box(IN_1970_MS)))[0] == NOON_MS
