"""The device library: record at once, whatever the network does; come into step when there is one.

    async with Device.open(path, key=key) as device:
        recorded = await device.record("Patient", {"active": True})
        await device.sync()

`record` returns once the op is durable here. How far it got from here is told in three levels, never in one: `here`,
`hub`, `cloud`; or it is `parked`, with the reason. One process writes a store at a time; `read_only` opens beside it.
What entities look like, and how their conflicts are settled, is asked by the calls of medxz/device/entities.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar, TypeVarTuple

from medxz.clock import Clock, SystemClock, format_time
from medxz.device.discovery.calls import DiscoveryCalls
from medxz.device.discovery.looking import Hear
from medxz.device.entities import (
    PAGE_OPS,
    SCHEMA_VERSION,
    EntityCalls,
    ToldConflict,
    ToldRetract,
    ToldSide,
    author_of,
    uuid,
)
from medxz.device.in_step import TargetStatus, target_of, target_status
from medxz.device.reach import Connect, trusting
from medxz.device.renewal import Renewal
from medxz.device.sessions import Compare, LoggedIn, SessionCalls, enrol
from medxz.device.store import LOCK_WAIT_S, DeviceStore, Draft
from medxz.device.store.drafts import check_payload, payload_bytes
from medxz.device.store.rows import HeldOp
from medxz.device.store.safety import Level, Levels, Parked, RefusedUpstream
from medxz.device.token import read_claims, server_address
from medxz.errors import OpInvalid, StoreError
from medxz.ids import Ids, RandomIds
from medxz.replicate import Progress, Report, Standing
from medxz.work import ThreadWorker, Worker

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

SYNC_ATTEMPTS: Final = 4
SYNC_PATIENCE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Machine:
    """What the device runs on: its clock, where its ids come from, who does the work that blocks, and the network.

    `hear` listens for hubs on the LAN: `medxz.lan.browsing.Browser`; None: nobody does.
    """

    clock: Clock = field(default_factory=SystemClock)
    ids: Ids = field(default_factory=RandomIds)
    worker: Worker = field(default_factory=lambda: ThreadWorker("medxz-device"))
    connect: Connect | None = None
    hear: Hear | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """An op that is durable here."""

    op_id: str
    entity_id: str
    device_seq: int


@dataclass(frozen=True, slots=True)
class Status:
    """This device's ops, each counted once by the safest place that it has reached, and how the device stands."""

    here: int
    hub: int
    cloud: int
    parked: int
    open_conflicts: int
    refused_upstream: tuple[RefusedUpstream, ...]
    target: str | None
    targets: tuple[TargetStatus, ...]
    server_id: str | None
    clinic_id: str
    device_id: str
    site_id: str | None
    user_id: str | None
    email: str | None
    roles: tuple[str, ...] | None
    locked: bool
    last_seq: int
    cloud_through: int
    cloud_epoch: str | None
    keep_own_days: int


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync did, and how this device's ops stand after it."""

    done: Report
    status: Status


