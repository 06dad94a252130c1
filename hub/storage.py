"""The hub's store, open: the encrypted file, what reads and writes it, and the lock that keeps others out.

Refused: a directory in which no hub was made, and one that another process uses.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

import msgspec

from hub.clock import HubClock
from hub.config import HubPlaces
from hub.recovery.incidents import Incidents
from hub.recovery.keepsake import Kept, KeptShape, read_keepsake, write_keepsake
from hub.recovery.mending import Mending
from medxz.clock import Clock, parse_time
from medxz.errors import MedxzError, StoreDamaged, StoreError, StoreKeyWrong
from medxz.ids import Ids
from medxz.op import Operation
from medxz.program.errors import CommandFailed
from medxz.program.lock import LOCK_WAIT_S, lock_held, lock_held_now
from medxz.store.authority.secrets import Seal
from medxz.store.authority.sqlite import SqliteTransactions, open_sqlite
from medxz.store.base import Append
from medxz.store.damage import Damage
from medxz.store.files import LogFile
from medxz.store.passed import PassedSessions
from medxz.store.registry import SqliteRegistry
from medxz.store.rescue.pages import PageCheck
from medxz.store.sqlite import SqliteLog, Workers, open_log
from medxz.store.views.file import ViewsFile
from medxz.work import ThreadWorker

_IN_USE: Final = "stop that one first, or talk to it: medxz-hub status"


@dataclass(frozen=True, slots=True)
class Storage:
    """The log and the registry, which share a file and its one writer; and the file of what is derived from them."""

    log: SqliteLog
    registry: SqliteRegistry
    sessions: PassedSessions
    file: LogFile
    views: ViewsFile
    workers: Workers
    places: HubPlaces
    clock: HubClock
    key: bytes
    mending: Mending | None
    damage: Damage = field(default_factory=Damage)
    held: list[PageCheck] = field(default_factory=list)

    def page_checks(self) -> list[PageCheck]:
        """Of the files that are there; held until every connection to them is closed."""
        for path in (self.places.store, self.places.audit):
            if path.is_file() and path not in {check.path for check in self.held}:
                self.held.append(PageCheck(path, self.key))
        return self.held

    async def open_audit(self) -> SqliteTransactions:
        """The audit's file, which is made where there is none; a damaged one is replaced where damage is mended."""
        try:
            opened = await self._open_audit()
        except StoreError as error:
            if self.mending is None:
                raise
            await self.workers.checkpointer.run(self.mending.mend, error, self.places.audit)
            opened = await self._open_audit()
        await keep_identity(self, {self.places.audit.name: KeptShape.of(await opened.shape())})
        return opened

    async def _open_audit(self) -> SqliteTransactions:
        return await open_sqlite(self.places.audit, self.key, ThreadWorker("audit"), self.damage)

    def seal(self) -> Seal:
        return Seal(self.key)


@asynccontextmanager
async def open_storage(
    places: HubPlaces,
    key: Callable[[], bytes],
    clock: Clock,
    *,
    lock_wait_s: float = LOCK_WAIT_S,
    mending: Ids | None = None,
) -> AsyncIterator[Storage]:
    """The store under its lock; on leaving, what waits is written and the file is closed.

    `clock` is the machine's, or the hub's over it, which goes on from where this store says. `key` is asked for once
    there is something to open with it. Another command may hold the lock for a moment, which is waited for. With
    `mending` (by which a new epoch is named) a damaged file is replaced; without, it is told and let be.
    """
    begun = any(incident.state == "begun" for incident in Incidents(places.data).all())
    if not places.store.is_file() and not begun:
        raise CommandFailed(
            f"there is no hub in {places.data}", f"make one: medxz-hub init --data {places.data} --clinic ID"
        )
    clock = clock if isinstance(clock, HubClock) else HubClock(clock)
    async with lock_held(places.lock, clock, wait_s=lock_wait_s, hint=_IN_USE):
        workers, deriving = Workers.threads(), ThreadWorker("views")
        try:
            secret = key()
            if begun and mending is None:
                raise StoreDamaged(f"a file in {places.data} was found damaged and is being replaced")
            mend = Mending(places, secret, clock, mending) if mending is not None else None
            views = ViewsFile(places.views, secret, deriving)
            storage = await _opened(places, secret, clock, workers, views, mend)
            try:
                await clock.begin(storage.registry, await _last_received_ms(storage.log))
                await _take_back(storage)
                yield storage
                await clock.try_to_keep()
            finally:
                await storage.log.close()
                for check in storage.held:
                    check.close()
        finally:
            workers.close()
            deriving.close()


async def _opened(
    places: HubPlaces, key: bytes, clock: HubClock, workers: Workers, views: ViewsFile, mend: Mending | None
) -> Storage:
    """Open, and everything read without which nothing goes on."""

    async def attempt() -> Storage:
        damage = Damage()
        log, file = await open_log(places.store, key, clock, workers, damage)
        try:
            registry, sessions = SqliteRegistry(file, log, log.wake), PassedSessions(file, log)
            storage = Storage(log, registry, sessions, file, views, workers, places, clock, key, mend, damage)
            await keep_identity(storage, {places.store.name: KeptShape.of(await registry.shape())})
        except BaseException:
            with suppress(MedxzError):
                await log.close()
            raise
        registry.after_secret = lambda: keep_identity(storage, {})
        return storage

    if mend is None:
        try:
            return await attempt()
        except StoreKeyWrong:
            if read_keepsake(places.keepsake, key) is None:
                raise
            raise StoreDamaged(f"{places.store} is damaged: its key is right, and it does not open") from None
    await workers.checkpointer.run(mend.prepare)
    try:
        return await attempt()
    except StoreError as error:
        await workers.checkpointer.run(mend.mend, error, places.store)
    return await attempt()


async def keep_identity(storage: Storage, shapes: dict[str, KeptShape]) -> None:
    """Let the keepsake say what the store says; and how these files are laid out, the others as it said before."""
    secrets = await storage.registry.secrets()
    places, log = storage.places, storage.log

    def write() -> None:
        before = read_keepsake(places.keepsake, storage.key)
        kept = Kept(
            server_id=log.server_id,
            clinic_id=storage.file.identity.clinic_id,
            secrets={name: value.hex() for name, value in sorted(secrets.items())},
            shapes={**(before.shapes if before is not None else {}), **shapes},
        )
        with suppress(OSError):  # on a full disk the store is what counts; the next start tries again
            write_keepsake(places.keepsake, storage.key, kept)

    await storage.workers.checkpointer.run(write)


async def _take_back(storage: Storage) -> None:
    """Where a power cut tore the last transaction: whoever was told of it all the same asks anew, in another epoch."""
    if storage.mending is None or not storage.mending.is_torn:
        return
    await storage.log.begin_epoch(storage.mending.ids.uuid7())
    ops = [op for op in storage.mending.torn if op.clinic_id == storage.log.clinic_id]
    if ops:
        await storage.log.append(Append(ops, [op.json()[1:] for op in ops], lenient=True))


async def _last_received_ms(log: SqliteLog) -> int:
    """When the newest op came; 0 where there is none."""
    found = await log.ops_after(log.last_seq - 1, 1) if log.last_seq else []
    received = [msgspec.json.decode(text, type=Operation).server_received_at for text in found]
    return max((parse_time(text) for text in received if text is not None), default=0)


@contextmanager
def locked(places: HubPlaces) -> Iterator[None]:
    """Hold the directory, or refuse at once where somebody else does."""
    with lock_held_now(places.lock, _IN_USE):
        yield
