"""The parties of a world, each by itself: what the faults of a world do to them is what would happen to the real ones."""

from __future__ import annotations

import asyncio
import gc
import itertools
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest

from medxz.errors import MedxzError
from tests.simulation.loop import SimLoop, run_world
from tests.simulation.machine import Machine
from tests.simulation.parties.cheap import cheap
from tests.simulation.parties.clinic import Clinic
from tests.simulation.parties.cloud import CloudParty
from tests.simulation.parties.device import TabletParty
from tests.simulation.parties.drawn import drawn, told_by
from tests.simulation.parties.foreign import Answered, Resumed, Seen, Unanswered
from tests.simulation.parties.hub import HubParty
from tests.simulation.parties.party import Down

PULSE: Final = {"resourceType": "Observation", "status": "final", "code": {"text": "pulse"}}
DEADLINE_S: Final = 300.0


class Town:
    """A cloud and a clinic `a` with a hub at each of two sites; what else there is, a test adds."""

    def __init__(self, loop: SimLoop, root: Path) -> None:
        self.loop = loop
        self._root = root
        self._numbers = itertools.count(1)
        self.cloud = CloudParty(self.machine("cloud"))
        self.clinic = Clinic("a", self.cloud, self.machine)

    def machine(self, name: str) -> Machine:
        return Machine(self.loop, name, f"127.77.0.{next(self._numbers)}", self._root, seed=1)

    async def begin(self) -> None:
        await self.cloud.make()
        await self.cloud.start()
        await self.clinic.found(["north", "south"])
        self.north = await self.clinic.add_hub("a-north", "north")

    async def south(self) -> HubParty:
        return await self.clinic.add_hub("a-south", "south")

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        give_up_at = self.loop.time() + DEADLINE_S
        while not await holds():
            assert self.loop.time() < give_up_at, "waited in vain"
            await asyncio.sleep(0.2)

    async def until_at(self, party: CloudParty | HubParty | TabletParty, *op_ids: str) -> None:
        """Until the party has these ops."""

        async def has() -> bool:
            return set(op_ids) <= {op.op_id for op in await party.ops(self.clinic.clinic_id)}

        await self.until(has)


Scenario = Callable[[Town], Awaitable[Any]]
Play = Callable[[Scenario], Any]


@pytest.fixture
def play() -> Play:
    """Runs a scenario in a world of its own, whose disks are memory: what fsync is for, other tests see to."""

    def run(scenario: Scenario) -> Any:
        async def whole(loop: SimLoop) -> Any:
            with told_by(loop.time):
                town = Town(loop, root)
                await town.begin()
                return await scenario(town)

        memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
        with TemporaryDirectory(prefix="medxz-world-", dir=memory) as folder:
            root = Path(folder)
            with _no_last_words(), cheap(), drawn(1):
                return run_world(whole, 1)

    return run


