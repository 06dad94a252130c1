"""A world: a plan's parties on their machines, and the steps of the plan done to them one after another.

It keeps who there is, by numbers that do not change: those who stood there at the beginning first, then whoever came. What
a step asks for and cannot have is None. Refused: a step that takes longer than any person would wait.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from medxz.device.device import Recorded
from medxz.errors import MedxzError
from medxz.op import Operation
from tests.disk.disks import Disk, disks
from tests.simulation import founding, healing
from tests.simulation.checkers.holding import Holding
from tests.simulation.copies import Copies, Losses
from tests.simulation.gathering import gather
from tests.simulation.geography import Geography
from tests.simulation.ledger import Ledger
from tests.simulation.loop import SimLoop
from tests.simulation.machine import Machine, MachineDied
from tests.simulation.parties.clinic import PASSWORD, Clinic
from tests.simulation.parties.cloud import CloudParty
from tests.simulation.parties.device import TabletParty
from tests.simulation.parties.foreign import Pusher, Reader
from tests.simulation.parties.hub import HubParty
from tests.simulation.plan import Plan
from tests.simulation.residents import Foreigner, Resident, SomeParty, machine_of
from tests.simulation.trace import Trace
from tests.simulation.witness import Witness

T = TypeVar("T")
C = TypeVar("C", Pusher, Reader)

STEP_S_MAX: Final = 6.0
"""How long anything that is tried may take before it is given up."""
LOOK_ROUND_S: Final = 3.0
SHARED_ENTITIES: Final = 6
_FELT: Final = {
    "again": "requests that came twice", "torn": "connections reset in the middle",
    "silence": "connections that went silent", "refused": "connections refused",
}  # fmt: skip
REFUSALS: Final = (MedxzError, MachineDied, OSError, TimeoutError)
"""What may become of anything that is tried in a world full of faults."""


class World:
    """One world, from its founding to its end."""

    def __init__(
        self, loop: SimLoop, plan: Plan, folder: Path, tell: Callable[[str], None] | None = None
    ) -> None:
        self.loop: Final = loop
        self.plan: Final = plan
        self.folder: Final = folder
        self.network: Final = loop.network
        self.trace: Final = Trace(loop.time, tell)
        self.network.note = self._note_network
        self.ledger: Final = Ledger()
        self.copies: Final = Copies(self)
        self.losses: Final = Losses(self)
        self.geography: Final = Geography(self)
        self.witness: Final = Witness(self.ledger, loop.time, self._party_at, self._server, "cloud")
        self.clinics: list[Clinic] = []
        self.residents: list[Resident] = []
        self.foreigners: list[Foreigner] = []
        self.charts: dict[str, list[tuple[str, str]]] = {}
        self.locked_out: set[tuple[str, str]] = set()
        self.done: Counter[str] = Counter()
        self.felt: Counter[str] = Counter()
        self.told: dict[int, str] = {}
        self.days_ms = 0
        self.last_error: BaseException | None = None
        self._founders = 0
        self._machines = 0
        self._beside: list[asyncio.Task[None]] = []
        self._disks: list[Disk] = []

    @property
    def cloud(self) -> CloudParty:
        party = self.residents[0].party
        assert isinstance(party, CloudParty)
        return party

    @property
    def now_s(self) -> float:
        return self.loop.time()

    def feel(self) -> None:
        """Count what disks have done to their programs."""
        for disk in self._disks:
            self.felt["syncs failed"] += disk.failed_syncs
            self.felt["writes refused by a full disk"] += disk.refused_for_room
            disk.failed_syncs = disk.refused_for_room = 0

    # ------------------------------------------------------------------------------------------- its life

    async def run(self) -> None:
        """Everything that is planned, and a healing at the end. A Violation or NotInStep says what did not hold."""
        await founding.found(self)
        self._founders = len(self.residents)
        self.trace.note("world", "founded")
        looking = asyncio.create_task(self._look_on(), name="witness")
        try:
            for planned in self.plan.steps:
                await asyncio.sleep(planned.pause_s)
                told = await self._carried_out(planned.step.do(self))
                if told is not None:
                    self.done[type(planned.step).__name__] += 1
                    self.told[planned.number] = told
                    self.trace.note("world", f"{planned.number}: {told}")
            await healing.heal(self)
        finally:
            looking.cancel()
            self.feel()
            self.trace.note("world", f"what passed: {self.network.fingerprint()}")

    async def heal(self) -> None:
        await healing.heal(self)

    async def holdings(self) -> Sequence[Holding]:
        return await gather(self)

    def close(self) -> None:
        """Its disks are nobody's any more."""
        for disk in self._disks:
            disk.forget()

    async def _carried_out(self, doing: Coroutine[Any, Any, str | None]) -> str | None:
        try:
            return await doing
        except REFUSALS as error:
            self.trace.note("world", f"could not be done: {type(error).__name__}")
            return None

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(LOOK_ROUND_S)
            self.look()

    def look(self) -> None:
        """Take down what every tablet has been promised by now."""
        for resident in self.residents:
            if isinstance(resident.party, TabletParty):
                self.witness.look(resident.party)

    # -------------------------------------------------------------------------------------- trying things

    async def tried(self, doing: Awaitable[T]) -> T | None:
        """What came of it; None where it was refused or nobody answered."""
        try:
            async with asyncio.timeout(STEP_S_MAX):
                return await doing
        except REFUSALS as error:
            self.last_error = error
            self.trace.note("world", f"    {type(error).__name__}")
            return None

    async def wrote(
        self, tablet: TabletParty, doing: Awaitable[Recorded | Sequence[Operation] | None]
    ) -> str | None:
        """The op that a tablet recorded, as the ledger has it by now; None where it could not."""
        made = await self.tried(doing)
        self.witness.look(tablet)
        if not made:
            return None
        op_id = made.op_id if isinstance(made, Recorded) else made[0].op_id
        authored = self.ledger.authors.get(op_id)
        if authored is None:
            return None  # the tablet has crashed since
        self.wrote_about(authored.op)
        return op_id

    def wrote_about(self, op: Operation) -> None:
        chart = self.charts.setdefault(op.clinic_id, [])
        if (op.entity_type, op.entity_id) not in chart:
            chart.append((op.entity_type, op.entity_id))

    def beside(self, name: str, doing: Coroutine[Any, Any, object]) -> bool:
        """Let it go on while the next steps are done; healing waits for it. False where it goes on already."""
        if any(task.get_name() == name and not task.done() for task in self._beside):
            doing.close()
            return False

        async def alone() -> None:
            await self.tried(doing)

        self._beside.append(asyncio.create_task(alone(), name=name))
        return True

    async def settled(self) -> None:
        """Whatever went on beside has ended."""
        beside, self._beside = self._beside, []
        await asyncio.gather(*beside)

    async def started(self, party: SomeParty) -> bool:
        """Whether it runs, after an attempt to start it."""
        if not party.is_up:
            await self.tried(party.start())
        return party.is_up

    # ------------------------------------------------------------------------------------------ who there is

    def make_machine(self, name: str) -> Machine:
        """New and switched on."""
        self._machines += 1
        ip = f"127.77.{self._machines // 250}.{self._machines % 250 + 1}"
        return Machine(self.loop, name, ip, self.folder, seed=self.plan.seed, watch=self._watch)

    def new_name(self, name: str) -> str:
        """For whoever comes in its place, or beside it."""
        return f"{name.partition('+')[0]}+{len(self.residents)}"

    def move_in(self, party: SomeParty, clinic: Clinic | None) -> Resident:
        resident = Resident(party, clinic)
        self.residents.append(resident)
        if isinstance(party, TabletParty):
            party.on_answer = lambda answer: self.witness.answered(party.name, answer)
        self.geography.apply()
        return resident

    def foreign(self, client: Pusher | Reader, at: SomeParty) -> None:
        """Somebody else's client talks to that server."""
        resident = self.resident(at)
        if isinstance(client, Pusher):
            client.on_op = lambda op: self.witness.made(client.name, op)
            client.on_answer = lambda answer: self.witness.answered(client.name, answer)
        else:
            client.on_page = lambda page: self.witness.seen(client.name, at.name, page)
            client.on_resume = lambda got: self.witness.resumed(client.name, at.name, got)
        self.foreigners.append(Foreigner(client, resident))

    def present(self) -> list[Resident]:
        """Everybody who still exists."""
        return [resident for resident in self.residents if not resident.is_gone]

    def resident(self, party: SomeParty) -> Resident:
        return next(one for one in self.residents if one.party is party)

    def party(self, number: int) -> SomeParty | None:
        """Who has this number."""
        resident = self.residents[number] if number < len(self.residents) else None
        return None if resident is None or resident.is_gone else resident.party

    def tablet(self, number: int, salt: int) -> TabletParty | None:
        """The one of this number, or another, if it runs: of those from the beginning or, now and then, of those that came later."""
        party = self._meant(TabletParty, number, salt).party
        return party if isinstance(party, TabletParty) and party.is_up else None

    async def tablet_at_work(self, number: int, salt: int) -> TabletParty | None:
        """The same, with somebody at it: they have typed their password, if it had locked itself."""
        tablet = self.tablet(number, salt)
        if tablet is not None and tablet.device._store.locks.person().is_locked:
            await self.tried(tablet.machine.call(tablet.device.unlock(PASSWORD)))
        return tablet if tablet is not None and tablet.is_up else None

    def hub(self, number: int, salt: int) -> HubParty | None:
        """The one of this number, or another, if it exists: whether it runs or not."""
        resident = self._meant(HubParty, number, salt)
        party = resident.party
        return party if isinstance(party, HubParty) and not resident.is_gone else None

    def _meant(self, kind: type[SomeParty], number: int, salt: int) -> Resident:
        if number < len(self.residents) and isinstance(self.residents[number].party, kind):
            return self.residents[number]
        founders = [one for one in self.residents[: self._founders] if isinstance(one.party, kind)]
        later = [one for one in self.residents[self._founders :] if isinstance(one.party, kind)]
        among = later if later and salt % 4 == 0 else founders
        return among[number % len(among)]

    def foreigner(self, kind: type[C], number: int) -> C | None:
        """Somebody else's client whose server still exists."""
        among = [one.client for one in self.foreigners if isinstance(one.client, kind) and not one.at.is_gone]
        return among[number % len(among)] if among else None

    def machines_between(self, who: int, other: int) -> tuple[Machine, Machine] | None:
        """Two machines that have to do with each other; the cloud in place of a stranger."""
        one, two = self.party(who), self.party(other)
        if one is None or two is None:
            return None
        if one is two or not self.geography.may_meet(self.resident(one), self.resident(two)):
            two = self.cloud
        return None if one is two else (machine_of(one), machine_of(two))

    def neighbours(self, number: int) -> list[SomeParty]:
        """Everybody at the site of this party."""
        party = self.party(number)
        if party is None or isinstance(party, CloudParty):
            return []
        clinic = self.resident(party).clinic
        return [one.party for one in self.present() if one.clinic is clinic and one.site == party.site]

    def entities(self, tablet: TabletParty, entity_type: str | None = None) -> list[tuple[str, str]]:
        """What is written about in the tablet's clinic: the last few, so that many write about the same."""
        chart = self.charts.get(tablet.clinic_id, [])
        return [entity for entity in chart if entity_type in {None, entity[0]}][-SHARED_ENTITIES:]

    # ------------------------------------------------------------------------------------------------- disks

    def _watch(self, directory: Path) -> Disk:
        disk = disks().watch(directory)
        self._disks.append(disk)
        return disk

    def _note_network(self, name: str, what: str) -> None:
        self.trace.note(name, what)
        felt = _FELT.get(what.partition(" to ")[0].partition(" by ")[0])
        if felt is not None:
            self.felt[felt] += 1

    # --------------------------------------------------------------------------------- what the witness asks

    def _party_at(self, url: str) -> str | None:
        found = [
            one.party.name
            for one in self.residents
            if isinstance(one.party, HubParty) and one.party.url == url
        ]
        return self.cloud.name if url == self.cloud.url else found[0] if found else None

    def _server(self, server_id: str) -> tuple[str, ...]:
        """Which parties a server_id may be: several, where a card was copied."""
        hubs = [one.party for one in self.residents if isinstance(one.party, HubParty)]
        named = [hub.name for hub in hubs if hub.server_id == server_id]
        return tuple(named) if named else (self.cloud.name,)
