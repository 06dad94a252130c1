"""A tablet as a party: `medxz.Device` with its real store and its real way through the clinic's servers.

It stays in step as an application does that runs `device.watch()` for as long as it is open, and whose user logs in
again when a session has ended. `on_answer` hears what servers say of each op that is pushed, at the moment they say it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, TypeVar

import orjson

from medxz.device.device import Device, Recorded, Status
from medxz.device.device import Machine as Standing
from medxz.device.keyfile import read_key, read_or_make_key
from medxz.device.store.file import DATABASE
from medxz.device.store.rows import HeldOp
from medxz.device.store.safety import Levels
from medxz.errors import LoginNeeded, MedxzError, PeerRefused, StoreError
from medxz.have import Have
from medxz.op import Operation
from medxz.scope import Scope
from tests.simulation.parties import stored
from tests.simulation.parties.foreign import Answered
from tests.simulation.parties.observed import observing
from tests.simulation.parties.party import Conflicts, Down, Party, States
from tests.simulation.parties.standing import Machine

T = TypeVar("T")
AGAIN_S: Final = 5.0
"""Who can't stay in step tries it again after this."""
LOGIN_AGAIN_S: Final = 15.0
"""Who can't log in tries it again after this."""
_PAGE: Final = 500


class TabletParty(Party[Device]):
    """One device. While it is up it stays in step, unless it rests."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self.clinic_id = ""
        self.device_id = ""
        self.site = ""
        self.scope: Scope = "full"
        self.is_revoked = False
        self.email = ""
        self._password = ""
        self.on_answer: Callable[[Answered], None] = lambda _: None
        self._rests = False
        self._following: asyncio.Task[None] | None = None
        self._under_way: set[asyncio.Task[Any]] = set()
        self._is_closing = False

    @property
    def device(self) -> Device:
        return self.running

    @property
    def store(self) -> Path:
        return self.machine.directory / "tablet"

    # --------------------------------------------------------------------------------------- how it begins

    async def enrol(self, server_url: str, code: str) -> None:
        """Become a device of the clinic at this server, by a code. It is up afterwards, and nobody is logged in.

        Interrupted, the same code is good for the same store again.
        """
        await self.machine.call(self._enrol(server_url, code))
        await self.start()
        status = await self.status()
        self.clinic_id, self.device_id = status.clinic_id, status.device_id

    async def login(self, email: str, password: str) -> None:
        await self._on(self.device.login(email, password))
        self.email, self._password = email, password

    async def logout(self) -> None:
        self.email = ""
        await self._on(self.device.logout())

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Device]:
        async with Device.open(
            self.store, key=read_key(self.store, None), machine=self._standing()
        ) as device:
            self._following, self._under_way, self._is_closing = None, set(), False
            if not self._rests:
                self._follow(device)
            try:
                yield device
            finally:
                self._is_closing = True
                await self._leave()
                await self._end_all()

    # ------------------------------------------------------------------------------------------ what it does

    async def record(
        self,
        entity_type: str,
        payload: Mapping[str, Any] | str,
        *,
        entity_id: str | None = None,
        op: str = "create",
        parents: tuple[str, ...] | None = None,
        schema_version: int = 1,
    ) -> Recorded:
        """An op that is durable here when this returns: `create`, `update`, `amend` or `retract`."""
        recording = self.device.record(
            entity_type, payload, entity_id=entity_id, op=op, parents=parents, schema_version=schema_version
        )
        return await self._on(recording)

    async def resolve(self, conflict_id: str, *, take: str | None = None, **fields: Any) -> list[Operation]:
        """Settle a conflict; the ops that it took."""
        resolving = self.device.resolve(conflict_id, reason="they meant this", take=take, fields=fields)
        return list(await self._on(resolving))

    async def sync(self) -> None:
        """Push and pull once, now; PeerUnreachable or PeerRefused where that can't be done."""
        await self._on(_done(self.device.sync()))

    async def rest(self) -> None:
        """Stay in step no longer."""
        self._rests = True
        if self.is_up:
            await self._on(self._leave())

    async def follow(self) -> None:
        """Stay in step from now on, in the background, as often as it is started anew."""
        self._rests = False
        if self.is_up and self._following is None:
            await self._on(self._begin_to_follow())

    async def look_around(self, server_urls: Sequence[str]) -> None:
        """Somebody types where servers are, as `medxz discover --server` takes it."""
        await self._on(_done(self.device.discover(server_urls)))

    async def forget(self) -> list[str]:
        """Let go of what the clinic's days allow; which ops went."""
        before = {op.op_id for op in await self.ops()}
        while await self._on(self.device.forget()):
            pass
        return sorted(before - {op.op_id for op in await self.ops()})

    # ------------------------------------------------------------------------------------------ how safe

    async def status(self) -> Status:
        return await self._on(self.device.status())

    async def levels(self) -> Levels:
        """How safe each op is: `levels.of(op_id, own_seq=held.own_seq)` of what `held` tells."""
        return await self._on(self.device.levels())

    async def held(self) -> list[HeldOp]:
        """Whole ops that are here, in the order in which they came to be here; its own have an `own_seq`."""
        return await self._on(self._held())

    async def own_ops(self) -> list[Operation]:
        """Those of its present id that are still here."""
        return [held.op for held in await self.held() if held.own_seq is not None]

    async def recorded_again(self) -> dict[str, str]:
        """Ops that it recorded once more under a new id, each with the op that it was before."""
        return await self._on(self._recorded_again())

    async def parked(self) -> list[str]:
        """Own ops that a server rejected for good."""
        return [parked.op_id for parked in await self._on(self.device.parked())]

    async def have(self) -> Have:
        """Which numbers of which devices it has, those that came with a snapshot included."""
        return await self._on(_called(self.device._store.have))

    # ---------------------------------------------------------------------------------------- what it has

    async def ops(self, clinic_id: str | None = None) -> list[Operation]:
        """Whole ops that are here. What came by a snapshot is not among them: `have` counts it."""
        return [held.op for held in await self.held()]

    async def states(self, clinic_id: str | None = None) -> States:
        """Every entity that it lists, as it shows it; past its lock and whoever may read."""
        return await self._on(self._states())

    async def conflicts(self, clinic_id: str | None = None) -> Conflicts:
        return await self._on(self._conflicts())

    async def audit_verify(self, clinic_id: str | None = None) -> bool:
        """Whether its chain holds."""
        try:
            return await self._on(self.device.verify_audit()) > 0
        except StoreError:
            return False

    # ------------------------------------------------------------------------------------------- the disk

    async def restore(self, place: Path) -> None:
        """An older copy takes the place of what is there: the tablet wakes up in its past."""
        self.put_back(place)
        await self.start()
        self.device_id = (await self.status()).device_id

    async def become_copy_of(self, other: TabletParty) -> None:
        """This machine gets the store of another tablet: from here there are two of one device. It is off afterwards."""
        self.put_back(await other.copied())
        self.clinic_id, self.device_id, self.site = other.clinic_id, other.device_id, other.site
        self.scope, self.email, self._password = other.scope, other.email, other._password

    # ------------------------------------------------------------------------------------------------ how

    async def _on(self, work: Coroutine[Any, Any, T]) -> T:
        """On the machine, so that it ends with it; what is under way when the application is closed is Down."""
        return await self.machine.call(self._until_closed(work))

    async def _until_closed(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.current_task()
        assert task is not None
        self._under_way.add(task)
        try:
            return await work
        except asyncio.CancelledError:
            if not self._is_closing:
                raise
            raise Down(f"{self.name} was closed") from None
        finally:
            self._under_way.discard(task)

    async def _end_all(self) -> None:
        """As an application does before it closes its device."""
        left = list(self._under_way)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _standing(self) -> Standing:
        return Standing(
            clock=self.machine.clock,
            ids=self.machine.ids,
            connect=observing(self.machine.ids, self._told),
        )

    def _told(self, answered: Answered) -> None:
        self.on_answer(answered)  # whoever listens now

    async def _enrol(self, server_url: str, code: str) -> None:
        store = self.store
        device = await Device.enrol(
            store, key=read_or_make_key(store, None), code=code, server=server_url, name=self.name,
            machine=self._standing(),
        )  # fmt: skip
        device.close()

    def _follow(self, device: Device) -> None:
        self._following = asyncio.create_task(self._stay_in_step(device), name=f"{self.name} in step")

    async def _begin_to_follow(self) -> None:
        self._follow(self.device)

    async def _leave(self) -> None:
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    async def _stay_in_step(self, device: Device) -> None:
        """What an application does: it goes on for as long as it can, and its user logs in where that is asked for."""
        while True:
            try:
                async for _ in device.watch():
                    pass
            except MedxzError as error:
                # what no server can mend now is tried again all the same: so does who opens the application
                if self.email and _asks_for_a_login(error):
                    try:
                        await device.login(self.email, self._password)
                        continue
                    except MedxzError:
                        await self.machine.clock.sleep(LOGIN_AGAIN_S)
                        continue
            await self.machine.clock.sleep(AGAIN_S)

    async def _held(self) -> list[HeldOp]:
        found: list[HeldOp] = []
        while page := self.device._store.page(found[-1].position if found else 0, _PAGE):
            found += page
        return found

    async def _recorded_again(self) -> dict[str, str]:
        with self.device._store._file.reading() as connection:
            rows = connection.execute("SELECT detail FROM audit WHERE action = 'recorded_again'").fetchall()
        told = [orjson.loads(detail) for (detail,) in rows]
        return {line["op_id"]: line["instead_of"] for line in told}

    async def _states(self) -> States:
        entities = self.device._store.entities
        while entities.refresh("all"):
            pass
        states: States = {}
        with self.device._store._file.reading() as connection:
            types = connection.execute(
                "SELECT entity_type FROM op UNION SELECT entity_type FROM entity_line"
            ).fetchall()
        for (entity_type,) in sorted(types):
            after: str | None = None
            while True:
                page = entities.listed(entity_type, after, _PAGE)
                states |= {(entity_type, view.entity.entity_id): view.to_wire_json() for view in page.rows}
                after = page.after
                if after is None:
                    break
        return states

    async def _conflicts(self) -> Conflicts:
        entities = self.device._store.entities
        while entities.refresh("all"):
            pass
        found: Conflicts = {}
        for state in stored.CONFLICT_STATES:
            after: str | None = None
            while True:
                page = entities.conflicts(state, None, after, _PAGE)
                found |= {held.conflict_id: stored.told(held) for held in page.rows}
                after = page.after
                if after is None:
                    break
        return found

    @property
    def is_enrolled(self) -> bool:
        return (self.store / DATABASE).exists()


def _asks_for_a_login(error: MedxzError) -> bool:
    """Whether its text tells who reads it to log in."""
    return isinstance(error, LoginNeeded) or (
        isinstance(error, PeerRefused) and error.status == HTTPStatus.UNAUTHORIZED
    )


async def _done(work: Coroutine[Any, Any, Any]) -> None:
    await work


async def _called(fn: Callable[[], T]) -> T:
    return fn()
