"""Waiting until something is so, or until somebody says that another look is worth it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine


class Waiting:
    """Those who wait on one log."""

    def __init__(self) -> None:
        self._woken = asyncio.Event()

    def until(self, is_so: Callable[[], bool]) -> Coroutine[object, object, None]:
        """Return once it is so, or when woken: what wakes it after this call counts, whenever it is awaited."""
        return self._until(is_so, self._woken)

    async def _until(self, is_so: Callable[[], bool], woken: asyncio.Event) -> None:
        if not is_so():
            await woken.wait()

    def wake(self) -> None:
        """Let everybody look again."""
        self._woken.set()
        self._woken = asyncio.Event()
