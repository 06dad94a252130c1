"""The use cases of a server: the log up and down, what it amounts to, and what stands around it. No HTTP, no SQL.

`assemble` makes one server's services from the parts that it is given; a program chooses the parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medxz.clock import Clock
from medxz.ids import Ids
from medxz.service.conflicts import Conflicts
from medxz.service.describe import Describe
from medxz.service.enrolment import Enrolment
from medxz.service.entities import Entities
from medxz.service.gate import Caller, Gate
from medxz.service.health import Health
from medxz.service.list_cursor import ListCursors
from medxz.service.metrics import Gauges, Metrics
from medxz.service.pull import Pull, StreamChunk
from medxz.service.push import Push
from medxz.service.reviews import Reviews
from medxz.service.seen import Seen
from medxz.service.snapshot import Snapshot
from medxz.service.standing import Standing
from medxz.service.throttle import Rates, Throttle
from medxz.service.upstream import ServerKind, Upstream
from medxz.store.directory import ClinicConfig
from medxz.store.registry import SqliteRegistry
from medxz.store.sqlite import SqliteLog
from medxz.store.views.follower import Follower
from medxz.trust.tokens import TokenSigner, TokenVerifier
from medxz.work import Worker

__all__ = ["Caller", "ClinicConfig", "Parts", "Rates", "Services", "StreamChunk", "assemble"]


@dataclass(frozen=True, slots=True)
class Parts:
    """What a program hands in: the store, whom it trusts, time and chance, and what the clinic decided."""

    kind: ServerKind
    version: str
    folder: Path
    log: SqliteLog
    registry: SqliteRegistry
    verifier: TokenVerifier
    signer: TokenSigner
    clock: Clock
    ids: Ids
    worker: Worker
    reading: Worker
    follower: Follower
    config: ClinicConfig
    rates: Rates
    dictionaries: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Services:
    """One server's use cases, as the HTTP face asks them."""

    gate: Gate
    throttle: Throttle
    push: Push
    pull: Pull
    snapshot: Snapshot
    entities: Entities
    conflicts: Conflicts
    status: Standing
    reviews: Reviews
    enrolment: Enrolment
    describe: Describe
    health: Health
    metrics: Metrics


def assemble(parts: Parts) -> Services:
    """Put one server's use cases together."""
    log, registry, clock = parts.log, parts.registry, parts.clock
    upstream = Upstream(parts.kind, log, registry)
    gate = Gate(parts.verifier, registry, log.clinic_id, clock)
    throttle = Throttle(parts.rates, clock)
    seen = Seen(clock)
    describe = Describe(parts.kind, parts.version, log, parts.config, parts.dictionaries, clock)
    pull = Pull(log, gate, seen, parts.ids, clock)
    snapshot = Snapshot(log, gate, parts.reading)
    cursors = ListCursors(log)
    push = Push(
        log,
        registry,
        upstream,
        throttle,
        seen,
        parts.worker,
        require_signed_ops=parts.config.require_signed_ops,
    )
    return Services(
        gate=gate,
        throttle=throttle,
        push=push,
        pull=pull,
        snapshot=snapshot,
        entities=Entities(log, parts.follower, cursors, parts.reading),
        conflicts=Conflicts(parts.follower, cursors),
        status=Standing(log, upstream, seen, parts.follower),
        reviews=Reviews(log),
        enrolment=Enrolment(registry, parts.signer, describe.config, parts.ids, clock),
        describe=describe,
        health=Health(log, upstream, parts.folder, parts.follower),
        metrics=Metrics(_gauges(parts, push, pull, snapshot)),
    )


def _gauges(parts: Parts, push: Push, pull: Pull, snapshot: Snapshot) -> Gauges:
    log = parts.log
    return Gauges(
        {
            "last_server_seq": ("The greatest server_seq.", lambda: log.last_seq),
            "waiting_ops": ("Ops that wait for the writer.", lambda: log.waiting_ops),
            "views_through": (
                "The server_seq up to which lists know the log.",
                lambda: parts.follower.through,
            ),
            "open_streams": ("Streams being read.", lambda: pull.streams_open),
            "open_snapshots": ("Snapshots being read.", lambda: snapshot.being_read),
        },
        push.counts,
        lambda: log.transactions,
    )
