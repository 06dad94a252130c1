"""What this process knows of each clinic, kept up with what it and all other processes write.

A change that was made here is known before whoever made it goes on. One that was made elsewhere is heard of where the
database can tell, and found by looking everywhere. Nobody holds what has become old: as long as somebody uses what is
known of a clinic, it is brought up to date. It is compared by the nonce of its revision, which no other revision has: the
database may have been restored, and have come to the same number again with something else.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Final
from weakref import WeakValueDictionary

from medxz import limits
from medxz.clock import Clock
from medxz.errors import Forbidden, MedxzError
from medxz.store.authority import clinics
from medxz.store.authority.base import Transactions, Tx
from medxz.store.authority.loading import Loaded, load
from medxz.store.directory import ClinicConfig, Directory
from medxz.wire import Target

ClinicChanged = Callable[[str], None]


class AuthorityKnown:
    """A `Known` (medxz/store/directory.py) of one clinic."""

    def __init__(self, clinic_id: str) -> None:
        self.clinic_id: Final = clinic_id
        self.directory: Directory = Directory()
        self.config: ClinicConfig = ClinicConfig()
        self.nonce: int | None = None
        self.refreshing: Final = asyncio.Lock()

    def put(self, loaded: Loaded) -> None:
        self.directory, self.config, self.nonce = loaded.directory, loaded.config, loaded.nonce


class Directories:
    """What is known of every clinic that somebody asks for. One instance a process."""

    def __init__(
        self, transactions: Transactions, clock: Clock, cloud: Target | None = None,
        kept_max: int = limits.DIRECTORIES_MAX,
    ) -> None:  # fmt: skip
        """`cloud`: where devices reach this cloud; it stands behind the hubs among their targets."""
        self._transactions: Final = transactions
        self._clock: Final = clock
        self._cloud: Final = cloud
        self._kept_max: Final = kept_max
        self._live: Final[WeakValueDictionary[str, AuthorityKnown]] = WeakValueDictionary()
        self._kept: Final[OrderedDict[str, AuthorityKnown]] = OrderedDict()
        self._listeners: Final[list[ClinicChanged]] = []
        self._heard: Final[set[str]] = set()
        self._look: Final = asyncio.Event()
        self._total: tuple[int, int] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._hints: Final = transactions.hints(self._hear)
        transactions.on_change(self._changed_here)

    def on_change(self, listener: ClinicChanged) -> None:
        """Tell this listener of each clinic whose directory has become another, once it is known."""
        self._listeners.append(listener)

    def open(self) -> None:
        """Begin to watch for what other processes change."""
        if self._hints is not None:
            self._hints.open()
        self._tasks = [
            asyncio.create_task(self._watch(), name="directories"),
            asyncio.create_task(self._poll(), name="directories' poll"),
        ]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._hints is not None:
            await self._hints.close()

    async def of(self, clinic_id: str) -> AuthorityKnown:
        """What is known of a clinic, now and from now on; Forbidden where there is none of that id."""
        known = self._live.get(clinic_id)
        if known is None:
            known = self._live[clinic_id] = AuthorityKnown(clinic_id)
        if known.nonce is None:
            await self._refresh(known)
            if known.nonce is None:
                raise Forbidden("this server has no such clinic")
        self._kept[clinic_id] = known
        self._kept.move_to_end(clinic_id)
        if len(self._kept) > self._kept_max:
            self._kept.popitem(last=False)
        return known

    async def refresh(self, clinic_id: str) -> None:
        """Know what was committed before this was called."""
        known = self._live.get(clinic_id)
        if known is not None:
            await self._refresh(known)

    async def _refresh(self, known: AuthorityKnown) -> None:
        async def read(tx: Tx) -> Loaded | None:
            return await load(tx, known.clinic_id, known.nonce, self._cloud)

        async with known.refreshing:  # one after another, so that none puts back what is older
            loaded = await self._transactions.read(read)
            if loaded is None:
                return
            is_new = known.nonce is None
            known.put(loaded)
        if not is_new:
            for listener in self._listeners:
                listener(known.clinic_id)

    async def _changed_here(self, clinic_ids: Collection[str]) -> None:
        for clinic_id in clinic_ids:
            if self._hints is not None:
                self._hints.tell(clinic_id)
            with suppress(MedxzError):  # it was committed all the same: looking finds it
                await self.refresh(clinic_id)

    def _hear(self, clinic_id: str | None) -> None:
        if clinic_id is None:
            self._total = None
        else:
            self._heard.add(clinic_id)
        self._look.set()

    async def _watch(self) -> None:
        """Look when something was heard."""
        while True:
            await self._look.wait()
            self._look.clear()
            with suppress(MedxzError):  # the next look finds it
                while self._heard:
                    await self.refresh(self._heard.pop())
                if self._total is None:
                    await self._look_at_all()

    async def _poll(self) -> None:
        """Look at what nobody told of."""
        while True:
            await self._clock.sleep(limits.DIRECTORIES_POLL_S)
            with suppress(MedxzError):
                await self._look_at_all()

    async def _look_at_all(self) -> None:
        total = await self._transactions.read(clinics.total_nonce)
        if total == self._total:
            return
        nonces = await self._transactions.read(clinics.nonces)
        for known in list(self._live.values()):
            if known.nonce != nonces.get(known.clinic_id):
                await self._refresh(known)
        self._total = total
