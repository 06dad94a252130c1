"""A courier who does everything wrong, drawn from a seed: sticks lost, mixed up, spoilt, carried twice and in any order."""

from __future__ import annotations

import random
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hub.claimed import keep_claim, load_claim
from hub.storage import open_storage
from medxz.clock import SystemClock
from medxz.program.keys import read_key
from tests.uplink.conftest import Box, Relay, Tablet, until
from tests.uplink.test_courier import Courier, known, ops_of, ops_of_cloud

STEPS = 20
NOWHERE = "http://127.0.0.1:9"


async def sent_to(box: Box, url: str) -> None:
    """The hub, which does not run, looks for its cloud there from now on."""
    places = box.settings.places
    async with open_storage(places, lambda: read_key(places.key_file, {}), SystemClock()) as storage:
        claim = await load_claim(storage.registry)
        assert claim is not None
        await keep_claim(storage.registry, claim.model_copy(update={"cloud_url": url}))


@dataclass
class Walk:
    """One, with everything that was ever on a stick."""

    relay: Relay
    here: Tablet
    elsewhere: Tablet
    courier: Courier
    drawer: Path
    draw: random.Random
    ours: list[str] = field(default_factory=list)
    theirs: set[str] = field(default_factory=set)
    done: list[str] = field(default_factory=list)
    restored: bool = False

    @property
    def box(self) -> Box:
        return self.here.box

    async def record(self) -> None:
        self.ours += await self.here.record(self.draw.randint(1, 5))

    async def record_elsewhere(self) -> None:
        self.theirs |= set(await self.elsewhere.record(self.draw.randint(1, 5)))
        await until(lambda: self.elsewhere.box.backlog == 0, "the other site's ops in the cloud")

    async def decide(self) -> None:
        await self.relay.add_user(f"{len(self.done)}@clinic.example")

    async def begin_epoch(self) -> None:
        """As a cloud does that finds its log to have gone back, or that is told so."""
        await self.relay.stop()
        async with self.relay.office() as admin:
            await admin.server.begin_epoch()
        await self.relay.start()

    async def back_up(self) -> None:
        await self.relay.stop()
        shutil.rmtree(self.backup, ignore_errors=True)
        shutil.copytree(self.relay.folder, self.backup)
        await self.relay.start()

    async def restore(self) -> None:
        """The cloud is what it was, and nobody has told it that it is not what it was since."""
        if self.backup.is_dir():
            await self.relay.stop()
            shutil.rmtree(self.relay.folder)
            shutil.copytree(self.backup, self.relay.folder)
            await self.relay.start()
            self.restored = True

    @property
    def backup(self) -> Path:
        return self.drawer.with_name("backup")

    async def export(self) -> None:
        await self.courier.at_hub(self.box, "export")
        self.keep_copies()

    async def at_cloud(self) -> None:
        await self.courier.at_cloud(status=None)
        self.keep_copies()

    async def take(self) -> None:
        before, directory = await ops_of(self.box), known(self.box)
        await self.courier.at_hub(self.box, "import", status=None)
        assert before <= await ops_of(self.box)
        assert self.restored or directory.revision <= known(self.box).revision

    async def lose(self) -> None:
        for path in self.on_the_stick():
            if self.draw.random() < 0.5:
                path.unlink()

    async def find(self) -> None:
        """What was carried some time ago lies on the stick again."""
        kept = sorted(self.drawer.iterdir())
        for path in self.draw.sample(kept, min(len(kept), 3)):
            shutil.copy(path, self.courier.stick / path.name)

    async def spoil(self) -> None:
        for path in self.on_the_stick():
            if self.draw.random() < 0.3:
                content = bytearray(path.read_bytes())
                content[self.draw.randrange(len(content))] ^= 1 << self.draw.randrange(8)
                path.write_bytes(content[: self.draw.randint(1, len(content))])

    def on_the_stick(self) -> list[Path]:
        return sorted(self.courier.stick.iterdir())

    def keep_copies(self) -> None:
        for path in self.on_the_stick():
            shutil.copy(path, self.drawer / path.name)

    async def check(self) -> None:
        """What the tablet is told to be in the cloud is there, and no log has lost or made up anything."""
        safe, there, held = self.ours[: await self.here.cloud_through()], await ops_of_cloud(self.relay), None
        assert self.restored or set(safe) <= there, self.done
        held = await ops_of(self.box)
        assert set(self.ours) <= held <= {*self.ours, *self.theirs}, self.done
        assert there <= {*self.ours, *self.theirs}, self.done

    async def run(self, steps: int) -> None:
        acts: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self.record, 4), (self.record_elsewhere, 2), (self.decide, 1), (self.export, 4), (self.at_cloud, 4),
            (self.take, 4), (self.lose, 1), (self.find, 2), (self.spoil, 1),
            (self.begin_epoch, 1), (self.back_up, 1), (self.restore, 1),
        ]  # fmt: skip
        for _ in range(steps):
            [act] = self.draw.choices([act for act, _ in acts], [weight for _, weight in acts])
            self.done.append(act.__name__)
            await act()
            await self.check()


@pytest.fixture
async def walk(relay: Relay, north: Box, south: Box, nora: Tablet, tmp_path: Path, seed: int) -> Walk:
    await relay.add_user("sam@clinic.example")
    sam = await Tablet.enrolled(south, relay, "South", "sam@clinic.example")
    await north.stop()
    await sent_to(north, NOWHERE)
    await north.start()
    (tmp_path / "drawer").mkdir()
    return Walk(
        relay, nora, sam, Courier(tmp_path / "stick", relay), tmp_path / "drawer", random.Random(seed)
    )


@pytest.mark.parametrize("seed", [7, *(pytest.param(seed, marks=pytest.mark.proof) for seed in range(20))])
async def test_whatever_a_courier_does(walk: Walk, seed: int) -> None:
    """However sticks are carried, nothing is called safe that is not, and nothing is lost, twice or undone; after one round
    that is done right everything is everywhere, and a connection finds nothing to do.
    """
    try:
        await walk.run(STEPS)
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {walk.done}") from error
    for path in walk.on_the_stick():
        path.unlink()

    async def theirs_are_back() -> bool:
        return walk.theirs <= await ops_of_cloud(walk.relay)

    await until(theirs_are_back, "the other site has brought again what the cloud lost")
    for _ in range(
        3 if walk.restored else 1
    ):  # to hear what a restored cloud lost, and to bring it, are two trips
        told = await walk.courier.call(walk.box)
        assert told["refused"] == []
    everything = {*walk.ours, *walk.theirs}
    assert await ops_of(walk.box) == await ops_of_cloud(walk.relay) == everything
    assert await walk.here.cloud_through() == len(walk.ours)

    registry = walk.box.running.storage.registry
    before = (await registry.exchange(), registry.directory, registry.keys, registry.config)
    await walk.box.stop()
    await sent_to(walk.box, walk.relay.url)
    connection = (await walk.box.start()).running.doors.connection
    assert connection is not None
    await until(connection.uplink.in_step.is_set, "in step")
    registry = walk.box.running.storage.registry
    assert before == (await registry.exchange(), registry.directory, registry.keys, registry.config)
