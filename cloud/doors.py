"""What lets people, devices and hubs in to a running cloud, and notes it: put together, and kept up with other relays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from medxz import limits
from medxz.accounts.cloud import assemble
from medxz.accounts.key_ring import KeyRing
from medxz.accounts.passwords import Passwords
from medxz.accounts.sessions import UNUSED_MS
from medxz.errors import MedxzError
from medxz.service import Accounts, Gate
from medxz.service.audit import AuditNotes
from medxz.store.authority.forgetting import keep_forgetting
from medxz.trust.tokens import TokenVerifier
from medxz.work import ThreadWorker

if TYPE_CHECKING:
    from cloud.store import CloudStore
    from medxz.clock import Clock
    from medxz.ids import Ids
    from medxz.store.authority.base import Transactions
    from medxz.store.authority.known import Directories
    from medxz.wire import CloudPlace

# so many passwords are hashed at a time, each of which takes 64 MiB
PASSWORDS_AT_ONCE: Final = 2


@dataclass(frozen=True, slots=True)
class Doors:
    """Who is let in, what is known of each clinic, and where it is noted."""

    accounts: Accounts
    gate: Gate
    directories: Directories
    transactions: Transactions
    notes: AuditNotes
    clock: Clock
    ids: Ids


@asynccontextmanager
async def open_doors(store: CloudStore, directories: Directories, cloud: CloudPlace) -> AsyncIterator[Doors]:
    """Open them; on leaving, what waits to be noted is noted."""
    authority, passwords = store.authority, open_passwords()
    assembled = assemble(authority, passwords, directories, cloud)
    ring, clock = assembled.ring, authority.clock
    await ring.refresh()
    notes = AuditNotes(store.transactions, authority.trail, clock)
    following = asyncio.create_task(_follow(ring), name="keys")
    forgetting = asyncio.create_task(keep_forgetting(store.transactions, clock, UNUSED_MS), name="forgetting")
    verifier = TokenVerifier(ring.public, clock, lasts_s_max=limits.ACCESS_TOKEN_S)
    try:
        yield Doors(
            accounts=assembled.accounts,
            gate=Gate(verifier, directories.of, clock, directories.refresh),
            directories=directories,
            transactions=store.transactions,
            notes=notes,
            clock=clock,
            ids=authority.ids,
        )
    finally:
        following.cancel()
        forgetting.cancel()
        with suppress(MedxzError):
            await notes.close()
        passwords.close()


def open_passwords() -> Passwords:
    return Passwords([ThreadWorker(f"passwords-{n}") for n in range(PASSWORDS_AT_ONCE)])


async def _follow(ring: KeyRing) -> None:
    """The keys of now, whatever the database does meanwhile."""
    while True:
        with suppress(MedxzError):
            await ring.follow()