@contextmanager
def _no_last_words() -> Iterator[None]:
    """Whoever still ran when the world ended is dropped where it stood: what it says of that is nobody's business."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        yield
        gc.collect()
    finally:
        sys.unraisablehook = hook


def test_what_a_tablet_records_is_at_everybody_of_its_clinic_and_nobody_else(play: Play) -> None:
    """An op of a tablet reaches hubs, cloud and tablets of its clinic, all show the same, and the other has nothing."""

    async def scenario(town: Town) -> None:
        other = Clinic("b", town.cloud, town.machine)
        await other.found(["east"])
        east, south = await other.add_hub("b-east", "east"), await town.south()
        there = await other.add_tablet("b-tablet", "east")
        nora, dan = [
            await town.clinic.add_tablet(f"a-{user}", "north", user=user) for user in ("nora", "dan")
        ]
        rita = await town.clinic.add_tablet("a-rita", "south", user="rita", scope="front_desk")
        patient = await nora.record("Patient", {"resourceType": "Patient", "name": [{"family": "Lind"}]})
        pulse = await dan.record("Observation", PULSE)
        full: list[CloudParty | HubParty | TabletParty] = [town.cloud, town.north, south, nora, dan]
        for party in full:
            await town.until_at(party, patient.op_id, pulse.op_id)
        await town.until_at(rita, patient.op_id)
        assert len(await rita.ops()) == 1
        states = [await party.states(town.clinic.clinic_id) for party in full]
        assert states[0]
        assert states == states[:1] * len(full)
        assert await town.cloud.ops(other.clinic_id) == await east.ops() == await there.ops() == []
        assert (await town.cloud.audit_verify(town.clinic.clinic_id)).ok
        assert (await town.north.audit_verify()).ok
        assert await nora.audit_verify()

    play(scenario)


def test_two_edits_of_one_field_are_the_same_conflict_everywhere_until_it_is_resolved(play: Play) -> None:
    """A conflict has one id and one text at tablets, hub and cloud, and nobody has it open after a resolve."""

    async def scenario(town: Town) -> None:
        nora, dan = [
            await town.clinic.add_tablet(f"a-{user}", "north", user=user) for user in ("nora", "dan")
        ]
        made = await nora.record("Patient", {"resourceType": "Patient", "gender": "female"})
        await town.until_at(dan, made.op_id)
        for tablet, gender in ((nora, "male"), (dan, "other")):
            await tablet.rest()
            await tablet.record("Patient", {"gender": gender}, entity_id=made.entity_id, op="update")
        ops = [op.op_id for tablet in (nora, dan) for op in await tablet.own_ops()]
        for tablet in (nora, dan):
            await tablet.follow()
        parties: list[CloudParty | HubParty | TabletParty] = [town.cloud, town.north, nora, dan]
        for party in parties:
            await town.until_at(party, *ops)
        told = [await party.conflicts(town.clinic.clinic_id) for party in parties]
        assert len(told[0]) == 1
        assert told == told[:1] * len(parties)
        [conflict_id] = told[0]
        resolved = await nora.resolve(conflict_id, take=ops[1])
        for party in parties:
            await town.until_at(party, *(op.op_id for op in resolved))
            [text] = (await party.conflicts(town.clinic.clinic_id)).values()
            assert text.endswith(b'"state":"resolved"}')

    play(scenario)


def test_a_hub_that_began_alone_is_adopted_with_all_that_it_has(play: Play) -> None:
    """Ops and tablets of a lone hub go on with the cloud, under the same ids and sessions."""

    async def scenario(town: Town) -> None:
        lone = Clinic("b", town.cloud, town.machine)
        hub = await lone.found_alone("b-hub", "west")
        tablet = await lone.add_tablet("b-tablet", "west")
        before = await tablet.record("Observation", PULSE)
        await town.until_at(hub, before.op_id)
        device_id, clinic_id = tablet.device_id, lone.clinic_id
        await lone.adopt(hub)
        after = await tablet.record("Observation", PULSE)

        async def safe() -> bool:
            levels = await tablet.levels()
            return {levels.of(one.op_id, own_seq=one.device_seq) for one in (before, after)} == {"cloud"}

        await town.until(safe)
        assert len(await town.cloud.ops(clinic_id)) == 2
        assert (await tablet.status()).device_id == device_id

    play(scenario)


def test_a_crash_takes_nothing_that_was_answered(play: Play) -> None:
    """After a crash a program is down, nobody is answered, and what it had answered is there after the next start."""

    async def scenario(town: Town) -> None:
        pusher = await town.clinic.add_pusher("a-laptop", "north")
        tablet = await town.clinic.add_tablet("a-nora", "north")
        op = pusher.make("Observation", PULSE)
        await pusher.push()
        recorded = await tablet.record("Observation", PULSE)
        town.north.crash()
        tablet.crash()
        with pytest.raises(Down):
            _ = town.north.running
        pusher.make("Observation", PULSE)
        with pytest.raises(Unanswered):
            await pusher.push()
        await town.north.start()
        await tablet.start()
        assert op.op_id in {held.op_id for held in await town.north.ops()}
        assert recorded.op_id in {held.op_id for held in await tablet.ops()}
        await pusher.push()
        await town.until_at(town.cloud, op.op_id, recorded.op_id)

    play(scenario)


@pytest.mark.parametrize("new_epoch", [True, False])
def test_a_restored_hub_gets_back_what_it_lost(play: Play, new_epoch: bool) -> None:
    """A hub that went back has a new epoch, at once or by the first cursor, and fills itself from tablets and cloud."""

    async def scenario(town: Town) -> None:
        pusher = await town.clinic.add_pusher("a-laptop", "north", signs=True)
        reader = town.clinic.add_reader(pusher, town.north.url)
        pages: list[Seen] = []
        resumed: list[Resumed] = []
        reader.on_page, reader.on_resume = pages.append, resumed.append
        epoch, copy = town.north.epoch, await town.north.copied()
        op = pusher.make("Observation", PULSE)
        await pusher.push()
        await reader.pull()
        await town.until_at(town.cloud, op.op_id)
        await town.north.restore(copy, new_epoch=new_epoch)
        assert (town.north.epoch != epoch) == new_epoch
        await reader.pull()
        assert town.north.epoch != epoch
        assert [one.epoch for one in resumed] == [town.north.epoch]
        await town.until_at(town.north, op.op_id)
        while await reader.pull():
            pass
        assert [op_id for page in pages for op_id, _ in page.ops if page.epoch == epoch] == [op.op_id]

    play(scenario)


def test_a_restored_cloud_is_filled_again_by_its_hubs(play: Play) -> None:
    """A cloud that was put back to a backup has a new epoch for all its clinics, and gets what it lost from hubs."""

    async def scenario(town: Town) -> None:
        tablet = await town.clinic.add_tablet("a-nora", "north")
        clinic_id = town.clinic.clinic_id
        epoch, copy = await town.cloud.epoch(clinic_id), await town.cloud.copied()
        recorded = await tablet.record("Observation", PULSE)
        await town.until_at(town.cloud, recorded.op_id)
        await town.cloud.restore(copy, new_epoch=True)
        assert await town.cloud.epoch(clinic_id) != epoch
        await town.until_at(town.cloud, recorded.op_id)

    play(scenario)


def test_of_two_tablets_with_one_store_one_becomes_another_device(play: Play) -> None:
    """What both record is in the cloud, and one of them has recorded its own again under a new id."""

    async def scenario(town: Town) -> None:
        tablet = await town.clinic.add_tablet("a-nora", "north")
        twin = await town.clinic.clone_tablet(tablet, "a-twin")
        for one in (tablet, twin):
            await one.rest()
            await one.record("Observation", PULSE)
        for one in (tablet, twin):
            await one.follow()

        async def apart_and_safe() -> bool:
            ids = {(await one.status()).device_id for one in (tablet, twin)}
            own = {op.op_id for one in (tablet, twin) for op in await one.own_ops()}
            there = {op.op_id for op in await town.cloud.ops(town.clinic.clinic_id)}
            return len(ids) == len(own) == 2 and own <= there

        await town.until(apart_and_safe)
        again = {**await tablet.recorded_again(), **await twin.recorded_again()}
        there = {op.op_id for op in await town.cloud.ops(town.clinic.clinic_id)}
        assert again
        assert not there & set(again.values())

    play(scenario)


def test_two_hubs_with_one_card_both_serve(play: Play) -> None:
    """A copied card makes a second box under the same id, whose ops reach the cloud too."""

    async def scenario(town: Town) -> None:
        twin = await town.clinic.copy_hub(town.north, "a-twin")
        assert twin.server_id == town.north.server_id
        sent = []
        for number, hub in enumerate((town.north, twin)):
            pusher = await town.clinic.add_pusher(f"a-laptop-{number}", "north", at=hub)
            sent.append(pusher.make("Observation", PULSE).op_id)
            await pusher.push()
        await town.until_at(town.cloud, *sent)

    play(scenario)


def test_a_hub_that_was_replaced_is_no_longer_let_in(play: Play) -> None:
    """The new box takes the old one's place at the cloud, and gets the clinic's log."""

    async def scenario(town: Town) -> None:
        tablet = await town.clinic.add_tablet("a-nora", "north")
        recorded = await tablet.record("Observation", PULSE)
        await town.until_at(town.cloud, recorded.op_id)
        new = await town.clinic.add_hub("a-new", "north", replaces=town.north)
        await town.until_at(new, recorded.op_id)

        async def out() -> bool:
            return not town.north.is_online

        await town.until(out)
        assert new.is_online

    play(scenario)


def test_a_tablet_that_was_carried_elsewhere_goes_to_the_hub_there(play: Play) -> None:
    """Where its own hub can't be reached, a tablet syncs with that of the other site, once somebody typed its address."""

    async def scenario(town: Town) -> None:
        south = await town.south()
        tablet = await town.clinic.add_tablet("a-nora", "north")
        town.loop.network.cut(tablet.machine, town.north.machine)
        town.loop.network.cut(tablet.machine, town.cloud.machine)
        await town.clinic.move_site(tablet, "south")
        recorded = await tablet.record("Observation", PULSE)
        await town.until_at(south, recorded.op_id)

    play(scenario)


