"""A running hub's care for itself: it measures every half minute, tells, and does what it can about it.

- Little room: old backups on its own disk go, before anything is refused (medxz/store/room.py refuses in time).
- A write-ahead log that has grown: it is copied into its file.
- A backup that the cloud could not be reached for: it is carried up once it can be.
- A part that ended or stands still: `broken` returns, and the serving is begun anew (hub/care/parts.py).

Nothing else on the machine is touched: no file that the hub did not make, no other process.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from structlog.typing import FilteringBoundLogger

from hub.backup.backups import Backups
from hub.backup.making import local_folder
from hub.care.checks import (
    check_backup,
    check_certificate,
    check_memory,
    check_temperature,
    check_wal,
    check_wear,
    wal_bytes,
)
from hub.care.disks import disks_worn
from hub.care.machine import Machine, Memory, Wear
from hub.care.parts import Parts, Restarts
from hub.courier.standing import CourierStanding
from hub.storage import Storage
from medxz import limits
from medxz.clock import parse_time
from medxz.errors import MedxzError
from medxz.ids import made_ms_of
from medxz.service.health import Checking
from medxz.store.room import room_of
from medxz.web.log import told
from medxz.wire import Check

EVERY_S: Final = 30.0
DISKS_EVERY_S: Final = 3_600.0
_UNKNOWN: Final = float("nan")

Gauges = Mapping[str, tuple[str, Callable[[], float]]]


@dataclass(frozen=True, slots=True)
class Cared:
    """What is cared for. `serves_until_ms`: the end of the certificate that is shown, None without TLS; `courier` is a claimed hub's."""

    storage: Storage
    backups: Backups
    parts: Parts
    restarts: Restarts
    has_cloud: bool
    serves_until_ms: Callable[[], int | None]
    machine: Machine = field(default_factory=Machine)
    disks: Callable[[], Wear | None] = disks_worn
    courier: CourierStanding | None = None


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was measured last."""

    temperature_c: float | None = None
    memory: Memory | None = None
    wear: Wear | None = None
    wal: int = 0


class Care:
    """One running hub's."""

    def __init__(self, cared: Cared, say: FilteringBoundLogger) -> None:
        self._cared: Final = cared
        self._say: Final = say
        self._seen = _Seen()
        self._disks: Wear | None = None
        self._broken: Final = asyncio.Event()
        self.measure()

    @property
    def backups(self) -> Backups:
        return self._cared.backups

    @property
    def courier(self) -> CourierStanding | None:
        return self._cared.courier

    def measure(self) -> None:
        """A few small files of the kernel's, and what the disks told last."""
        machine = self._cared.machine
        self._seen = _Seen(
            machine.temperature_c(),
            machine.memory(),
            max(filter(None, (machine.wear(), self._disks)), key=Wear.how_bad, default=None),
            wal_bytes(self._cared.storage.places.store),
        )

    async def run(self) -> None:
        """Until it is cancelled."""
        clock, asked_s = self._cared.storage.clock, -math.inf
        while True:
            self.measure()
            try:
                await self._act()
                if clock.monotonic() - asked_s >= DISKS_EVERY_S:
                    asked_s = clock.monotonic()
                    self._disks = await asyncio.to_thread(self._cared.disks)
            except (MedxzError, OSError) as error:
                self._say.error("care broke", **told(error))
            self._look_at_parts()
            await clock.sleep(EVERY_S)

    async def broken(self) -> str:
        """Wait for a part that has to be begun again; which, and why."""
        await self._broken.wait()
        return self._cared.parts.broken or ""

    # ------------------------------------------------------------------------------------- what is done

    async def _act(self) -> None:
        storage, wal = self._cared.storage, self._seen.wal
        await self._cared.backups.go_on()
        if self._cared.courier is not None:
            await self._cared.courier.keep()
        if room_of(storage.places.data).free < limits.DISK_FREE_BYTES_MIN:
            await self._make_room()
        if wal > limits.WAL_BYTES_MAX:
            self._say.warning("the write-ahead log has grown", bytes=wal)
            await storage.log.checkpoint()

    async def _make_room(self) -> None:
        """The hub's own backups go first; the last one only where one has left the box, and not where it is to follow."""
        storage, note = self._cared.storage, self._cared.backups.note
        folder = local_folder(storage.places, storage.log.server_id)
        kept = 0 if note.carried_at is not None and not note.owed else 1
        if len(folder.all()) > kept and not self._cared.backups.is_running:
            gone = await asyncio.to_thread(folder.keep_newest, kept)
            self._say.warning("little room: backups on this disk were let go", count=len(gone))

    def _look_at_parts(self) -> None:
        cared = self._cared
        clock = cared.storage.clock
        why = cared.parts.look()
        is_full = room_of(
            cared.storage.places.data
        ).is_full  # then nothing gets better by it, and it may not start
        if why is not None and not is_full and cared.restarts.may_again(clock):
            self._say.error("a part is begun again", detail=why)
            cared.restarts.note(why, clock)
            self._broken.set()

    # ------------------------------------------------------------------------------------- what is told

    def checks(self) -> Sequence[Checking]:
        """For /health."""
        every: list[Callable[[], Check]] = [
            lambda: check_wear(self._seen.wear),
            lambda: check_temperature(self._seen.temperature_c),
            lambda: check_memory(self._seen.memory),
            lambda: check_wal(self._seen.wal),
            self._certificate,
            self._backup,
            self._parts,
            *([self._cared.courier.check] if self._cared.courier is not None else []),
        ]
        return [partial(self._told, check) for check in every]

    async def _told(self, check: Callable[[], Check]) -> Check:
        self.measure()
        return check()

    def _backup(self) -> Check:
        storage = self._cared.storage
        return check_backup(
            self._cared.backups.note,
            has_cloud=self._cared.has_cloud,
            made_ms=made_ms_of(storage.log.server_id),
            now_ms=storage.clock.now_ms(),
        )

    def _parts(self) -> Check:
        broken, restarts = self._cared.parts.broken, self._cared.restarts
        if broken is not None:
            return Check(name="parts", ok=False, detail=broken)
        again = (
            f"begun again {restarts.count} times, last: {restarts.told}" if restarts.count else "all at work"
        )
        return Check(name="parts", ok=True, detail=again)

    def _certificate(self) -> Check:
        return check_certificate(self._cared.serves_until_ms(), self._cared.storage.clock.now_ms())

    def gauges(self) -> Gauges:
        """For /metrics; what the machine does not tell is NaN."""
        cared, places = self._cared, self._cared.storage.places
        note = cared.backups

        def available() -> float:
            self.measure()
            return self._seen.memory.available if self._seen.memory is not None else _UNKNOWN

        def temperature() -> float:
            return self._seen.temperature_c if self._seen.temperature_c is not None else _UNKNOWN

        def worn() -> float:
            percent = self._seen.wear.percent if self._seen.wear is not None else None
            return percent if percent is not None else _UNKNOWN

        return {
            **(cared.courier.gauges() if cared.courier is not None else {}),
            "memory_available_bytes": ("What programs can still have.", available),
            "temperature_celsius": ("Of the hottest sensor.", temperature),
            "wear_percent": ("How much of the life of the card or disk is used up that is worn most.", worn),
            "disk_free_bytes": ("Free on the disk of the store.", lambda: room_of(places.data).free),
            "disk_bytes": ("Size of that disk.", lambda: room_of(places.data).total),
            "wal_bytes": ("The write-ahead log.", lambda: wal_bytes(places.store)),
            "certificate_until_seconds": (
                "When the certificate that is shown ends.",
                lambda: (cared.serves_until_ms() or 0) / 1_000,
            ),
            "backup_made_seconds": ("When the last backup was made.", lambda: _seconds(note.note.made_at)),
            "backup_carried_seconds": (
                "Of when the last backup is that left the box.",
                lambda: _seconds(note.note.carried_at),
            ),
            "backup_bytes": ("How long the last backup is.", lambda: note.note.bytes),
            "backup_failed": (
                "1 where the last backup failed.",
                lambda: float(note.note.trouble is not None),
            ),
            "parts_begun_again": (
                "Parts that were begun again since the start.",
                lambda: cared.restarts.count,
            ),
        }


def _seconds(moment: str | None) -> float:
    return parse_time(moment) / 1_000 if moment is not None else 0.0
