"""Waiting for whichever comes first."""

import asyncio

import pytest

from medxz.waiting import first_of


async def never(ended: asyncio.Event) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        ended.set()


async def test_the_first_is_told_and_the_others_are_cancelled() -> None:
    """The place of the one that came first is told; nothing of the others goes on."""
    ended = asyncio.Event()
    assert await first_of(never(ended), asyncio.sleep(0)) == 1
    assert ended.is_set()


async def test_none_in_time() -> None:
    """When the time is over there was none, and nothing goes on."""
    ended = asyncio.Event()
    assert await first_of(never(ended), timeout_s=0.01) is None
    assert ended.is_set()


async def test_an_error_is_raised() -> None:
    """What the first one raises is raised to who waits."""

    async def break_down() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await first_of(break_down(), never(asyncio.Event()))
