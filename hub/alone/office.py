"""The accounts of a hub that has no cloud: decided as a cloud decides, for the hub's one clinic.

They lie in the file of the hub's audit, because a decision and its note are one transaction. What is decided is brought
to the registry, by which ops are judged and callers let in, before whoever decided goes on. Nothing is opened before
somebody needs it: a hub that is used with `medxz-hub token` alone has no accounts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from medxz.store.authority.audit import AuditTrail

if TYPE_CHECKING:
    from hub.alone.taking import Taking
    from hub.identity import HubIdentity
    from hub.storage import Storage
    from medxz.accounts.base import Authority
    from medxz.accounts.codes import Codes
    from medxz.accounts.devices import Devices
    from medxz.accounts.enrolment import Enrolment
    from medxz.accounts.sessions import Sessions
    from medxz.accounts.users import Users
    from medxz.clock import Clock
    from medxz.ids import Ids
    from medxz.store.authority.base import Transactions, Tx
    from medxz.store.authority.sqlite import SqliteTransactions
    from medxz.store.directory import Known
    from medxz.trust.tokens import TokenSigner

FOUNDED: Final = "accounts"
"""The secret by which a hub knows that it has accounts."""


@dataclass(frozen=True, slots=True)
class Accounts:
    """What may be decided."""

    authority: Authority
    users: Users
    devices: Devices
    sessions: Sessions
    enrolment: Enrolment
    taking: Taking
    close: Callable[[], None]


@dataclass(frozen=True, slots=True)
class OwnKey:
    """Tokens are signed with the hub's own."""

    signer: TokenSigner


class Office:
    """One hub's."""

    def __init__(
        self,
        storage: Storage,
        identity: HubIdentity,
        transactions: Callable[[], Awaitable[Transactions]],
        clock: Clock,
        ids: Ids,
        trail: AuditTrail | None = None,
    ) -> None:
        """`transactions` opens the file of the audit, which is closed elsewhere; `trail` is what this process notes by."""
        self._storage: Final = storage
        self._identity: Final = identity
        self._transactions: Final = transactions
        self._clock: Final = clock
        self._ids: Final = ids
        self._trail: Final = trail if trail is not None else AuditTrail(ids, clock)
        self._opening: Final = asyncio.Lock()
        self._learning: Final = asyncio.Lock()
        self._opened: Accounts | None = None
        self._nonce: int | None = None
        self._is_open: Final = asyncio.Event()

    @property
    def clinic_id(self) -> str:
        return self._identity.clinic_id

    @property
    def site_id(self) -> str:
        return self._identity.site_id

    async def accounts(self) -> Accounts:
        """Open, and made where there were none."""
        async with self._opening:
            if self._opened is None:
                self._opened = await self._open()
                self._is_open.set()
        await self._learn()  # what was decided and could not be brought over
        return self._opened

    async def if_founded(self) -> Accounts | None:
        """Open, where this hub has any."""
        if self._opened is None and await self._storage.registry.get_secret(FOUNDED) is None:
            return None
        return await self.accounts()

    async def codes(self, url: str) -> Codes:
        """Pairing codes for devices that find the hub there."""
        from medxz.accounts.codes import Codes

        return Codes((await self.accounts()).authority, url)

    async def keep(self) -> None:
        """For as long as the hub runs, once there are any: drop what is over."""
        await self._is_open.wait()
        from hub.clock import Lasting
        from medxz.accounts.sessions import UNUSED_MS
        from medxz.store.authority.forgetting import keep_forgetting

        await keep_forgetting(await self._transactions(), Lasting(self._storage.clock), UNUSED_MS)

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()

    async def of(self, _clinic_id: str) -> Known:
        """`KnownClinics` (medxz/accounts/base.py) of the one clinic."""
        await self._learn()
        return self._storage.registry

    async def _open(self) -> Accounts:
        from hub.alone.taking import Taking
        from medxz.accounts.base import Authority
        from medxz.accounts.devices import Devices
        from medxz.accounts.enrolment import Enrolment
        from medxz.accounts.passwords import Passwords
        from medxz.accounts.sessions import Sessions
        from medxz.accounts.users import Users
        from medxz.work import ThreadWorker

        transactions = await self._transactions()
        authority = Authority(transactions, self._storage.seal(), self._trail, self._clock, self._ids)
        taking, registry = Taking(self._identity, authority), self._storage.registry
        if await registry.get_secret(FOUNDED) is None:
            await taking.found(registry.directory)
            await registry.put_secret(FOUNDED, b"1")
        transactions.on_change(self._changed)
        # one at a time: each takes 64 MiB of a small machine
        passwords, key = Passwords([ThreadWorker("passwords")]), OwnKey(self._identity.signer(self._clock))
        return Accounts(
            authority,
            Users(authority, passwords),
            Devices(authority),
            Sessions(authority, passwords, key),
            Enrolment(authority, key, self),
            taking,
            passwords.close,
        )

    async def _changed(self, _clinic_ids: Collection[str]) -> None:
        await self._learn()

    async def _learn(self) -> None:
        """Bring what was decided to the registry, one after another, so that nothing older comes after it."""
        from medxz.store.authority.loading import Loaded, load

        transactions = await self._transactions()

        async def read(tx: Tx) -> Loaded | None:
            return await load(tx, self.clinic_id, self._nonce, None)

        async with self._learning:
            loaded = await transactions.read(read)
            if loaded is not None:
                await self._storage.registry.learn(loaded.directory)
                self._nonce = loaded.nonce


@asynccontextmanager
async def keeping_office(
    storage: Storage, identity: HubIdentity, transactions: Transactions, ids: Ids, trail: AuditTrail
) -> AsyncIterator[Office]:
    """That of a running hub."""

    async def opened() -> Transactions:
        return transactions

    office = Office(storage, identity, opened, storage.clock, ids, trail)
    await office.if_founded()  # what was decided before the power was cut counts before anybody comes in
    keeping = asyncio.create_task(office.keep(), name="accounts")
    try:
        yield office
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])
        office.close()


@asynccontextmanager
async def opened_office(storage: Storage, identity: HubIdentity, ids: Ids) -> AsyncIterator[Office]:
    """That of a hub which does not run, for one command."""
    held: list[SqliteTransactions] = []

    async def opened() -> Transactions:
        if not held:
            held.append(await storage.open_audit())
        return held[0]

    office = Office(storage, identity, opened, storage.clock, ids)
    try:
        yield office
    finally:
        office.close()
        for transactions in held:
            await transactions.close()


async def forget_accounts(storage: Storage, transactions: Transactions) -> None:
    """Once the cloud decides, nobody's password or session is of use here any more."""
    if await storage.registry.get_secret(FOUNDED) is not None:
        from medxz.store.authority import clinics

        await transactions.run(lambda tx: clinics.forget(tx, storage.registry.clinic_id))
        await storage.registry.forget_secret(FOUNDED)
