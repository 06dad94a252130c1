"""The device as one side of a replication: its store behind a worker, and what it asks of a server it meets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from medxz.clock import Clock
from medxz.device.store import DeviceStore
from medxz.device.store.identity import Identity, public_key_text
from medxz.device.store.renewal import NewIdentity
from medxz.errors import PeerUnreachable
from medxz.have import Have
from medxz.ids import Ids
from medxz.op import Operation
from medxz.replicate import LogId, Meeting, Outgoing, Remote, SnapshotHead, prove_it_went_back
from medxz.work import Worker

if TYPE_CHECKING:
    from medxz import wire

CONFIG_EVERY_MS: Final = 3_600_000


class DeviceSide:
    """`medxz.replicate.Local` over a device's store, towards the server at one address."""

    def __init__(
        self, store: DeviceStore, worker: Worker, clock: Clock, ids: Ids, identity: Identity, *,
        become_another: Callable[[], None] = lambda: None, url: str | None = None,
    ) -> None:  # fmt: skip
        """Without `url`, the server that the device began with."""
        self._store = store
        self._worker = worker
        self._clock = clock
        self._ids = ids
        self._url = url or identity.server_url
        self._become_another = become_another
        self._snapshot: int | None = None

    async def meet(self, remote: Remote) -> Meeting:
        status = await remote.status()
        log = LogId(status.server_id, status.epoch)
        kind = None
        known = await self._worker.run(self._store.knows, log)
        if not known and (later := await self._worker.run(self._store.later_cursor, log)) is not None:
            await prove_it_went_back(remote, later)
            status = await remote.status()
            log = LogId(status.server_id, status.epoch)
        if not known:
            info = await remote.info()
            if info.server_id != log.server_id:
                raise PeerUnreachable(f"{self._url} says that it is two servers")
            kind = info.kind
        if status.scope is not None:
            await self._worker.run(self._store.snapshots.hold_only, status.scope)
        meeting = await self._worker.run(self._store.meet, status, self._url, kind)
        await self._configure(remote, log, at_once=not known)
        return meeting

    async def _configure(self, remote: Remote, log: LogId, *, at_once: bool) -> None:
        identity = await self._worker.run(self._store.identity)
        age_ms = self._clock.now_ms() - (identity.configured_ms or 0)
        if at_once or not 0 <= age_ms < CONFIG_EVERY_MS:
            await self._worker.run(self._store.configure, await remote.config(), log)

    async def report(self, remote: Remote, log: LogId) -> None:
        """A device's rejections are kept where they happen: there is nothing to tell."""

    async def outbox(self, log: LogId, after: int, ops_max: int, bytes_max: int) -> Sequence[Outgoing]:
        return await self._worker.run(self._store.outbox, log, after, ops_max, bytes_max)

    async def waiting(self, log: LogId) -> int:
        return await self._worker.run(self._store.waiting, log)

    async def settle(self, batch: Sequence[Outgoing], answer: wire.PushAnswer) -> bool:
        return await self._worker.run(self._store.settle, self._url, batch, answer)

    async def park(self, log: LogId, op: Outgoing, code: str, message: str) -> None:
        await self._worker.run(self._store.park, log, self._url, op, code, message)

    async def cursor(self, log: LogId) -> str | None:
        return await self._worker.run(self._store.cursor, log)

    async def begin_at(self, log: LogId, cursor: str) -> None:
        await self._worker.run(self._store.begin_at, log, self._url, cursor)

    async def have(self) -> Have:
        return await self._worker.run(self._store.have)

    async def apply(self, log: LogId, ops: Sequence[Operation], cursor: str) -> Sequence[Operation]:
        return await self._worker.run(self._store.apply, log, self._url, ops, cursor)

    async def wants_snapshot(self) -> bool:
        return await self._worker.run(self._store.snapshots.are_wanted)

    async def begin_snapshot(self, head: SnapshotHead) -> bool:
        self._snapshot = await self._worker.run(self._store.snapshots.begin, head)
        return self._snapshot is not None

    async def take_snapshot(self, lines: Sequence[bytes]) -> None:
        if self._snapshot is None:
            raise AssertionError("a snapshot is begun before its lines come")
        await self._worker.run(self._store.snapshots.take, self._snapshot, lines)

    async def end_snapshot(self, head: SnapshotHead) -> bool:
        if self._snapshot is None:
            raise AssertionError("a snapshot is begun before it ends")
        is_ours = await self._worker.run(self._store.snapshots.end, self._snapshot, head, self._url)
        await self._worker.run(self._store.snapshots.tidy)
        return is_ours

    async def take_new_identity(self, remote: Remote) -> int:
        """Ask with a key that is kept before it is sent: after a crash the same question is asked again."""
        from medxz import wire

        identity = await self._worker.run(self._store.identity)
        if not identity.identity_taken:
            return 0
        private_key = await self._worker.run(self._store.next_private_key)
        answer = await remote.reenrol(
            wire.ReenrolRequest(name=identity.name, public_key=public_key_text(private_key))
        )
        if answer.clinic_id != identity.clinic_id or answer.device_id == identity.device_id:
            raise PeerUnreachable(f"{self._url} gave no new identity in this device's clinic")
        new = NewIdentity(answer.device_id, answer.access_token, answer.refresh_token, private_key)
        again = await self._worker.run(self._store.renew, new, self._ids)
        self._become_another()
        return again
