"""What a device may send: at once after a rest, in the long run, and how long it waits for more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from medxz.errors import RateLimited
from medxz.service.throttle import Rates, Throttle
from tests.making import HandClock

ONE, OTHER = (cast("Any", SimpleNamespace(owner=("clinic", name))) for name in ("one", "other"))


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def throttle(clock: HandClock) -> Throttle:
    return Throttle(Rates(requests_per_s=4, requests_burst=8, ops_per_s=10, ops_burst=100), clock)


def test_who_sends_too_much_waits_until_there_is_room(clock: HandClock, throttle: Throttle) -> None:
    """As long as it takes to fill up, in whole seconds; nobody else waits for that."""
    throttle.take_ops(ONE, 90)
    with pytest.raises(RateLimited) as refused:
        throttle.take_ops(ONE, 35)
    assert refused.value.retry_after_s == 3
    assert "10 operations a second" in str(refused.value)
    throttle.take_ops(OTHER, 100)
    clock.time_ms += 2_400
    with pytest.raises(RateLimited):
        throttle.take_ops(ONE, 35)
    clock.time_ms += 100
    throttle.take_ops(ONE, 35)


def test_more_than_a_bucket_holds_is_taken_when_it_is_full(clock: HandClock, throttle: Throttle) -> None:
    """Or it would never be."""
    throttle.take_ops(ONE, 250)
    with pytest.raises(RateLimited) as refused:
        throttle.take_ops(ONE, 250)
    assert refused.value.retry_after_s == 25
    clock.time_ms += 25_000
    throttle.take_ops(ONE, 250)


def test_requests_are_counted_apart(clock: HandClock, throttle: Throttle) -> None:
    """A bucket of ops that is empty keeps nobody from asking."""
    throttle.take_ops(ONE, 100)
    for _ in range(8):
        throttle.take_request(ONE)
    with pytest.raises(RateLimited) as refused:
        throttle.take_request(ONE)
    assert refused.value.retry_after_s == 1
    clock.time_ms += 250
    throttle.take_request(ONE)
