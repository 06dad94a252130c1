"""Shrinking finds the few items that a failure needs, whatever stands between them."""

from __future__ import annotations

import random

from tests.simulation.shrink import shrink


async def test_only_what_is_needed_is_left() -> None:
    """Of a hundred items the three that fail together are left, in their order."""
    for seed in range(20):
        needed = set(random.Random(seed).sample(range(100), 3))

        async def fails(items: tuple[int, ...], needed: set[int] = needed) -> bool:
            return needed <= set(items)

        assert await shrink(range(100), fails) == tuple(sorted(needed)), seed


async def test_what_fails_by_itself_is_nothing() -> None:
    """A world that fails without any step shrinks to no step."""

    async def fails(items: tuple[int, ...]) -> bool:
        return True

    assert await shrink(range(50), fails) == ()


async def test_it_gives_up_with_what_it_has_seen_fail() -> None:
    """When the tries are used up, the smallest list that was seen to fail is returned, and none was tried twice."""
    tried: list[tuple[int, ...]] = []

    async def fails(items: tuple[int, ...]) -> bool:
        assert items not in tried
        tried.append(items)
        return len(items) >= 40

    left = await shrink(range(100), fails, tries_max=5)
    assert len(tried) == 5
    assert len(left) < 100
    assert left in tried
