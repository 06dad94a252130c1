"""What lets people and devices in to a running hub, and how it stands with its cloud: of a hub alone, or of one claimed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from structlog.typing import FilteringBoundLogger

from hub.advertise.presence import Presence
from hub.config import Settings
from hub.identity import HubIdentity
from hub.storage import Storage
from hub.trusted import Trusted
from medxz.clock import Clock
from medxz.errors import MedxzError
from medxz.ids import Ids
from medxz.service import Accounts, Link
from medxz.service.alone import Alone
from medxz.service.audit import Audit, AuditNotes, AuditView
from medxz.service.audited import Audited
from medxz.service.list_cursor import ListCursors
from medxz.store.authority.audit import AuditTrail
from medxz.store.directory import ClinicConfig
from medxz.store.mirror import config_of
from medxz.trust.tokens import TokenVerifier
from medxz.wire import Target

if TYPE_CHECKING:
    from hub.neighbours.neighbours import Neighbours
    from hub.uplink.certificate import CloudCertificate
    from hub.uplink.connection import Connection


@dataclass(frozen=True, slots=True)
class Doors:
    """Who is let in, how the uplink is, and where it is noted."""

    verifier: TokenVerifier
    accounts: Accounts
    link: Callable[[], Link]
    notes: Audit
    audit: Audited
    certificate: CloudCertificate | None = None
    cloud_ca_certificates: Sequence[str] = ()
    neighbours: Neighbours | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a running hub has besides its store."""

    settings: Settings
    url: str
    clock: Clock
    ids: Ids
    say: FilteringBoundLogger
    presence: Presence = field(default_factory=Presence)


@asynccontextmanager
async def open_doors(storage: Storage, identity: HubIdentity, around: Surroundings) -> AsyncIterator[Doors]:
    """Open them, with the connection to the cloud where there is one; on leaving, what waits to be noted is noted."""
    registry, clock = storage.registry, around.clock
    trusted = Trusted(identity, registry)
    transactions = await storage.open_audit()
    notes = AuditNotes(transactions, AuditTrail(around.ids, clock), clock)
    audit = AuditView(transactions, identity.clinic_id, ListCursors(storage.log), notes)
    try:
        if identity.claim is None:
            registry.config = _own_config(around, identity)
            accounts = Alone(registry, identity.signer(clock), trusted.jwks(), around.ids, clock)
            yield Doors(trusted.verifier(clock), accounts, Link, notes, audit)
        else:
            if not registry.directory.revision:  # the cloud has told no more yet
                registry.keys, registry.config = identity.claim.keys, config_of(identity.claim.config)
            async with _connected(storage, identity, around, trusted, notes) as made:
                yield Doors(
                    trusted.verifier(clock), made.accounts, made.uplink.link, notes, audit, made.certificate,
                    identity.claim.cloud_ca_certificates, made.neighbours,
                )  # fmt: skip
    finally:
        with suppress(MedxzError):
            await notes.close()
        await transactions.close()


@asynccontextmanager
async def _connected(
    storage: Storage, identity: HubIdentity, around: Surroundings, trusted: Trusted, notes: Audit
) -> AsyncIterator[Connection]:
    from hub.uplink.connection import connect  # a hub alone needs no client

    connection = connect(storage, identity, around, trusted, notes)
    running = asyncio.create_task(connection.uplink.run(), name="uplink")
    try:
        yield connection
    finally:
        running.cancel()
        await asyncio.wait([running])
        await connection.aclose()


def _own_config(around: Surroundings, identity: HubIdentity) -> ClinicConfig:
    settings = around.settings
    return ClinicConfig(
        keep_own_days=settings.keep_own_days,
        offline_session_hours=settings.offline_session_hours,
        require_signed_ops=settings.require_signed_ops,
        ca_certificates=[identity.root.certificate_pem.decode()],
        targets=[Target(kind="hub", url=around.url, server_id=identity.server_id)],
    )
