"""A failing list made small: leave out what is not needed for the failure (delta debugging, Zeller's ddmin).

It knows nothing of worlds: a predicate says whether what is left fails still. It never returns a list that it has not
seen fail, and gives up after so many tries with the smallest one so far.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from typing import Final, TypeVar

T = TypeVar("T")

TRIES_MAX: Final = 120


class _Enough(Exception):
    """All tries are used up."""


async def shrink(
    items: Sequence[T], fails: Callable[[tuple[T, ...]], Awaitable[bool]], *, tries_max: int = TRIES_MAX
) -> tuple[T, ...]:
    """A part of `items`, in their order, that fails; no single item of it can be left out unless tries ran out."""
    smallest, tries, seen = tuple(items), 0, set[tuple[T, ...]]()

    async def still_fails(candidate: tuple[T, ...]) -> bool:
        nonlocal smallest, tries
        if candidate in seen:
            return False
        if tries >= tries_max:
            raise _Enough
        tries += 1
        seen.add(candidate)
        if not await fails(candidate):
            return False
        smallest = candidate
        return True

    try:
        if items and await still_fails(()):
            return ()
        await _halve(still_fails, lambda: smallest)
    except _Enough:
        pass
    return smallest


async def _halve(
    still_fails: Callable[[tuple[T, ...]], Awaitable[bool]], smallest: Callable[[], tuple[T, ...]]
) -> None:
    parts = 2
    while len(smallest()) >= 2:
        before = smallest()
        for begin, end in _cuts(len(before), parts):
            if await still_fails(before[:begin] + before[end:]):
                parts = max(parts - 1, 2)
                break
        else:
            if parts >= len(before):
                return
            parts = min(2 * parts, len(before))


def _cuts(length: int, parts: int) -> list[tuple[int, int]]:
    """Where each of so many nearly equal parts begins and ends, the last one first: what comes late often matters least."""
    edges = [length * number // parts for number in range(parts + 1)]
    return list(pairwise(edges))[::-1]