class Device(EntityCalls, SessionCalls, DiscoveryCalls):
    """One device's store and its way to a server. Made by `enrol`, `create` or `open`."""

    def __init__(self, store: DeviceStore, machine: Machine) -> None:
        self._work = _Work(machine.worker)
        # whoever is handed the machine works through it too: what is under way when it closes ends with one error
        self._machine = machine = replace(machine, worker=self._work)
        self._store = store
        self._clock = machine.clock
        self._ids = machine.ids
        self._worker: Worker = self._work
        self._hear = machine.hear
        self._recorded = asyncio.Event()
        # one for all that runs at a time: they share the session
        self._renewal = Renewal(store, self._worker, machine.clock, machine.ids, self._ask)

    # ------------------------------------------------------------------------------------ making and closing

    @classmethod
    def create(
        cls,
        path: Path | str,
        *,
        key: bytes | str,
        server: str,
        token: str,
        name: str = "device",
        ca_pem: str | None = None,
        machine: Machine | None = None,
    ) -> Self:
        """A new store, for the clinic, device and user that the token names.

        For a store that is there already it takes the new token (or server), if that is for the same device.
        With `ca_pem`, the server's certificate must chain to that CA and name the server that the token is of.
        """
        claims, server = read_claims(token), server_address(server)
        if ca_pem is not None:
            trusting(ca_pem, claims)
        machine = machine or Machine()
        store = DeviceStore(Path(path), raw_key(key), machine.clock, create=True)
        try:
            store.begin(claims, name=name, server_url=server, access_token=token, ca_pem=ca_pem)
        except BaseException:
            store.close()
            raise
        return cls(store, machine)

    @classmethod
    async def enrol(  # noqa: PLR0913  what a QR's text says can also be given piece by piece
        cls,
        path: Path | str,
        *,
        key: bytes | str,
        code: str,
        server: str | None = None,
        fingerprint: str | None = None,
        name: str = "device",
        ca_pem: str | None = None,
        compare: Compare | None = None,
        machine: Machine | None = None,
    ) -> Self:
        """A new store, for the device that a pairing code lets in: the code and its `server`, or a QR's whole text.

        With a `machine` that hears the LAN, a code may come alone, for the only hub here; and of a QR whose address keeps
        silent, the hub of its fingerprint is taken.

        A hub must show the CA of this fingerprint (or be of the CA in `ca_pem`) before it is sent the code; where neither
        is known, `compare` asks a person whether these 16 characters of it stood by the code. Nobody is logged in yet.
        When it is interrupted, the same code is good for the same store again.
        """
        from medxz.device.invitation import read_invitation

        machine = machine or Machine()
        invitation = read_invitation(code, server, fingerprint, may_hear=machine.hear is not None)
        store = DeviceStore(Path(path), raw_key(key), machine.clock, create=True)
        try:
            await enrol(store, machine, invitation, name, ca_pem, compare)
        except BaseException:
            store.close()
            raise
        return cls(store, machine)

    @classmethod
    def open(
        cls, path: Path | str, *, key: bytes | str, read_only: bool = False, machine: Machine | None = None,
        lock_wait_s: float = LOCK_WAIT_S,
    ) -> Self:  # fmt: skip
        """The store in this folder. StoreLocked while another process writes it; `read_only` opens it all the same."""
        machine = machine or Machine()
        store = DeviceStore(
            Path(path), raw_key(key), machine.clock, read_only=read_only, lock_wait_s=lock_wait_s
        )
        try:
            store.identity()
        except BaseException:
            store.close()
            raise
        return cls(store, machine)

    @property
    def is_read_only(self) -> bool:
        """Whether another process has the store, or may."""
        return self._store.is_read_only

    def close(self) -> None:
        """Let the work that has begun end, and close the store. Closing twice is nothing."""
        self._work.close()
        self._store.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------- ops

    async def record(
        self,
        entity_type: str,
        payload: Mapping[str, Any] | bytes | str,
        *,
        entity_id: str | None = None,
        op: str = "create",
        user_id: str | None = None,
        parents: tuple[str, ...] | None = None,
        schema_version: int = SCHEMA_VERSION,
    ) -> Recorded:
        """Keep one change, and return once it is durable here. OpInvalid names the field that is not lawful.

        A payload that is JSON text is kept byte for byte. Without `parents` the op follows what is known here of
        the entity; a create follows nothing. Without `user_id` the author is who is logged in.
        """
        if entity_id is None and op != "create":
            raise OpInvalid("entity_id", f"is missing: which entity is it that this {op} is about?")
        person = await self._user()
        author = author_of(person, user_id)
        person.require_writing(entity_type)
        draft = Draft(
            op_id=self._ids.uuid7(),
            user_id=author,
            entity_type=entity_type,
            entity_id=uuid("entity_id", entity_id) if entity_id is not None else self._ids.uuid7(),
            op_type=op,
            parents=() if op == "create" else None if parents is None else tuple(sorted(set(parents))),
            device_time=format_time(self._clock.now_ms()),
            schema_version=schema_version,
            payload=payload_bytes(payload),
        )
        await self._worker.run(check_payload, draft)
        done = await asyncio.shield(self._worker.run(self._store.record, draft))
        self._recorded.set()
        return Recorded(done.op_id, done.entity_id, done.device_seq)

    # ---------------------------------------------------------------------------------------------- in step

    async def sync(
        self,
        *,
        progress: Callable[[Progress], None] = lambda _: None,
        attempts: int = SYNC_ATTEMPTS,
        patience_s: float = SYNC_PATIENCE_S,
    ) -> SyncReport:
        """Push what is new here, pull what is new there. PeerRefused or PeerUnreachable where that can't be done."""
        done = await self._synced(progress, attempts, patience_s)
        return SyncReport(done, await self.status())

    async def watch(
        self, *, after: int | None = None, tell: Callable[[Standing, str], None] = lambda *_: None
    ) -> AsyncGenerator[HeldOp, None]:
        """Ops as they arrive from others, from now on or after a position; what is recorded meanwhile goes out.

        It goes on through failures for as long as that can help, and ends with the error that ends it.
        """
        position = await self._worker.run(self._store.last_position) if after is None else after
        arrived = asyncio.Event()
        async with self._followed(arrived.set, tell) as following:
            while True:
                arrived.clear()
                while page := await self._worker.run(self._store.page, position, PAGE_OPS, True):
                    person = await self._onlooker()
                    for held in page:
                        position = held.position
                        if (shown := person.shown(held)) is not None:
                            yield shown
                if following.done():
                    following.result()
                while not arrived.is_set() and await self._refresh_some():
                    pass  # those who only read beside us see what has come
                await arrived.wait()

    # -------------------------------------------------------------------------------------------- how safe

    async def status(self) -> Status:
        identity = await self._worker.run(self._store.identity)
        counts = await self._worker.run(self._store.counts)
        log = await self._worker.run(self._store.last_log)
        targets = await self._worker.run(self._store.targets.everything)
        person = await self._onlooker()
        return Status(
            here=counts["here"],
            hub=counts["hub"],
            cloud=counts["cloud"],
            parked=counts["parked"],
            open_conflicts=await self.open_conflicts(),
            refused_upstream=tuple(await self._worker.run(self._store.refused_upstream)),
            target=target_of(identity, targets),
            targets=tuple(target_status(held) for held in targets),
            server_id=log.id.server_id if log is not None else None,
            clinic_id=identity.clinic_id,
            device_id=identity.device_id,
            site_id=identity.site_id,
            user_id=identity.user_id or None,
            email=identity.email,
            roles=person.roles,
            locked=person.is_locked,
            last_seq=identity.last_seq,
            cloud_through=identity.cloud_through,
            cloud_epoch=identity.cloud_epoch,
            keep_own_days=identity.keep_own_days,
        )

    async def safety(self, op_id: str) -> Level:
        """The safest place that an op has reached."""
        level = await self._worker.run(self._store.safety_of, uuid("op_id", op_id))
        if level is None:
            raise StoreError(f"there is no op {op_id} here")
        return level

    async def levels(self) -> Levels:
        """The same for many: how safe each op is, as it stands now."""
        return await self._worker.run(self._store.levels)

    async def parked(self) -> list[Parked]:
        """The ops that a server rejected for good, each with its reason. They are kept here, and nowhere else."""
        return await self._worker.run(self._store.parked)

    async def forget(self) -> int:
        """Let go of own ops that the cloud has and that are older than the clinic keeps them. Never done by itself."""
        return await self._worker.run(self._store.forget)

    async def verify_audit(self) -> int:
        """How many entries the audit has; StoreError where its chain does not hold."""
        return await self._worker.run(self._store.verify_audit)


class _Work:
    """The device's worker until it is closed; afterwards it says that the device was."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._is_closed = False

    async def run(self, fn: Callable[[*Ts], T], *args: *Ts) -> T:
        if self._is_closed:
            raise StoreError("this device was closed; open it again")
        return await self._worker.run(fn, *args)

    def close(self) -> None:
        self._is_closed = True
        self._worker.close()


def raw_key(key: bytes | str) -> bytes | str:
    """32 bytes, or 64 hex digits for them, are the key itself; any other text is a passphrase."""
    if isinstance(key, str) and len(key) == 64:
        try:
            return bytes.fromhex(key)
        except ValueError:
            return key
    return key


__all__ = [
    "Device", "HeldOp", "Level", "LoggedIn", "Machine", "Parked", "Progress", "Recorded", "Status", "SyncReport",
    "TargetStatus", "ToldConflict",
    "ToldRetract", "ToldSide",
]  # fmt: skip
