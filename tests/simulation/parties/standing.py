"""What a party stands on: a machine with an address, a clock, a directory, and a power switch.

The simulated one is tests/simulation/machine.py. Nothing here knows more of it than this.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Protocol, TypeVar

from medxz.clock import Clock
from medxz.ids import Ids

T = TypeVar("T")


class Machine(Protocol):
    """One machine. `directory` is where its files lie now: after a crash it is another one than before."""

    @property
    def name(self) -> str: ...
    @property
    def ip(self) -> str: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def ids(self) -> Ids: ...
    @property
    def directory(self) -> Path: ...
    @property
    def alive(self) -> bool: ...

    def spawn(self, coro: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """A task of this machine, which dies with it."""
        ...

    async def call(self, coro: Coroutine[Any, Any, T]) -> T:
        """Run it on the machine and wait for it from outside; an error says that the machine died meanwhile."""
        ...

    def crash(self) -> None:
        """Power off. What was not durable is lost, nobody gets to tidy up."""
        ...

    def boot(self) -> None:
        """Power on, with what is in `directory` now."""
        ...

    def image(self, to: Path) -> Path:
        """What a power cut at this moment would leave of it."""
        ...

    def restore(self, image: Path) -> None:
        """Off, with this in place of what was on it."""
        ...
