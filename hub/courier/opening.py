"""The courier's desk of a hub that runs, and of one that does not: then its store is opened for as long as it takes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from hub.ask import Json
from hub.claimed import Claimed
from hub.courier.desk import COMMANDS, CourierDesk, Hub
from hub.courier.standing import CourierStanding
from hub.identity import HubIdentity, load_identity
from hub.storage import Storage, open_storage
from medxz.clock import SystemClock
from medxz.errors import MedxzError
from medxz.ids import RandomIds
from medxz.program.addresses import host_names, machine_addresses
from medxz.program.errors import CommandFailed
from medxz.program.keys import read_key
from medxz.service.audit import AuditNotes
from medxz.store.authority.audit import AuditTrail

if TYPE_CHECKING:
    from hub.config import HubPlaces
    from hub.doors import Doors, Surroundings
    from hub.tls import Tls


class NoCourier:
    """The desk of a hub that was never claimed."""

    def table(self) -> dict[str, Callable[[Json], Awaitable[Json]]]:
        async def refuse(_arguments: Json) -> Json:
            raise never_claimed()

        return dict.fromkeys(COMMANDS, refuse)

    async def close(self) -> None:
        """Nothing runs."""


def running_desk(storage: Storage, doors: Doors, around: Surroundings, tls: Tls) -> CourierDesk | NoCourier:
    """That of a running hub."""
    made = doors.connection
    if made is None:
        return NoCourier()
    hub = Hub(
        storage=storage,
        claim=lambda: made.certificate.claim,
        notes=doors.notes,
        noting=made.noting,
        ids=around.ids,
        named=tls.named,
        url=around.lan_url(),
        aside=made.uplink.aside,
        bring=made.certificate.bring,
        show=tls.renew,
        caught_up=made.uplink.in_step.set,
    )
    return CourierDesk(hub)


def standing_of(storage: Storage, identity: HubIdentity, doors: Doors) -> CourierStanding | None:
    """When the last courier was; None on a hub that has no cloud."""
    if identity.claim is None:
        return None
    claimed_ms = round(identity.claim.credential.certificate.not_valid_before_utc.timestamp() * 1_000)
    return CourierStanding(storage.places.courier, doors.link, storage.clock, claimed_ms)


@asynccontextmanager
async def stopped_desk(places: HubPlaces, environ: Mapping[str, str]) -> AsyncIterator[CourierDesk]:
    """That of a hub whose store is opened for it, under its lock."""
    from hub.uplink.connection import noting_of

    clock, ids = SystemClock(), RandomIds()
    async with open_storage(
        places, lambda: read_key(places.key_file, environ), clock, lock_wait_s=0
    ) as storage:
        claim = (await load_identity(storage)).claim
        if claim is None:
            raise never_claimed()
        transactions = await storage.open_audit()
        notes = AuditNotes(transactions, AuditTrail(ids, storage.clock), storage.clock)
        held = [claim]

        def bring(brought: Claimed) -> None:
            held[0] = brought

        hub = Hub(
            storage=storage,
            claim=lambda: held[0],
            notes=notes,
            noting=noting_of(claim, notes),
            ids=ids,
            named=lambda: (host_names(), machine_addresses()),
            bring=bring,
        )
        desk = CourierDesk(hub)
        try:
            yield desk
        finally:
            await desk.close()
            with suppress(MedxzError):
                await notes.close()
            await transactions.close()


def never_claimed() -> CommandFailed:
    return CommandFailed(
        "this hub belongs to no cloud that a courier could go to",
        "claim it first: medxz-hub claim --help",
        "not_claimed",
    )
