"""Taking into the accounts whom a hub knew before it had any, and whom the operator's tokens make known.

They have no address and no password: nobody logs in as them, and everybody can be sent away.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medxz.accounts.codes import SECRET
from medxz.store.authority import clinics, devices, secrets, sessions, users
from medxz.store.authority.audit import Entry
from medxz.store.authority.devices import DeviceRow
from medxz.store.authority.sessions import SessionRow
from medxz.store.authority.users import UserRow, no_address

if TYPE_CHECKING:
    from hub.identity import HubIdentity
    from hub.issue import LetIn
    from medxz.accounts.base import Authority
    from medxz.service.gate import Caller
    from medxz.store.authority.base import Tx
    from medxz.store.directory import DeviceEntry, Directory, User


@dataclass(frozen=True, slots=True)
class Taking:
    """One hub's."""

    identity: HubIdentity
    authority: Authority

    async def found(self, known: Directory) -> None:
        """Make the clinic, with its site and the hub's own root, and everybody who is known so far."""

        async def found(tx: Tx) -> None:
            own, clinic_id, now_ms = self.identity, self._clinic_id, self._now_ms
            if not await clinics.add(tx, clinic_id, f"Clinic {clinic_id[-8:]}", now_ms):
                return
            await clinics.add_site(tx, clinic_id, own.site_id, f"Site of hub {own.server_id[-8:]}", now_ms)
            pem = own.root.certificate_pem.decode()
            await clinics.add_certificate(tx, clinic_id, own.ca_fingerprint, "root", pem, now_ms)
            await secrets.put_server(tx, self.authority.seal, SECRET, os.urandom(32))
            await self.authority.trail.append(tx, clinic_id, Entry("clinic_added"))
            for user in known.users.values():
                await self._user(tx, user)
            for device in known.devices.values():
                await self._device(tx, device)

        await self.authority.decide(found)

    async def let_in(self, wanted: LetIn) -> None:
        """Whom a token makes known. A person with a password keeps their roles."""

        async def let_in(tx: Tx) -> None:
            await self._let_user_in(tx, wanted.user_id, frozenset({wanted.role}))
            await self._let_device_in(tx, wanted)

        await self.authority.decide(let_in)

    async def take_session(self, caller: Caller) -> None:
        """A session that a token began goes on as any other. Nobody has a refresh token of it."""
        session = SessionRow(caller.session_id, caller.user_id, caller.name, self._now_ms, self._now_ms)

        async def take(tx: Tx) -> None:
            if await sessions.get(tx, self._clinic_id, session.session_id) is None:
                await sessions.add(tx, self._clinic_id, session, os.urandom(32))

        await self.authority.decide(take)

    @property
    def _clinic_id(self) -> str:
        return self.identity.clinic_id

    @property
    def _now_ms(self) -> int:
        return self.authority.clock.now_ms()

    async def _user(self, tx: Tx, user: User) -> None:
        roles = user.roles - {"hub"}
        row = UserRow(user.user_id, no_address(user.user_id), "", roles, self._now_ms, user.disabled)
        if roles:
            await users.add(tx, self._clinic_id, row)

    async def _device(self, tx: Tx, device: DeviceEntry) -> None:
        device_id, clinic_id, now_ms = device.device_id, self._clinic_id, self._now_ms
        row = DeviceRow(device_id, self.identity.site_id, device_id, device.scope, now_ms)
        await devices.add(tx, clinic_id, row)
        for key in device.public_keys:
            await devices.add_key(tx, clinic_id, device_id, key, now_ms)
        for author in sorted(device.authors):
            await devices.add_author(tx, clinic_id, device_id, author)
        if device.revoked:
            await devices.revoke(tx, clinic_id, device_id)

    async def _let_user_in(self, tx: Tx, user_id: str, roles: frozenset[str]) -> None:
        held = await users.get(tx, self._clinic_id, user_id)
        if held is None:
            row = UserRow(user_id, no_address(user_id), "", roles, self._now_ms)
            await users.add(tx, self._clinic_id, row)
        elif held.password_hash is None and held.roles != roles:
            await users.set_roles(tx, self._clinic_id, user_id, roles)

    async def _let_device_in(self, tx: Tx, wanted: LetIn) -> None:
        clinic_id, device_id, now_ms = self._clinic_id, wanted.device_id, self._now_ms
        held = await devices.get(tx, clinic_id, device_id)
        if held is None:
            row = DeviceRow(device_id, self.identity.site_id, device_id, wanted.scope or "full", now_ms)
            await devices.add(tx, clinic_id, row)
        elif wanted.scope is not None and wanted.scope != held.scope:
            await devices.set_scope(tx, clinic_id, device_id, wanted.scope)
        if wanted.public_key is not None:
            await devices.add_key(tx, clinic_id, device_id, wanted.public_key, now_ms)
        await devices.add_author(tx, clinic_id, device_id, wanted.user_id)