def test_who_was_revoked_is_out_and_the_others_are_not(play: Play) -> None:
    """A revoked tablet gets nothing any more; a rotated key and a new certificate disturb nobody."""

    async def scenario(town: Town) -> None:
        nora, dan = [
            await town.clinic.add_tablet(f"a-{user}", "north", user=user) for user in ("nora", "dan")
        ]
        await town.clinic.revoke_tablet(nora)
        assert not await town.clinic.rotate_key()
        assert await town.clinic.rotate_key(at_once=True)
        assert await town.north.renew_certificate()
        recorded = await dan.record("Observation", PULSE, schema_version=9)
        await town.until_at(town.cloud, recorded.op_id)
        with pytest.raises(MedxzError):
            await nora.sync()
        assert recorded.op_id not in {op.op_id for op in await nora.ops()}
        [op] = await town.cloud.ops(town.clinic.clinic_id)
        assert op.schema_version == 9

    play(scenario)


def test_foreign_clients_tell_of_each_answer_and_each_page(play: Play) -> None:
    """A pusher's op is answered once as accepted and then as a duplicate; a stream goes on where the pull ended."""

    async def scenario(town: Town) -> None:
        pusher = await town.clinic.add_pusher("a-laptop", "north", signs=True)
        answers: list[Answered] = []
        pusher.on_answer = answers.append
        reader = town.clinic.add_reader(pusher, town.north.url)
        pages: list[Seen] = []
        reader.on_page = pages.append
        ops = [pusher.make("Observation", PULSE) for _ in range(3)]
        await pusher.push(ops[:2])
        await pusher.push(ops[:2])
        assert [one.status for one in answers] == ["accepted"] * 2 + ["duplicate"] * 2
        await reader.pull()
        streaming = asyncio.create_task(reader.stream(5.0))
        await asyncio.sleep(1.0)
        await pusher.push(ops[2:])
        await streaming
        assert [op_id for page in pages for op_id, _ in page.ops] == [op.op_id for op in ops]
        assert [page.after for page in pages[1:]] == [page.cursor for page in pages[:-1]]

    play(scenario)


def test_the_same_seed_gives_the_same_world_to_the_byte(play: Play) -> None:
    """Two worlds of one seed send pieces of the same length at the same moments, keys and certificates included."""

    async def scenario(town: Town) -> tuple[str, int]:
        tablet = await town.clinic.add_tablet("a-nora", "north")
        recorded = await tablet.record("Observation", PULSE)
        await town.until_at(town.cloud, recorded.op_id)
        await town.north.restart()
        return town.loop.network.fingerprint(), town.loop.steps

    assert play(scenario) == play(scenario)
