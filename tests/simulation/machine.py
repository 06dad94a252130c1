"""A machine of a simulated world: an address, a clock, a disk, and a plug that can be pulled.

A crash is the end of an incarnation: nothing of it runs any more, its connections die, and what its disk kept is found
in a new directory, which the next boot begins with. Refused: running anything on a machine that is off.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from pathlib import Path
from random import Random
from typing import Any, Protocol, TypeVar

from medxz.ids import SeededIds
from tests.simulation.clocks import SimClock
from tests.simulation.incarnation import INCARNATION, Incarnation
from tests.simulation.loop import SimLoop

T = TypeVar("T")


class MachineDied(Exception):
    """It crashed, or was off, while something was asked of it."""


class Disk(Protocol):
    """What lies below a machine's directory."""

    def survive(self, random: Random, to: Path, /) -> None:
        """Write what a power cut would leave of the directory to another one."""
        ...

    def seal(self) -> None:
        """Nothing is written any more."""
        ...

    def forget(self) -> None:
        """Nobody will ask for it again."""
        ...


class PlainDisk:
    """A disk that loses nothing."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def survive(self, random: Random, to: Path, /) -> None:
        shutil.copytree(self._directory, to, ignore=_sockets)

    def seal(self) -> None:
        """Who would write does not run."""

    def forget(self) -> None:
        """There is nothing to forget."""


class Machine:
    """`watch` makes the disk of a directory; `root` is where this machine's directories are made."""

    def __init__(
        self,
        loop: SimLoop,
        name: str,
        ip: str,
        root: Path,
        *,
        seed: object = 0,
        watch: Callable[[Path], Disk] = PlainDisk,
    ) -> None:
        self.name = name
        self.ip = ip
        self.clock = SimClock(loop.time)
        self._random = Random(f"{seed} {name}")
        self.ids = SeededIds(self.clock, self._random.getrandbits(64))
        self._loop = loop
        self._root = root
        self._watch = watch
        self._incarnation = Incarnation(name, ip, 0)
        self._incarnation.alive = False
        self._directories = 0
        self._calls: list[asyncio.Future[None]] = []
        self.directory = self._new_directory()
        self.directory.mkdir(parents=True)
        loop.network.add(name, ip)
        self.boot()

    @property
    def alive(self) -> bool:
        return self._incarnation.alive

    @property
    def incarnation(self) -> int:
        """How often it was booted."""
        return self._incarnation.number

    @property
    def context(self) -> Context:
        """The machine's, now, for whatever is to run on it."""
        if not self.alive:
            raise MachineDied(f"{self.name} is off")
        context = copy_context()
        context.run(INCARNATION.set, self._incarnation)
        return context

    def spawn(self, coro: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """A task of this machine, which dies with it."""
        try:
            return self._loop.create_task(coro, name=name, context=self.context)
        except MachineDied:
            coro.close()
            raise

    async def call(self, coro: Coroutine[Any, Any, T]) -> T:
        """Run it on the machine and wait for it from outside. MachineDied when the machine crashes meanwhile."""
        task = self.spawn(coro, f"call {getattr(coro, '__qualname__', '')}")
        died: asyncio.Future[None] = self._loop.create_future()
        self._calls.append(died)
        watched: list[asyncio.Future[Any]] = [task, died]
        try:
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            if died in self._calls:
                self._calls.remove(died)
        if not task.done():
            raise MachineDied(f"{self.name} crashed")
        return task.result()

    def crash(self, *, silent: bool | None = None) -> None:
        """Pull the plug. `silent`: nobody is told; else its peers meet resets. None: it may be either."""
        if not self.alive:
            return
        silent = self._random.random() < 0.5 if silent is None else silent
        self._loop.forget(self._incarnation)
        after = self._new_directory()
        self._disk.survive(self._random, after)
        self._disk.seal()
        self.directory = after
        self._loop.network.down(self.name, silent=silent)
        for died in self._calls:
            if not died.done():
                died.set_result(None)

    def boot(self) -> None:
        """Switch it on, with what is in its directory now. One that is on is crashed first."""
        self.crash()
        self._incarnation = Incarnation(self.name, self.ip, self._incarnation.number + 1)
        self.clock.boot()
        self._disk = self._watch(self.directory)
        self._loop.endings.append((self._disk.seal, self._disk.forget))
        self._loop.network.up(self.name)

    def image(self, to: Path) -> Path:
        """What a power cut at this moment would leave of it, for a copied card or a later restore."""
        if self.alive:
            self._disk.survive(self._random, to)
        else:
            shutil.copytree(self.directory, to, ignore=_sockets)
        return to

    def restore(self, image: Path) -> None:
        """Off, with this in place of what was on it."""
        self.crash()
        self.directory = self._new_directory()
        shutil.copytree(image, self.directory)

    @property
    def disk(self) -> Disk:
        """The present one, for what can go wrong with it."""
        return self._disk

    def _new_directory(self) -> Path:
        self._directories += 1
        return self._root / f"{self.name}-{self._directories}"


def _sockets(folder: str, names: list[str]) -> set[str]:
    """A socket is no file that a disk keeps."""
    return {name for name in names if Path(folder, name).is_socket()}
