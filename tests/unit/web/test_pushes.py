"""Pushes that are under way, and a moment without."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from medxz import limits
from medxz.errors import Overloaded
from medxz.web.pushes import Pushes
from tests.making import HandClock


def test_a_moment_without() -> None:
    """None is had while one is under way, nor shortly after; then new ones are put off until it is over."""
    clock = HandClock()
    pushes = Pushes(clock.monotonic)
    with pushes.one():
        assert not pushes.hold(60, 0)
    assert not pushes.hold(60, 10)
    clock.time_ms += 10_000
    assert pushes.hold(60, 10)
    with pytest.raises(Overloaded) as refused, pushes.one():
        pass
    assert refused.value.retry_after_s == 60
    clock.time_ms += 60_000
    with pushes.one():
        assert pushes.under_way == 1


def test_it_does_not_last() -> None:
    """Whoever held it and went away holds nobody for long; and it can be given up."""
    clock = HandClock()
    pushes = Pushes(clock.monotonic)
    assert pushes.hold(1e9, 0)
    clock.time_ms += limits.PUSHES_HELD_S_MAX * 1_000
    with pushes.one():
        pass
    assert pushes.hold(60, 0)
    pushes.let_go()
    with pushes.one():
        pass


async def test_a_body_that_is_on_its_way_counts(face) -> None:
    """From its first byte a push is under way, however long its body takes to come."""
    pushes = face.app._routes._exact["/v1/sync/push"]["POST"].handler.__self__._pushes
    more = asyncio.Event()

    async def body():
        yield b'{"ops":'
        await more.wait()
        yield b"[]}"

    pushing = asyncio.create_task(face.client.post("/v1/sync/push", content=body()))
    async with asyncio.timeout(10):
        while not pushes.under_way:
            await asyncio.sleep(0.005)
    assert not pushes.hold(60, 0)
    more.set()
    assert (await pushing).status_code == 200
    assert pushes.hold(60, 0)
    put_off: httpx.Response = await face.client.post("/v1/sync/push", json={"ops": []})
    assert (put_off.status_code, put_off.headers["Retry-After"]) == (503, "60")
