"""Opening a clinic: its log and its views put together with what serves every clinic of the cloud."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cloud.clinics import OpenClinic
from cloud.followers import FollowerWhenAsked
from medxz.service import ClinicParts, Upstream, assemble_clinic
from medxz.service.audit import AuditView
from medxz.service.list_cursor import ListCursors
from medxz.service.metrics import no_results

if TYPE_CHECKING:
    from cloud.doors import Doors
    from cloud.followers import Following
    from cloud.logs import Logs, ViewsFiles
    from medxz.service import Throttle
    from medxz.store.base import LogStore
    from medxz.work import Worker

BeginEpoch = Callable[["LogStore", str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Shared:
    """What every clinic of one process is served with."""

    logs: Logs
    views: ViewsFiles
    following: Following
    doors: Doors
    throttle: Throttle
    hashing: Worker
    reading: Worker
    tell: Callable[[str], None]
    counts: dict[str, int] = field(default_factory=no_results)


async def open_clinic(shared: Shared, begin_epoch: BeginEpoch, clinic_id: str) -> OpenClinic:
    """What serves one clinic of this cloud; Forbidden where there is none of that id."""
    doors = shared.doors
    known = await doors.directories.of(clinic_id)
    log = await shared.logs.open(clinic_id)

    async def begin(epoch: str) -> None:
        await begin_epoch(log, epoch)

    views = shared.views.of(clinic_id)
    follower = FollowerWhenAsked(log, views, doors.clock, shared.tell, shared.following)
    services = assemble_clinic(
        ClinicParts(
            log=log,
            known=known,
            upstream=Upstream("cloud", log, known),
            follower=follower,
            gate=doors.gate,
            throttle=shared.throttle,
            begin_epoch=begin,
            clock=doors.clock,
            ids=doors.ids,
            worker=shared.hashing,
            reading=shared.reading,
            notes=doors.notes,
            audit=AuditView(doors.transactions, clinic_id, ListCursors(log), doors.notes),
            counts=shared.counts,
        )
    )
    return OpenClinic(clinic_id, log, follower, services)
