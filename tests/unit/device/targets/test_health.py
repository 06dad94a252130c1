"""When a server that was left is taken again."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from medxz.device.targets.health import HOLD_S, HOLD_S_MAX, KEPT_S, Health


def test_it_has_to_answer_for_a_while() -> None:
    """One answer does not take it back, and a failure begins the time anew."""
    health = Health()
    assert not health.may_be_taken(0)
    health.answered(1)
    assert not health.may_be_taken(1 + HOLD_S - 0.1)
    health.failed()
    health.answered(5)
    health.answered(6)
    assert not health.may_be_taken(5 + HOLD_S - 0.1)
    assert health.may_be_taken(5 + HOLD_S)


def test_who_comes_and_goes_waits_longer() -> None:
    """Each time that it is left soon after it was taken it waits twice as long, up to a bound; who kept begins anew."""
    health, now, holds = Health(), 0.0, []
    for _ in range(10):
        health.taken(now)
        now += 10
        health.left(now)
        holds.append(health.hold_s)
    assert holds[:4] == [HOLD_S * 2, HOLD_S * 4, HOLD_S * 8, HOLD_S * 16]
    assert holds[-1] == HOLD_S_MAX
    health.taken(now)
    health.left(now + KEPT_S)
    assert health.hold_s == HOLD_S


def test_leaving_twice_counts_once() -> None:
    """Who was not with it has not left it."""
    health = Health()
    health.left(1)
    assert health.hold_s == HOLD_S
    health.taken(2)
    health.left(3)
    health.left(4)
    assert health.hold_s == HOLD_S * 2


@given(st.lists(st.tuples(st.booleans(), st.floats(0.1, 20)), max_size=200))
def test_a_bounded_number_of_moves(turns: list[tuple[bool, float]]) -> None:
    """However a server comes and goes, it is taken at most once in each time that it had to answer for."""
    health, now, taken = Health(), 0.0, []
    for answers, passes_s in turns:
        now += passes_s
        if not answers:
            health.left(now)
            health.failed()
        else:
            health.answered(now)
            if health.taken_at is None and health.may_be_taken(now):
                taken.append((now, health.hold_s))
                health.taken(now)
    for (before, _), (after, hold_s) in pairwise(taken):
        assert after - before >= hold_s
