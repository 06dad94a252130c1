"""A party: a real program on a machine of its own, with the power switch and the disk as people get at them.

A program that runs belongs to the boot that it began in: after a crash, whoever caused it, it is simply not there any
more. Refused: asking something of a program that does not run.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

from medxz.errors import MedxzError
from medxz.op import Operation
from medxz.wire import AuditVerifyAnswer
from tests.simulation.parties.standing import Machine

P = TypeVar("P")
PORT: Final = 8_443

States = dict[tuple[str, str], bytes]
"""Each entity as it stands, as the protocol tells it."""
Conflicts = dict[str, bytes]
"""Each conflict, open or resolved, by its id, as the protocol tells it."""


class Down(MedxzError):
    """This program does not run now."""


class Stored(Protocol):
    """What checkers ask of whoever keeps ops; read out of its own store, past all faults of the network."""

    async def ops(self, clinic_id: str) -> list[Operation]: ...
    async def states(self, clinic_id: str) -> States: ...
    async def conflicts(self, clinic_id: str) -> Conflicts: ...
    async def audit_verify(self, clinic_id: str) -> AuditVerifyAnswer: ...


class Party(Generic[P]):
    """`P` is what the program is while it runs."""

    def __init__(self, machine: Machine) -> None:
        self.machine: Final = machine
        self._program: P | None = None
        self._since: Path | None = None
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._copies = 0

    @property
    def name(self) -> str:
        return self.machine.name

    @property
    def is_up(self) -> bool:
        """Whether the program runs."""
        return self._program is not None and self.machine.alive and self._since == self.machine.directory

    @property
    def running(self) -> P:
        if self._program is None or not self.is_up:
            raise Down(f"{self.name} does not run")
        return self._program

    def opened(self) -> AbstractAsyncContextManager[P]:
        """The program, from its start to its end."""
        raise NotImplementedError

    async def start(self) -> None:
        """Run the program, and return once it serves. One that runs goes on; a machine that is off is switched on."""
        if self.is_up:
            return
        if not self.machine.alive:
            self.machine.boot()
        await self.machine.call(self._begin())

    async def stop(self) -> None:
        """As an operator stops it: what is being answered is answered."""
        task, self._task = self._task, None
        if self.is_up and task is not None:
            self._stop.set()
            await self.machine.call(_ended(task))
        self._program = None

    def crash(self) -> None:
        """Power off, whatever it was doing."""
        if self.machine.alive:
            self.machine.crash()
        self._program = self._task = None

    async def restart(self) -> None:
        """Stop it well and start it again."""
        await self.stop()
        await self.start()

    # ------------------------------------------------------------------------------------------- the disk

    async def copy_to(self, place: Path) -> Path:
        """A backup: everything that lies on the machine, as who stops it and copies its files makes one."""
        was_up = self.is_up
        await self.stop()
        self.machine.image(place)
        if was_up:
            await self.start()
        return place

    async def copied(self) -> Path:
        """The same, at a place of its own beside the machine's directories."""
        self._copies += 1
        here = self.machine.directory
        return await self.copy_to(here.with_name(f"{self.name}-copy-{self._copies}"))

    def put_back(self, place: Path) -> None:
        """An older copy takes the place of what is on the machine, which is off afterwards. Nobody is told."""
        self.machine.restore(place)
        self._program = self._task = None

    # ------------------------------------------------------------------------------------------------ how

    async def _begin(self) -> None:
        serving: asyncio.Future[P] = asyncio.get_running_loop().create_future()
        self._stop = asyncio.Event()
        self._since = self.machine.directory
        self._task = self.machine.spawn(self._run(serving, self._stop), f"{self.name} runs")
        self._program = await serving

    async def _run(self, serving: asyncio.Future[P], stop: asyncio.Event) -> None:
        try:
            async with self.opened() as program:
                serving.set_result(program)
                await stop.wait()
        except Exception as error:
            if serving.done():
                raise
            serving.set_exception(error)


async def _ended(task: asyncio.Task[None]) -> None:
    await asyncio.wait([task])
    task.result()
