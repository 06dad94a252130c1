"""The accounts of a hub that has no cloud: decided as a cloud decides, for the hub's one clinic.

They lie in the file of the hub's audit, because a decision and its note are one transaction. What is decided is brought
to the registry, by which ops are judged and callers let in, before whoever decided goes on. Nothing is opened before
somebody needs it: a hub that is used with `medxz-hub token` alone has no accounts.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from medxz.store.authority import clinics, devices, secrets, sessions, users
from medxz.store.authority.audit import AuditTrail, Entry
from medxz.store.authority.devices import DeviceRow
from medxz.store.authority.loading import Loaded, load
from medxz.store.authority.sessions import SessionRow
from medxz.store.authority.users import UserRow, no_address

if TYPE_CHECKING:
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
    from medxz.scope import Scope
    from medxz.service.gate import Caller
    from medxz.store.authority.base import Transactions, Tx
    from medxz.store.authority.sqlite import SqliteTransactions
    from medxz.store.directory import DeviceEntry, Known, User
    from medxz.trust.tokens import TokenSigner

FOUNDED: Final = "accounts"
"""The secret by which a hub knows that it has accounts."""


@dataclass(frozen=True, slots=True)
class LetIn:
    """Whom a token makes known: a user with a role, on a device."""

    user_id: str
    role: str
    device_id: str
    scope: Scope | None
    public_key: bytes | None


@dataclass(frozen=True, slots=True)
class Accounts:
    """What may be decided."""

    authority: Authority
    users: Users
    devices: Devices
    sessions: Sessions
    enrolment: Enrolment
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
        from medxz.store.authority.forgetting import keep_forgetting

        await self._is_open.wait()
        from medxz.accounts.sessions import UNUSED_MS

        await keep_forgetting(await self._transactions(), self._clock, UNUSED_MS)

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()

    async def let_in(self, wanted: LetIn) -> None:
        """Whom a token makes known. A person with a password keeps their roles."""
        accounts = await self.accounts()

        async def write(tx: Tx) -> None:
            await self._let_user_in(tx, wanted.user_id, frozenset({wanted.role}))
            await self._let_device_in(tx, wanted)

        await accounts.authority.decide(write)

    async def take_session(self, caller: Caller) -> None:
        """A session that a token began goes on as any other."""
        accounts, now_ms = await self.accounts(), self._clock.now_ms()
        session = SessionRow(caller.session_id, caller.user_id, caller.name, now_ms, now_ms)

        async def write(tx: Tx) -> None:
            if await sessions.get(tx, self.clinic_id, session.session_id) is None:
                await sessions.add(
                    tx, self.clinic_id, session, os.urandom(32)
                )  # nobody has its refresh token

        await accounts.authority.decide(write)

    async def of(self, _clinic_id: str) -> Known:
        """`KnownClinics` (medxz/accounts/base.py) of the one clinic."""
        await self._learn()
        return self._storage.registry

    async def _open(self) -> Accounts:
        from medxz.accounts.base import Authority
        from medxz.accounts.devices import Devices
        from medxz.accounts.enrolment import Enrolment
        from medxz.accounts.passwords import Passwords
        from medxz.accounts.sessions import Sessions
        from medxz.accounts.users import Users
        from medxz.work import ThreadWorker

        transactions = await self._transactions()
        authority = Authority(transactions, self._storage.seal(), self._trail, self._clock, self._ids)
        if await self._storage.registry.get_secret(FOUNDED) is None:
            await authority.decide(lambda tx: self._found(tx, authority))
            await self._storage.registry.put_secret(FOUNDED, b"1")
        transactions.on_change(self._changed)
        # one at a time: each takes 64 MiB of a small machine
        passwords, key = Passwords([ThreadWorker("passwords")]), OwnKey(self._identity.signer(self._clock))
        return Accounts(
            authority,
            Users(authority, passwords),
            Devices(authority),
            Sessions(authority, passwords, key),
            Enrolment(authority, key, self),
            passwords.close,
        )

    async def _found(self, tx: Tx, authority: Authority) -> None:
        """The clinic with its site and the hub's own root, and everybody whom a token has made known so far."""
        from medxz.accounts.codes import SECRET

        clinic_id, now_ms, own = self.clinic_id, self._clock.now_ms(), self._identity
        if not await clinics.add(tx, clinic_id, f"Clinic {clinic_id[-8:]}", now_ms):
            return
        await clinics.add_site(tx, clinic_id, own.site_id, f"Site of hub {own.server_id[-8:]}", now_ms)
        pem = own.root.certificate_pem.decode()
        await clinics.add_certificate(tx, clinic_id, own.ca_fingerprint, "root", pem, now_ms)
        await secrets.put_server(tx, authority.seal, SECRET, os.urandom(32))
        await self._trail.append(tx, clinic_id, Entry("clinic_added"))
        known = self._storage.registry.directory
        for user in known.users.values():
            await self._take_user(tx, user)
        for device in known.devices.values():
            await self._take_device(tx, device)

    async def _take_user(self, tx: Tx, user: User) -> None:
        row = UserRow(
            user.user_id,
            no_address(user.user_id),
            "",
            user.roles - {"hub"},
            self._clock.now_ms(),
            user.disabled,
        )
        if row.roles:
            await users.add(tx, self.clinic_id, row)

    async def _take_device(self, tx: Tx, device: DeviceEntry) -> None:
        now_ms, device_id = self._clock.now_ms(), device.device_id
        row = DeviceRow(device_id, self.site_id, device_id, device.scope, now_ms)
        await devices.add(tx, self.clinic_id, row)
        for key in device.public_keys:
            await devices.add_key(tx, self.clinic_id, device_id, key, now_ms)
        for author in sorted(device.authors):
            await devices.add_author(tx, self.clinic_id, device_id, author)
        if device.revoked:
            await devices.revoke(tx, self.clinic_id, device_id)

    async def _let_user_in(self, tx: Tx, user_id: str, roles: frozenset[str]) -> None:
        held = await users.get(tx, self.clinic_id, user_id)
        if held is None:
            row = UserRow(user_id, no_address(user_id), "", roles, self._clock.now_ms())
            await users.add(tx, self.clinic_id, row)
        elif held.password_hash is None and held.roles != roles:
            await users.set_roles(tx, self.clinic_id, user_id, roles)

    async def _let_device_in(self, tx: Tx, wanted: LetIn) -> None:
        clinic_id, device_id, now_ms = self.clinic_id, wanted.device_id, self._clock.now_ms()
        held = await devices.get(tx, clinic_id, device_id)
        if held is None:
            row = DeviceRow(device_id, self.site_id, device_id, wanted.scope or "full", now_ms)
            await devices.add(tx, clinic_id, row)
        elif wanted.scope is not None and wanted.scope != held.scope:
            await devices.set_scope(tx, clinic_id, device_id, wanted.scope)
        if wanted.public_key is not None:
            await devices.add_key(tx, clinic_id, device_id, wanted.public_key, now_ms)
        await devices.add_author(tx, clinic_id, device_id, wanted.user_id)

    async def _changed(self, _clinic_ids: Collection[str]) -> None:
        await self._learn()

    async def _learn(self) -> None:
        """Bring what was decided to the registry, one after another, so that nothing older comes after it."""
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
        await transactions.run(lambda tx: clinics.forget(tx, storage.registry.clinic_id))
        await storage.registry.forget_secret(FOUNDED)
