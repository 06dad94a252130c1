"""What is flat and what is not: series as soaks give them, made by hand."""

from __future__ import annotations

import random

from tests.soak.verdicts import MIB, Bound, Point, verdict

HOUR = 3_600
STEP = 5
MEMORY = Bound(per_hour=4 * MIB, per_op=1_000, floor=2 * MIB)


def series(
    *, per_hour: float = 0.0, noise: float = 0.3 * MIB, hours: float = 1.0, ops: int = 0
) -> list[Point]:
    chance = random.Random(1)
    return [
        Point(at, 80 * MIB + per_hour * at / HOUR + chance.gauss(0, noise), round(ops * at / HOUR))
        for at in range(0, round(hours * HOUR), STEP)
    ]


def test_noise_is_flat() -> None:
    """What goes up and down around the same value is flat."""
    assert verdict(series(), [], MEMORY, 300).judged == "flat"


def test_a_slow_leak_is_found() -> None:
    """A few MiB an hour more than is allowed are a leak, and the slope says how many."""
    told = verdict(series(per_hour=8 * MIB), [], MEMORY, 300)
    assert told.judged == "grows"
    assert abs(told.per_hour - 8 * MIB) < MIB


def test_growth_that_is_lawful_is_none() -> None:
    """What comes with ops that are stored, as much as each may take, is taken off."""
    grown = [Point(one.at_s, one.value + 1_000 * one.ops, one.ops) for one in series(ops=20_000)]
    assert verdict(grown, [], MEMORY, 300).judged == "flat"
    assert verdict(grown, [], Bound(per_hour=4 * MIB, floor=2 * MIB), 300).judged == "grows"


def test_a_step_at_a_start_is_no_trend() -> None:
    """A life that begins higher or lower than the one before is judged by what it does itself."""
    stepped = [Point(one.at_s, one.value + (20 * MIB if one.at_s >= 1_800 else 0)) for one in series()]
    assert verdict(stepped, [1_800], MEMORY, 300).judged == "flat"
    assert verdict(stepped, [], MEMORY, 300).judged == "grows"


def test_a_leak_that_each_start_sets_back_is_found() -> None:
    """A process that leaks and is killed now and then leaks all the same."""
    starts = [900.0, 1_800.0, 2_700.0]
    sawtooth = [Point(at, 80 * MIB + 12 * MIB * (at % 900) / HOUR) for at in range(0, HOUR, STEP)]
    told = verdict(sawtooth, starts, MEMORY, 120)
    assert told.judged == "grows"
    assert abs(told.per_hour - 12 * MIB) < MIB


def test_a_warm_up_does_not_count() -> None:
    """What is taken in the first minutes of a life is no leak."""
    warming = [Point(one.at_s, one.value - 30 * MIB * max(0, 1 - one.at_s / 240)) for one in series()]
    assert verdict(warming, [], MEMORY, 300).judged == "flat"
    assert verdict(warming, [], MEMORY, 0).judged == "grows"


def test_a_moment_is_no_trend() -> None:
    """What is taken for a moment and given back is no leak, wherever in the hour it happens to be seen."""
    late = {2_400, 2_900, 3_200, 3_400, 3_500}
    spikes = [Point(one.at_s, one.value + (128 * MIB if one.at_s in late else 0)) for one in series()]
    assert verdict(spikes, [], MEMORY, 300).judged == "flat"


def test_a_short_time_says_nothing() -> None:
    """Two minutes are no verdict on an hour, however steep they are."""
    told = verdict(series(per_hour=100 * MIB, hours=1 / 30), [], MEMORY, 10)
    assert told.judged == "unclear"


def test_a_handle_now_and_then_is_a_trend() -> None:
    """One handle that is not closed every few minutes is found within an hour."""
    handles = [Point(at, 40 + at // 300 + at % 3) for at in range(0, HOUR, STEP)]
    assert verdict(handles, [], Bound(per_hour=4, floor=4), 300).judged == "grows"


def test_a_limit_is_a_limit() -> None:
    """A series that has a greatest value may do what it likes below it, and passes it not even once."""
    saw = [Point(at, at % 600) for at in range(0, HOUR, STEP)]
    assert verdict(saw, [], Bound(most=600), 0).judged == "flat"
    assert verdict([*saw, Point(HOUR, 601)], [], Bound(most=600), 0).judged == "grows"


def test_nothing_seen_is_unclear() -> None:
    """A process of which there are no samples is not called flat."""
    assert verdict([], [], MEMORY, 300).judged == "unclear"
