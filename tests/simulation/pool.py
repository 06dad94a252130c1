"""Processes that run worlds one after another, and an end for a world that hangs.

Each process is started with PYTHONHASHSEED=0, is given one world at a time, and is replaced after so many: what a world
leaves behind in memory does not add up. A hung one prints where it stands before it is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from tests.simulation.outcome import Asked, Failure, Outcome

HANG_S: Final = 300.0
WORLDS_PER_PROCESS: Final = 10
LINE_BYTES_MAX: Final = 64 * 1_048_576

_answer = msgspec.json.Decoder(Outcome).decode


class _Process:
    """One process, started when it is first needed."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._worlds = 0

    async def run(self, asked: Asked) -> Outcome:
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.simulation.worker",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=LINE_BYTES_MAX,
                env={**os.environ, "PYTHONHASHSEED": "0"},
            )  # fmt: skip
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(msgspec.json.encode(asked) + b"\n")
        try:
            line = await asyncio.wait_for(stdout.readline(), HANG_S)
        except TimeoutError:
            await self.end()
            return _failed(asked, "hang", f"it had not ended after {HANG_S:.0f} s; its stacks stand above")
        if not line:
            code = await self._process.wait()
            self._process = None
            return _failed(asked, "harness", f"its process ended with {code}")
        self._worlds += 1
        if self._worlds >= WORLDS_PER_PROCESS:
            await self.end()
        return _answer(line)

    async def end(self) -> None:
        process, self._process, self._worlds = self._process, None, 0
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


class Pool:
    """So many processes. Made by `open_pool`."""

    def __init__(self, jobs: int) -> None:
        self._idle: asyncio.LifoQueue[_Process] = asyncio.LifoQueue()
        for _ in range(jobs):
            self._idle.put_nowait(_Process())

    async def run(self, asked: Asked) -> Outcome:
        """Run one world as soon as a process is free for it."""
        process = await self._idle.get()
        try:
            return await process.run(asked)
        except asyncio.CancelledError:
            await process.end()  # what it would answer is nobody's answer
            raise
        finally:
            self._idle.put_nowait(process)

    async def close(self) -> None:
        while not self._idle.empty():
            await self._idle.get_nowait().end()


@asynccontextmanager
async def open_pool(jobs: int) -> AsyncIterator[Pool]:
    """Processes for the worlds of one run; none is left behind."""
    pool = Pool(jobs)
    try:
        yield pool
    finally:
        await pool.close()


def _failed(asked: Asked, checker: str, what: str) -> Outcome:
    return Outcome(
        seed=asked.seed, failure=Failure(checker, what), fingerprint="", steps=asked.keep or (), told=(), done={}, felt={},
        ops=0, virtual_s=0, cpu_s=0,
    )  # fmt: skip
