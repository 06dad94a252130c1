"""The plan of what is broken: the same again from its seed, every kind in a short run, nothing broken twice at once."""

from __future__ import annotations

from itertools import combinations

from tests.soak.faults import plan
from tests.soak.pace import Pace

HOUR = Pace(3_600)


def test_a_seed_is_a_plan() -> None:
    """The same seed breaks the same things at the same moments, another one others."""
    assert plan(7, HOUR) == plan(7, HOUR)
    assert plan(7, HOUR) != plan(8, HOUR)


def test_a_short_run_meets_every_kind() -> None:
    """Ten minutes are enough for each kind of fault once, for most seeds."""
    met = [{fault.kind for fault in plan(seed, Pace(600))} for seed in range(20)]
    assert sum(len(kinds) == 7 for kinds in met) >= 15, met


def test_nothing_is_broken_twice_at_once() -> None:
    """A server that is killed is not stopped before it is back, and a link that is cut is not slow as well."""
    for seed in range(20):
        for one, other in combinations(plan(seed, HOUR), 2):
            assert one.target != other.target or one.until_s <= other.at_s or other.until_s <= one.at_s


def test_all_is_whole_when_the_work_ends() -> None:
    """No fault outlasts the run, and none is a large part of it."""
    for run in (Pace(60), HOUR):
        for fault in plan(3, run):
            assert fault.until_s <= run.run_s
            assert fault.lasts_s <= run.run_s / 8
