"""What is broken during a soak, when, and for how long: planned from a seed before it begins, and done to the clinic then.

A plan breaks each thing once before it breaks it again at random, so that a short run meets every kind. Clocks are left
alone: tests/system and the simulated world have those. A link, or a server, has one fault at a time.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal

from tests.soak.clinic import Clinic, Server
from tests.soak.links import State
from tests.soak.pace import Pace

Kind = Literal["cut", "slow", "swallow", "hang", "kill", "restart", "off"]

HUBS: Final = ("hub-a", "hub-b")
SERVERS: Final = (*HUBS, "cloud")
LINKS: Final = ("tablets-hub-a", "tablets-hub-b", "tablets-cloud", "hub-a-cloud", "hub-b-cloud")
_LINK_STATES: Final[dict[str, State]] = {"cut": "cut", "slow": "slow", "swallow": "swallowing"}

# kind -> on what, how often, and for how many seconds
_KINDS: Final[dict[Kind, tuple[Sequence[str], float, tuple[float, float]]]] = {
    "cut": (LINKS, 30, (3, 40)),
    "slow": (LINKS, 22, (20, 90)),
    "swallow": (LINKS, 14, (5, 40)),
    "hang": (SERVERS, 12, (2, 25)),
    "kill": (SERVERS, 10, (0.5, 5)),
    "restart": (SERVERS, 6, (0.5, 2)),
    "off": (HUBS, 6, (60, 180)),
}
OFF_SHARE_MAX: Final = 1 / 8
"""Nothing is broken for longer than this part of a run."""
QUIET_AT_THE_END: Final = 0.03


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is broken, from when to when, in seconds since the work began."""

    at_s: float
    kind: Kind
    target: str
    lasts_s: float

    @property
    def until_s(self) -> float:
        return self.at_s + self.lasts_s


def plan(seed: int, pace: Pace) -> tuple[Fault, ...]:
    """The faults of a run, in order. The same seed and length give the same ones."""
    chance = random.Random(seed)
    kinds = _kinds(chance)
    faults: list[Fault] = []
    at_s = chance.expovariate(1 / pace.fault_every_s)
    while at_s < pace.run_s * (1 - QUIET_AT_THE_END):
        kind = next(kinds)
        targets, _, (shortest, longest) = _KINDS[kind]
        lasts_s = min(chance.uniform(shortest, longest), OFF_SHARE_MAX * pace.run_s, pace.run_s - at_s)
        free = [name for name in targets if all(one.target != name or one.until_s < at_s for one in faults)]
        if free:
            faults.append(Fault(at_s, kind, chance.choice(free), lasts_s))
        at_s += chance.expovariate(1 / pace.fault_every_s)
    return tuple(faults)


def _kinds(chance: random.Random) -> Iterator[Kind]:
    once = list(_KINDS)
    chance.shuffle(once)
    yield from once
    while True:
        yield chance.choices(list(_KINDS), [often for _, often, _ in _KINDS.values()])[0]


async def break_things(
    clinic: Clinic, faults: Sequence[Fault], now: Callable[[], float], mark: Callable[[str, str], None]
) -> None:
    """Do all of it, each fault when it is due. `mark` hears of a server that is started again: its name, and why."""
    async with asyncio.TaskGroup() as tasks:
        for fault in faults:
            await asyncio.sleep(max(0.0, fault.at_s - now()))
            tasks.create_task(_break(clinic, fault, mark))


async def _break(clinic: Clinic, fault: Fault, mark: Callable[[str, str], None]) -> None:
    if fault.target in clinic.links:
        link = clinic.links[fault.target]
        link.become(_LINK_STATES[fault.kind])
        await asyncio.sleep(fault.lasts_s)
        link.become("whole")
        return
    server = clinic.servers[fault.target]
    if fault.kind == "hang":
        pause(server)
        await asyncio.sleep(fault.lasts_s)
        go_on(server)
        return
    number = signal.SIGTERM if fault.kind == "restart" else signal.SIGKILL
    await _to_its_end(asyncio.to_thread(server.process.end, number))
    await asyncio.sleep(fault.lasts_s)
    await start(server)
    mark(server.name, fault.kind)


def pause(server: Server) -> None:
    server.is_stopped = True
    _send(server, signal.SIGSTOP)


def go_on(server: Server) -> None:
    _send(server, signal.SIGCONT)
    server.is_stopped = False


async def start(server: Server) -> None:
    """Run it again on what it kept."""
    await _to_its_end(asyncio.to_thread(server.start))


async def _to_its_end(work: Coroutine[Any, Any, object]) -> None:
    """A thread can't be called back: who is cancelled waits for it, so that nobody starts a server twice."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    finally:
        await asyncio.wait([task])


async def mend(clinic: Clinic, mark: Callable[[str, str], None]) -> None:
    """Everything as it was before the first fault."""
    for link in clinic.links.values():
        link.become("whole")
    for server in clinic.servers.values():
        go_on(server)
        if server.pid is None:
            await asyncio.to_thread(server.process.end)
            await start(server)
            mark(server.name, "mended")


def _send(server: Server, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        if server.process._process is not None:
            server.process._process.send_signal(number)
