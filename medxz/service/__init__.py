"""The use cases of a server: push, pull, resume, stream, status and what stands around them. No HTTP, no SQL.

`assemble` makes one server's services from the parts that it is given; a program chooses the parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medxz.clock import Clock
from medxz.ids import Ids
from medxz.service.describe import ClinicConfig, Describe
from medxz.service.enrolment import Enrolment
from medxz.service.gate import Caller, Gate
from medxz.service.health import Health
from medxz.service.metrics import Gauges, Metrics
from medxz.service.pull import Pull, StreamChunk
from medxz.service.push import Push
from medxz.service.reviews import Reviews
from medxz.service.seen import Seen
from medxz.service.standing import Standing
from medxz.service.throttle import Rates, Throttle
from medxz.service.upstream import ServerKind, Upstream
from medxz.store.registry import SqliteRegistry
from medxz.store.sqlite import SqliteLog
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
        status=Standing(log, upstream, seen),
        reviews=Reviews(log),
        enrolment=Enrolment(registry, parts.signer, describe.config, parts.ids, clock),
        describe=describe,
        health=Health(log, upstream, parts.folder),
        metrics=Metrics(_gauges(log, push, pull)),
    )


def _gauges(log: SqliteLog, push: Push, pull: Pull) -> Gauges:
    return Gauges(
        {
            "last_server_seq": ("The greatest server_seq.", lambda: log.last_seq),
            "waiting_ops": ("Ops that wait for the writer.", lambda: log.waiting_ops),
            "open_streams": ("Streams being read.", lambda: pull.streams_open),
        },
        push.counts,
        lambda: log.transactions,
    )
