"""The use cases of a server: the log up and down, what it amounts to, and what stands around it. No HTTP, no SQL.

A server has one `Services`, and one `ClinicServices` for each clinic that it serves: a hub has one clinic, a cloud many.
`assemble` and `assemble_clinic` make them from the parts that they are given; a program chooses the parts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from medxz.clock import Clock
from medxz.ids import Ids
from medxz.service.accounts import Accounts, Origin
from medxz.service.audit import Audit
from medxz.service.audited import Audited, NothingAudited
from medxz.service.backups import Backups, NoBackups
from medxz.service.configuration import Configuration
from medxz.service.conflicts import Conflicts
from medxz.service.describe import Describe
from medxz.service.entities import Entities
from medxz.service.fleet import Fleet, NoFleet
from medxz.service.gate import Caller, Gate, only_clinic
from medxz.service.health import Health
from medxz.service.list_cursor import ListCursors
from medxz.service.metrics import Gauges, Metrics, no_results
from medxz.service.noting import NothingNoted, Noting
from medxz.service.pull import Pull, StreamChunk
from medxz.service.push import Push
from medxz.service.releases import NoReleases, Releases
from medxz.service.reviews import Reviews
from medxz.service.seen import Seen
from medxz.service.snapshot import Snapshot
from medxz.service.standing import Standing
from medxz.service.throttle import Rates, Throttle
from medxz.service.upstream import Link, ServerKind, Upstream
from medxz.store.base import LogStore
from medxz.store.directory import ClinicConfig, Known
from medxz.store.views.follower import Follower
from medxz.work import Worker

__all__ = [
    "Accounts",
    "Caller",
    "ClinicConfig",
    "ClinicParts",
    "ClinicServices",
    "Gate",
    "Link",
    "Origin",
    "Rates",
    "ServerParts",
    "Services",
    "StreamChunk",
    "Throttle",
    "Upstream",
    "assemble",
    "assemble_clinic",
    "only",
    "only_clinic",
]


@dataclass(frozen=True, slots=True)
class ClinicParts:
    """What a program hands in for one clinic: its log, what is known of it, and whom the server lets in.

    `worker` hashes long pushes, `reading` works entities out. `begin_epoch` gives the log a new epoch. What is read is
    noted in `notes`, and `audit` shows an administrator what was noted. `counts` has the results of pushes, by status;
    clinics of one server share it. `hubs_push`: whether hubs hand ops up here, or read alone.
    """

    log: LogStore
    known: Known
    upstream: Upstream
    follower: Follower
    gate: Gate
    throttle: Throttle
    begin_epoch: Callable[[str], Awaitable[None]]
    clock: Clock
    ids: Ids
    worker: Worker
    reading: Worker
    notes: Audit = field(default_factory=NothingNoted)
    audit: Audited = field(default_factory=NothingAudited)
    counts: dict[str, int] = field(default_factory=no_results)
    cloud_ca_certificates: Sequence[str] = ()
    hubs_push: bool = True


@dataclass(frozen=True, slots=True)
class ClinicServices:
    """The use cases of one clinic on one server, as the HTTP face asks them."""

    push: Push
    pull: Pull
    snapshot: Snapshot
    entities: Entities
    conflicts: Conflicts
    status: Standing
    reviews: Reviews
    config: Configuration
    audit: Audited


@dataclass(frozen=True, slots=True)
class ServerParts:
    """What a program hands in for the server as a whole.

    `epoch` is the one of now. `clinic` gives the services of a caller's clinic, opened where they were not.
    """

    kind: ServerKind
    version: str
    server_id: str
    epoch: Callable[[], str]
    gate: Gate
    throttle: Throttle
    accounts: Accounts
    clinic: Callable[[Caller], Awaitable[ClinicServices]]
    health: Health
    gauges: Gauges
    dictionaries: Sequence[bytes]
    clock: Clock
    releases: Releases = field(default_factory=NoReleases)
    backups: Backups = field(default_factory=NoBackups)
    fleet: Fleet = field(default_factory=NoFleet)


@dataclass(frozen=True, slots=True)
class Services:
    """One server's use cases, as the HTTP face asks them."""

    gate: Gate
    throttle: Throttle
    accounts: Accounts
    clinic: Callable[[Caller], Awaitable[ClinicServices]]
    describe: Describe
    health: Health
    metrics: Metrics
    releases: Releases
    backups: Backups
    fleet: Fleet


def only(clinic: ClinicServices) -> Callable[[Caller], Awaitable[ClinicServices]]:
    """For a server of one clinic: its services, whoever of it asks."""

    async def services_of(_caller: Caller) -> ClinicServices:
        return clinic

    return services_of


def assemble_clinic(parts: ClinicParts) -> ClinicServices:
    """Put the use cases of one clinic together."""
    log, known, gate = parts.log, parts.known, parts.gate
    seen, cursors = Seen(parts.clock), ListCursors(log)
    noting = Noting(parts.notes, log.clinic_id)
    return ClinicServices(
        push=Push(
            log,
            known,
            parts.upstream,
            parts.throttle,
            seen,
            parts.worker,
            counts=parts.counts,
            hubs_push=parts.hubs_push,
        ),
        pull=Pull(log, gate, seen, parts.begin_epoch, parts.ids, parts.clock),
        snapshot=Snapshot(log, gate, noting, parts.reading),
        entities=Entities(log, parts.follower, cursors, noting, parts.reading),
        conflicts=Conflicts(parts.follower, cursors, noting),
        status=Standing(log, parts.upstream, seen, parts.follower),
        reviews=Reviews(log, cursors),
        config=Configuration(known, parts.cloud_ca_certificates),
        audit=parts.audit,
    )


def assemble(parts: ServerParts) -> Services:
    """Put the use cases of one server together."""
    return Services(
        gate=parts.gate,
        throttle=parts.throttle,
        accounts=parts.accounts,
        clinic=parts.clinic,
        describe=Describe(
            parts.kind, parts.version, parts.server_id, parts.epoch, parts.dictionaries, parts.clock
        ),
        health=parts.health,
        metrics=Metrics(parts.gauges),
        releases=parts.releases,
        backups=parts.backups,
        fleet=parts.fleet,
    )
