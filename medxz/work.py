"""Where blocking work runs: the executor that stores, hashing and compression are given.

A `Worker` runs plain functions one after another, in the order in which `run` was called. A program gives a
`ThreadWorker`; a simulated world gives the `InlineWorker`, with which nothing depends on a scheduler and two
runs of one seed are the same. It refuses new work once it is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Worker(Protocol):
    """Runs functions one at a time, in order. A function's exception is the awaiter's."""

    async def run(self, fn: Callable[[*Ts], T], *args: *Ts) -> T:
        """What `fn(*args)` returns.

        Cancelling the await does not stop a function that has begun: shield it where its end matters. One
        that has not begun is not run then.
        """
        ...

    def close(self) -> None:
        """Wait until what was handed in has run, then end. Closing twice is nothing."""
        ...


class ThreadWorker:
    """One thread with a name, which debuggers and `top -H` show."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def run(self, fn: Callable[[*Ts], T], *args: *Ts) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, fn, *args)

    def close(self) -> None:
        self._executor.shutdown(wait=True)


class InlineWorker:
    """Runs it at once, where it is called."""

    def __init__(self) -> None:
        self._closed = False

    async def run(self, fn: Callable[[*Ts], T], *args: *Ts) -> T:
        if self._closed:
            raise RuntimeError("this worker is closed")
        return fn(*args)

    def close(self) -> None:
        self._closed = True
