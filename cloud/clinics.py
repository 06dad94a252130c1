"""The clinics of a running cloud: what serves each is opened when it is first asked for, and a bounded number stays open.

Who was asked for least lately makes room, once nobody uses it: no stream, no snapshot, nothing that waits to be
written, and no request for longer than one may take. Where nobody can, a further clinic is told to come back later.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from medxz import limits
from medxz.errors import Overloaded

if TYPE_CHECKING:
    from cloud.epoch import Epoch
    from medxz.clock import Clock
    from medxz.service import Caller, ClinicServices
    from medxz.store.base import LogStore
    from medxz.store.views.follower import Follower


@dataclass(slots=True)
class OpenClinic:
    """One that is open. `used_at` is when it was last asked for."""

    clinic_id: str
    log: LogStore
    follower: Follower
    services: ClinicServices
    used_at: float = 0.0

    @property
    def is_in_use(self) -> bool:
        services = self.services
        return bool(services.pull.streams_open or services.snapshot.being_read or self.log.waiting_ops)

    async def close(self) -> None:
        await self.follower.close()
        await self.log.close()


Opener = Callable[[str], Awaitable[OpenClinic]]


class Clinics:
    """Those that are open, the one asked for least lately first."""

    def __init__(
        self, opener: Opener, epoch: Epoch, clock: Clock, open_max: int = limits.CLINICS_OPEN_MAX
    ) -> None:
        self._opener: Final = opener
        self._epoch: Final = epoch
        self._clock: Final = clock
        self._max: Final = open_max
        self._open: Final[OrderedDict[str, OpenClinic]] = OrderedDict()
        # a clinic is opened once however many ask for it, and not before it was closed to the end
        self._opening: Final[dict[str, asyncio.Task[OpenClinic]]] = {}
        self._closing: Final[dict[str, asyncio.Task[None]]] = {}
        self._transactions_before = 0

    def __iter__(self) -> Iterator[OpenClinic]:
        return iter(list(self._open.values()))

    def __len__(self) -> int:
        return len(self._open)

    @property
    def transactions(self) -> int:
        """Of all writers, those of clinics that were closed since included."""
        return self._transactions_before + sum(clinic.log.transactions for clinic in self)

    async def services_of(self, caller: Caller) -> ClinicServices:
        """What serves the caller's clinic; Overloaded where too many clinics are in use."""
        return (await self.get(caller.clinic_id)).services

    async def get(self, clinic_id: str) -> OpenClinic:
        """For a clinic that the authority knows."""
        clinic = self._open.get(clinic_id)
        if clinic is None:
            clinic = await self._opened(clinic_id)
        clinic.used_at = self._clock.monotonic()
        self._open.move_to_end(clinic_id)
        return clinic

    def wake(self, clinic_ids: Collection[str]) -> None:
        """What is known of these clinics changed: who waits on their logs looks again, and whether it may stay."""
        for clinic_id in clinic_ids:
            clinic = self._open.get(clinic_id)
            if clinic is not None:
                clinic.log.wake()

    async def begin_epoch(self, clinic: LogStore, epoch: str) -> None:
        """A new epoch for all of them, because this one's log went back."""
        await self._epoch.begin(epoch, instead_of=clinic.epoch)
        await self.take_epoch()

    async def take_epoch(self) -> None:
        """Give the epoch of now to those that are open; the others take it when they are opened."""
        for clinic in self:
            if clinic.log.epoch != self._epoch.epoch:
                await clinic.log.begin_epoch(self._epoch.epoch)
            clinic.log.wake()

    async def close(self) -> None:
        """Close all of them: what was taken in is written first."""
        for task in list(self._opening.values()):
            task.cancel()
        await asyncio.gather(*self._opening.values(), return_exceptions=True)
        for clinic_id in list(self._open):
            self._begin_to_close(clinic_id)
        await asyncio.gather(*self._closing.values())

    async def _opened(self, clinic_id: str) -> OpenClinic:
        task = self._opening.get(clinic_id)
        if task is None:
            self._make_room()
            task = asyncio.create_task(self._begin(clinic_id), name="open clinic")
            self._opening[clinic_id] = task
            task.add_done_callback(lambda _: self._opening.pop(clinic_id))
        return await asyncio.shield(task)  # who gives up does not take it from the others

    async def _begin(self, clinic_id: str) -> OpenClinic:
        closing = self._closing.get(clinic_id)
        if closing is not None:
            await asyncio.wait([closing])
        clinic = await self._opener(clinic_id)
        self._open[clinic_id] = clinic
        if clinic.log.epoch != self._epoch.epoch:  # it changed while the log was being opened
            await clinic.log.begin_epoch(self._epoch.epoch)
        return clinic

    def _make_room(self) -> None:
        if len(self._open) + len(self._opening) < self._max:
            return
        idle_since = self._clock.monotonic() - limits.CLINIC_IDLE_S
        for clinic_id, clinic in self._open.items():
            if clinic.used_at <= idle_since and not clinic.is_in_use:
                self._begin_to_close(clinic_id)
                return
        raise Overloaded(
            f"all of the {self._max} clinics that may be open at a time are in use",
            retry_after_s=limits.OVERLOADED_RETRY_S,
        )

    def _begin_to_close(self, clinic_id: str) -> None:
        clinic = self._open.pop(clinic_id)
        self._transactions_before += clinic.log.transactions
        task = asyncio.create_task(clinic.close(), name="close clinic")
        self._closing[clinic_id] = task
        task.add_done_callback(lambda _: self._closing.pop(clinic_id))
