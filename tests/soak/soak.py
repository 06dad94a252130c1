"""One soak from its beginning to its end: work, faults and samples side by side, then the healing and the check."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from medxz import limits
from tests.soak.bounds import Judgement, judge
from tests.soak.clinic import Clinic, opened
from tests.soak.faults import Fault, break_things, mend, plan
from tests.soak.house import HouseFailed
from tests.soak.pace import PROGRESS_S, Pace
from tests.soak.samples import Mark, Push, Sample, look
from tests.soak.settled import Settled, settled


@dataclass(slots=True)
class Told:
    """All that a soak has to tell."""

    seed: int
    devices: int
    pace: Pace
    ran_s: float = 0.0
    was_ended: bool = False
    faults: tuple[Fault, ...] = ()
    samples: list[Sample] = field(default_factory=list)
    pushes: list[Push] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    acts: Counter[str] = field(default_factory=Counter)
    problems: Counter[str] = field(default_factory=Counter)
    settled: Settled | None = None
    judgements: list[Judgement] = field(default_factory=list)

    @property
    def findings(self) -> list[str]:
        """What must not be, in words; nothing where all went well."""
        wrong = [f"{one} ({times}×)" for one, times in self.problems.items() if one.startswith("finding")]
        wrong += self.settled.wrong if self.settled is not None else ["how it ended was not checked"]
        wrong += [f"{one.party}: {one.series} grows" for one in self.judgements if one.told.judged == "grows"]
        return wrong


class Soak:
    """`ended` ends the work early and goes on to the healing; so does who presses Ctrl-C."""

    def __init__(self, told: Told, say: Callable[[str], None]) -> None:
        self.told = told
        self.ended = asyncio.Event()
        self._say = say
        self._begun = 0.0
        self._ops = 0

    async def run(self, folder: Path) -> None:
        """All of it; what has been seen is in `told`, also where it fails on the way."""
        told = self.told
        async with opened(folder, told.pace, told.seed, told.devices) as clinic:
            self._say(f"{told.devices} tablets are in; the work begins")
            self._begun = time.monotonic()
            told.faults = plan(told.seed, told.pace)
            await self._work(clinic)
            told.ran_s, told.was_ended = self._now(), self.ended.is_set()
            self._say("the work has ended; everything is mended")
            if (
                told.was_ended
            ):  # Ctrl-C was heard by the servers as well: those that end have ended after this
                await asyncio.sleep(limits.SHUTDOWN_S_MAX)
            await mend(clinic, self._mark)
            for house in clinic.houses:
                await house.do("rest")
            told.settled = await settled(clinic, self._say)
            await self._sample(clinic)
        told.judgements = judge(told.samples, told.pushes, told.pace.warm_up_s)

    async def _work(self, clinic: Clinic) -> None:
        for house in clinic.houses:
            await house.do("work")
        busy = [
            asyncio.create_task(work)
            for work in (
                self._replace_tablets(clinic), self._look_again(clinic), self._tell(clinic), self.ended.wait(),
                asyncio.sleep(self.told.pace.run_s),
            )
        ]  # fmt: skip
        breaking = asyncio.create_task(break_things(clinic, self.told.faults, self._now, self._mark))
        try:
            await asyncio.wait(busy, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in busy:
                task.cancel()
            # a server that is being started is started to the end
            await asyncio.wait([breaking], timeout=0 if self.ended.is_set() else None)
            breaking.cancel()
            for result in await asyncio.gather(*busy, breaking, return_exceptions=True):
                if isinstance(result, Exception):
                    self.told.problems[f"finding: {result!r}"] += 1

    async def _replace_tablets(self, clinic: Clinic) -> None:
        """A new tablet in the place of another, now and then; it begins with a snapshot once the log is long."""
        number = 0
        while True:
            await asyncio.sleep(self.told.pace.newcomer_every_s)
            house = clinic.houses[number % len(clinic.houses)]
            number += 1
            try:
                await house.do("replace", **await clinic.newcomer())
                self.told.acts["replace"] += 1
            except (HouseFailed, AssertionError) as error:
                # the cloud is away just now: enrolling needs it
                self.told.problems[f"lawful: replace: {str(error)[:120]}"] += 1

    async def _look_again(self, clinic: Clinic) -> None:
        while True:
            await asyncio.sleep(self.told.pace.sample_s)
            await self._sample(clinic)

    async def _sample(self, clinic: Clinic) -> None:
        counts = [await asyncio.to_thread(server.ops) for server in clinic.servers.values()]
        self._ops = max(self._ops, *(count or 0 for count in counts))
        at_s = self._now()
        for server, count in zip(clinic.servers.values(), counts, strict=True):
            if server.ended_by_itself is not None:
                self._ended(server.name, server.ended_by_itself)
            elif server.pid is not None and not server.is_stopped:
                self._add(
                    look(
                        server.name, server.pid, server.databases, at_s, ops=count or self._ops,
                        connections=clinic.connections(server.name),
                    )
                )  # fmt: skip
        taken: list[float] = []
        for house in clinic.houses:
            taken += house.taken_ms()
            if house.status is not None:
                self._ended(house.name, house.status)
                continue
            files = Path(house.setting.folder).rglob("*.db")
            self._add(look(house.name, house.pid, files, at_s, ops=self._ops))
        self.told.pushes.append(_push(at_s, taken))
        self._sum_up(clinic)

    def _add(self, sample: Sample | None) -> None:
        if sample is not None:
            self.told.samples.append(sample)

    def _ended(self, name: str, status: int) -> None:
        if not self.ended.is_set():  # Ctrl-C ends the servers, too
            self.told.problems[f"finding: {name} ended by itself, with {status}"] = 1

    def _sum_up(self, clinic: Clinic) -> None:
        told = self.told
        own = {name: count for name, count in told.acts.items() if name == "replace"}
        told.acts = Counter(own)
        for house in clinic.houses:
            told.acts.update(house.figures.get("counts", {}))
            for problem, times in house.figures.get("problems", {}).items():
                told.problems[f"{problem} in {house.name}"] = times

    async def _tell(self, clinic: Clinic) -> None:
        """A line a minute."""
        while True:
            await asyncio.sleep(min(PROGRESS_S, self.told.pace.run_s / 6))
            latest = {
                one.party: one for one in self.told.samples[-len(clinic.servers) - len(clinic.houses) :]
            }
            memory = ", ".join(f"{name} {one.pss >> 20} MiB" for name, one in latest.items())
            done = self._now()
            self._say(
                f"{done / 60:.1f} of {self.told.pace.run_s / 60:.0f} min: {self._ops} ops, "
                f"{sum(one.at_s < done for one in self.told.faults)} of {len(self.told.faults)} faults; {memory}"
            )

    def _mark(self, party: str, why: str) -> None:
        self.told.marks.append(Mark(self._now(), party, why))

    def _now(self) -> float:
        return time.monotonic() - self._begun


def _push(at_s: float, taken_ms: list[float]) -> Push:
    if not taken_ms:
        return Push(at_s, 0, 0.0, 0.0)
    ordered = sorted(taken_ms)
    return Push(at_s, len(ordered), statistics.median(ordered), ordered[int(len(ordered) * 0.95)])
