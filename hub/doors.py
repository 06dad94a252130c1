"""What lets people and devices in to a running hub, and how it stands with its cloud: of a hub alone, or of one claimed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from structlog.typing import FilteringBoundLogger

from hub.advertise.presence import Presence
from hub.alone.accounts import LoneAccounts
from hub.alone.by_token import ByToken
from hub.alone.office import forget_accounts, keeping_office
from hub.auditing import AuditDesk
from hub.config import Settings
from hub.identity import HubIdentity
from hub.pairing import ClaimedPairing, LonePairing, Pairing
from hub.storage import Storage
from hub.trusted import Trusted
from medxz.clock import Clock
from medxz.errors import MedxzError
from medxz.ids import Ids
from medxz.lan.multicast import Multicast
from medxz.program.addresses import machine_addresses
from medxz.program.settings import EVERY_INTERFACE, EVERY_IPV4
from medxz.service import Accounts, Link
from medxz.service.audit import Audit, AuditNotes, AuditView
from medxz.service.audited import Audited
from medxz.service.list_cursor import ListCursors
from medxz.store.authority.audit import AuditTrail
from medxz.store.directory import ClinicConfig
from medxz.store.mirror import config_of
from medxz.trust.tokens import TokenVerifier
from medxz.wire import Target

if TYPE_CHECKING:
    from hub.alone.office import Office
    from hub.neighbours.neighbours import Neighbours
    from hub.uplink.certificate import CloudCertificate
    from hub.uplink.connection import Connection
    from medxz.peer import Peer


async def _at_once() -> None:
    """A hub alone has nobody to be in step with."""


def _nothing_to_wait_for() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass(frozen=True, slots=True)
class Doors:
    """Who is let in, how the uplink is, and where it is noted."""

    verifier: TokenVerifier
    accounts: Accounts
    link: Callable[[], Link]
    notes: Audit
    audit: Audited
    operators: AuditDesk
    pairing: Pairing
    certificate: CloudCertificate | None = None
    cloud_ca_certificates: Sequence[str] = ()
    neighbours: Neighbours | None = None
    in_step: Callable[[], Awaitable[object]] = _at_once
    office: Office | None = None
    cloud: Peer | None = None
    connection: Connection | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a running hub has besides its store."""

    settings: Settings
    url: str
    clock: Clock
    ids: Ids
    say: FilteringBoundLogger
    presence: Presence = field(default_factory=Presence)
    multicast: Multicast = field(default_factory=Multicast)
    salvaged: asyncio.Event = field(default_factory=_nothing_to_wait_for)
    """Set once nothing is read out of a damaged file any more: before, the cloud would be asked for everything."""

    def lan_url(self) -> str:
        """Where devices of the site find this hub: by an address, which every device can go to."""
        is_everywhere = self.settings.bind_host in {EVERY_INTERFACE, EVERY_IPV4}
        addresses = machine_addresses() if is_everywhere else []
        if not addresses:
            return self.url
        parts = urlsplit(self.url)
        # one of the older kind first: every clinic's LAN has them
        host = min(addresses, key=lambda address: ":" in address)
        return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{parts.port}"


@asynccontextmanager
async def open_doors(storage: Storage, identity: HubIdentity, around: Surroundings) -> AsyncIterator[Doors]:
    """Open them, with the connection to the cloud where there is one; on leaving, what waits to be noted is noted."""
    registry, clock = storage.registry, storage.clock
    trusted = Trusted(identity, registry)
    transactions, trail = await storage.open_audit(), AuditTrail(around.ids, clock)
    notes = AuditNotes(transactions, trail, clock)
    audit = AuditView(transactions, identity.clinic_id, ListCursors(storage.log), notes)
    operators = AuditDesk(transactions, identity.clinic_id, notes)
    try:
        if identity.claim is None:
            registry.config = _own_config(around, identity)
            by_token = ByToken(registry, identity.signer(clock), trusted.jwks(), around.ids, clock)
            async with keeping_office(storage, identity, transactions, around.ids, trail) as office:
                yield Doors(
                    trusted.verifier(clock, clock.witness), LoneAccounts(office, registry, by_token, around.lan_url),
                    Link, notes, audit, operators, LonePairing(office, around.lan_url), office=office,
                )  # fmt: skip
        else:
            await forget_accounts(storage, transactions)
            if not registry.directory.revision:  # the cloud has told no more yet
                registry.keys, registry.config = identity.claim.keys, config_of(identity.claim.config)
            async with _connected(storage, identity, around, trusted, notes) as made:
                yield Doors(
                    trusted.verifier(clock, clock.witness), made.accounts, made.uplink.link, notes, audit, operators,
                    ClaimedPairing(made.accounts, identity, around.lan_url), made.certificate,
                    identity.claim.cloud_ca_certificates, made.neighbours,
                    made.uplink.in_step.wait, cloud=made.cloud, connection=made,
                )  # fmt: skip
    finally:
        await operators.close()
        with suppress(MedxzError):
            await notes.close()
        await transactions.close()


@asynccontextmanager
async def _connected(
    storage: Storage, identity: HubIdentity, around: Surroundings, trusted: Trusted, notes: Audit
) -> AsyncIterator[Connection]:
    from hub.uplink.connection import connect  # a hub alone needs no client

    connection = connect(storage, identity, around, trusted, notes)
    running = asyncio.create_task(_linked(connection, around.salvaged), name="uplink")
    try:
        yield connection
    finally:
        running.cancel()
        await asyncio.wait([running])
        await connection.aclose()


async def _linked(connection: Connection, salvaged: asyncio.Event) -> None:
    await salvaged.wait()
    await connection.uplink.run()


def _own_config(around: Surroundings, identity: HubIdentity) -> ClinicConfig:
    settings = around.settings
    return ClinicConfig(
        keep_own_days=settings.keep_own_days,
        offline_session_hours=settings.offline_session_hours,
        require_signed_ops=settings.require_signed_ops,
        ca_certificates=[identity.root.certificate_pem.decode()],
        targets=[Target(kind="hub", url=around.lan_url(), server_id=identity.server_id)],
    )
