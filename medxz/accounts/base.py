"""What every part of this package works with, and how a decision is made: in one transaction, with its audit."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol, TypeVar
from weakref import WeakValueDictionary

from medxz.clock import Clock
from medxz.errors import Invalid, NotFound, Refusal
from medxz.ids import Ids
from medxz.store.authority import clinics
from medxz.store.authority.audit import AuditTrail
from medxz.store.authority.base import Transactions, Tx
from medxz.store.authority.clinics import Clinic, Site
from medxz.store.authority.secrets import Seal

if TYPE_CHECKING:
    from medxz.store.directory import Known
    from medxz.trust.tokens import TokenSigner

T = TypeVar("T")

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS

PEOPLE: Final = frozenset({"admin", "clinician", "front_desk"})


class Signs(Protocol):
    """Whose key access tokens are signed with: the cloud's of now, or that of a hub alone."""

    @property
    def signer(self) -> TokenSigner: ...


class KnownClinics(Protocol):
    """What is known of each clinic, with everything that was decided before it is asked for."""

    async def of(self, clinic_id: str) -> Known: ...


class Turns:
    """One after another in each clinic: what would meet at the clinic's audit anyway waits here, and not in retries."""

    def __init__(self) -> None:
        self._locks: Final[WeakValueDictionary[str, asyncio.Lock]] = WeakValueDictionary()

    def of(self, clinic_id: str) -> asyncio.Lock:
        lock = self._locks.get(clinic_id)
        if lock is None:
            lock = self._locks[clinic_id] = asyncio.Lock()
        return lock


@dataclass(frozen=True, slots=True)
class Authority:
    """The store of who belongs where, the key that its secrets are sealed under, time, ids, and this process' audit."""

    transactions: Transactions
    seal: Seal
    trail: AuditTrail
    clock: Clock
    ids: Ids
    turns: Turns = field(default_factory=Turns)

    async def decide(self, fn: Callable[[Tx], Awaitable[T | Refusal]], clinic_id: str | None = None) -> T:
        """What `fn` returns. A refusal that it *returns* is raised once what it wrote of it is durable; one that it
        raises leaves nothing behind. `clinic_id` is named where many decide about one clinic at once.
        """
        if clinic_id is None:
            decided = await self.transactions.run(fn)
        else:
            async with self.turns.of(clinic_id):
                decided = await self.transactions.run(fn)
        if isinstance(decided, Refusal):
            raise decided
        return decided


async def clinic_of(tx: Tx, clinic_id: str) -> Clinic:
    """The clinic; NotFound where there is none."""
    clinic = await clinics.get(tx, clinic_id)
    if clinic is None:
        raise NotFound(f"there is no clinic {clinic_id}; `medxz-cloud clinic list` shows those there are")
    return clinic


async def site_of(tx: Tx, clinic_id: str, name_or_id: str) -> Site:
    """The site; Invalid (field `site`) where the clinic has none."""
    site = await clinics.find_site(tx, clinic_id, name_or_id)
    if site is None:
        raise Invalid(f"the clinic has no site {name_or_id!r}", field="site")
    return site


def raw_key(text: str) -> bytes:
    """The 32 bytes of a device's public key on the wire; Invalid where it is not one."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 32:
        raise Invalid("public_key is a raw Ed25519 key: 32 bytes in base64url", field="public_key")
    return raw


def wire_bytes(raw: bytes) -> str:
    """Bytes as the wire has them: base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
