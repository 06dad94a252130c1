"""Some tablets of a soak in one process, and the people at them.

`python -m tests.soak.tablets` takes a line of JSON on its standard input for each thing that it is to do, and answers on
its standard output; it ends with its standard input. The first line is its `Setting`. Figures come by themselves.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import shutil
import sys
from collections import Counter
from collections.abc import Coroutine
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import uvloop

from medxz import Device, Machine
from medxz.errors import MedxzError, PeerRefused, PeerUnreachable
from tests.soak.acts import Person
from tests.soak.heard import Connecting, Notes

KEY: Final = bytes(range(32))
TYPES: Final = ("Patient", "Observation")
FOLLOW_AGAIN_S: Final = 2.0
SAFE_S_MAX: Final = 600.0
LOOK_AGAIN_S: Final = 0.5
_LINE_BYTES_MAX: Final = 1_048_576

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Setting:
    """What this process is told once. `links`: by which address each server is reached."""

    folder: str
    name: str
    seed: int
    password: str
    links: dict[str, str]
    act_every_s: float
    figures_every_s: float


class Tablet:
    """One device that stays in step, and somebody who uses it."""

    def __init__(self, device: Device, person: Person, place: Path, house: House) -> None:
        self.device = device
        self.person = person
        self.place = place
        self._house = house
        self._following = house.watched(self._follow())
        self._using: asyncio.Task[None] | None = None

    def use(self) -> None:
        self._using = self._house.watched(self._use())

    async def rest(self) -> None:
        """Nobody uses it any more; it stays in step."""
        using, self._using = self._using, None
        await _ended(using)

    async def leave(self) -> None:
        await self.rest()
        await _ended(self._following)
        self.device.close()

    async def until_safe(self) -> None:
        """All that was recorded here is in the cloud."""
        async with asyncio.timeout(SAFE_S_MAX):
            while (standing := await self.device.status()).here or standing.hub:
                await asyncio.sleep(LOOK_AGAIN_S)

    async def standing(self) -> Json:
        """How it stands, and a digest of every entity as it shows it."""
        status = await self.device.status()
        digest, entities = hashlib.sha256(), 0
        for entity_type in TYPES:
            after: str | None = None
            while True:
                portion = await self.device.list(entity_type, after=after, limit=500)
                for view in portion.rows:
                    entities += 1
                    digest.update(json.dumps([view.entity.entity_id, sorted(view.heads)]).encode())
                after = portion.after
                if after is None:
                    break
        return {
            "device_id": status.device_id, "here": status.here, "hub": status.hub, "cloud": status.cloud,
            "parked": [one.op_id for one in await self.device.parked()], "entities": entities,
            "digest": digest.hexdigest(), "target": status.target,
        }  # fmt: skip

    async def _follow(self) -> None:
        while True:
            try:
                async with aclosing(self.device.watch()) as arriving:
                    async for _ in arriving:
                        self._house.counts["arrived"] += 1
            except MedxzError as error:
                self._house.missed("watch", error)
            await asyncio.sleep(FOLLOW_AGAIN_S)

    async def _use(self) -> None:
        chance = self.person.chance
        while True:
            await asyncio.sleep(chance.expovariate(1 / self._house.setting.act_every_s))
            name = "act"
            try:
                name, recorded = await self.person.act()
            except MedxzError as error:
                self._house.missed("act", error)
                continue
            self._house.counts[name] += 1
            for op_id in recorded:
                self._house.notes.recorded(op_id)


class House:
    """All tablets of this process."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.folder = Path(setting.folder)
        self.notes = Notes(self.folder / f"{setting.name}.notes")
        self.counts: Counter[str] = Counter()
        self.problems: Counter[str] = Counter()
        self.tablets: dict[str, Tablet] = {}
        self._chance = random.Random(setting.seed)
        self._works = False

    def missed(self, during: str, error: MedxzError) -> None:
        """A server that is not there, or refuses for a while, is what a soak is for; all else is a finding."""
        code = error.code if isinstance(error, PeerRefused) else None
        lawful = isinstance(error, PeerUnreachable) or code in {
            "cloud_required",
            "overloaded",
            "rate_limited",
        }
        self.problems[
            f"{'lawful' if lawful else 'finding'}: {during}: {type(error).__name__} {code or error}"
        ] += 1

    def watched(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task that nobody awaits: what it dies of is a finding."""

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                self.problems[f"finding: died: {error!r}"] += 1

        task = asyncio.create_task(work)
        task.add_done_callback(ended)
        return task

    async def do(self, wanted: Json) -> Json:
        match wanted["do"]:
            case "enrol":
                await self.enrol(wanted["name"], wanted["server"], wanted["code"], wanted["email"])
            case "work":
                self._works = True
                for tablet in self.tablets.values():
                    tablet.use()
            case "rest":
                self._works = False
                for tablet in self.tablets.values():
                    await tablet.rest()
            case "replace":
                await self.replace(wanted["server"], wanted["code"], wanted["name"], wanted["email"])
            case "stand":
                return {"tablets": {name: await one.standing() for name, one in self.tablets.items()}}
        return {}

    async def enrol(self, name: str, server: str, code: str, email: str) -> None:
        """A device that begins with nothing."""
        place = self.folder / name
        machine = Machine(connect=Connecting(self.setting.links, self.notes))
        device = await Device.enrol(place, key=KEY, code=code, server=server, name=name, machine=machine)
        await device.login(email, self.setting.password)
        person = Person(device, email, self.setting.password, random.Random(self._chance.random()))
        self.tablets[name] = tablet = Tablet(device, person, place, self)
        if self._works:
            tablet.use()

    async def replace(self, server: str, code: str, name: str, email: str) -> None:
        """A tablet goes, once the cloud has all that it holds, and a new one comes in its place."""
        leaving = self._chance.choice(sorted(self.tablets))
        tablet = self.tablets[leaving]
        await tablet.rest()
        await tablet.until_safe()
        del self.tablets[leaving]
        await tablet.leave()
        await asyncio.to_thread(shutil.rmtree, tablet.place)
        await self.enrol(name, server, code, email)

    def figures(self) -> Json:
        return {
            "counts": dict(self.counts), "problems": dict(self.problems), "push_ms": self.notes.taken_ms(),
            "acknowledged": self.notes.acknowledged, "tablets": len(self.tablets),
        }  # fmt: skip

    async def close(self) -> None:
        for tablet in self.tablets.values():
            await tablet.leave()
        self.notes.close()


async def _ended(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.wait([task])


def _say(said: Json) -> None:
    print(json.dumps(said), flush=True)


async def _tell_figures(house: House) -> None:
    while True:
        await asyncio.sleep(house.setting.figures_every_s)
        _say({"event": "figures", **house.figures()})


async def _answer(house: House, wanted: Json) -> None:
    try:
        _say({"event": "done", "id": wanted["id"], **await house.do(wanted)})
    except (MedxzError, TimeoutError) as error:
        _say({"event": "failed", "id": wanted["id"], "why": f"{type(error).__name__}: {error}"})


async def main() -> None:
    lines = asyncio.StreamReader(limit=_LINE_BYTES_MAX)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    house = House(Setting(**json.loads(await lines.readline())))
    telling = asyncio.create_task(_tell_figures(house))
    answering: set[asyncio.Task[None]] = set()
    while line := await lines.readline():
        task = asyncio.create_task(_answer(house, json.loads(line)))
        answering.add(task)
        task.add_done_callback(answering.discard)
    for task in (*answering, telling):
        await _ended(task)
    await house.close()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        uvloop.run(main())
