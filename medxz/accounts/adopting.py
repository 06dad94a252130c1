"""Taking in a hub that began alone: its clinic's id, its people, devices, sites and CA, into a clinic that is empty.

The empty clinic gets the hub's clinic id, so that no tablet is touched; what was made for it (its CA, people,
configuration, codes) goes along. The site that the code was made for gets the id of the hub's own site and keeps its
name. A person whose address both sides have is one person, under the id that the hub's ops name. Refused: a clinic that
has let somebody in already, an id (its own or a device's) that another clinic here has, a CA that is none, or another hub's: it is
trusted for the hub that brings it alone, as long as that one is not revoked; a password's hash that is none of ours, and
sessions of nobody.

Passwords and sessions come along, so that nobody logs in anew. Where both sides know a person, the clinic's password
stands; and their sessions go on only where these began with no less than the clinic asks of that person.
"""

from __future__ import annotations

from typing import Final

from medxz.accounts.base import Authority, raw_key
from medxz.accounts.passwords import is_lawful_hash
from medxz.errors import Forbidden, Invalid
from medxz.ids import is_uuid
from medxz.store.authority import clinics, devices, sessions, users
from medxz.store.authority.audit import Entry
from medxz.store.authority.base import Tx
from medxz.store.authority.devices import DeviceRow
from medxz.store.authority.moving import move_clinic, move_site, move_user
from medxz.store.authority.sessions import SessionRow, Tokens
from medxz.store.authority.users import UserRow, fold_email, no_address
from medxz.trust.certificates import ca_fingerprint
from medxz.trust.clinic_ca import read_root
from medxz.wire import Adopt, AdoptedDevice, AdoptedSession, AdoptedUser


class Adopting:
    """The use case. One instance a server."""

    def __init__(self, authority: Authority) -> None:
        self._authority: Final = authority

    def check(self, adopt: Adopt, hub_id: str) -> str:
        """The fingerprint of the hub's own CA; Invalid where what it brings does not fit together."""
        if not adopt.sites:
            raise Invalid("a hub brings its own site, first", field="adopt.sites")
        for device in adopt.devices:
            for key in device.public_keys:
                raw_key(key)
        if not all(user.password_hash is None or is_lawful_hash(user.password_hash) for user in adopt.users):
            raise Invalid("a password's hash is Argon2id, at a cost within bounds", field="adopt.users")
        _check_sessions(adopt)
        try:
            return ca_fingerprint(read_root(adopt.ca_certificate, hub_id))
        except ValueError:
            raise Invalid(
                "ca_certificate is not the root of this hub", field="adopt.ca_certificate"
            ) from None

    async def take_in(self, tx: Tx, clinic_id: str, site_id: str, adopt: Adopt, hub_id: str) -> str:
        """Do it, for a code of this clinic and site; the id of the hub's site."""
        new_id, own = adopt.clinic_id, adopt.sites[0].site_id
        if not await clinics.is_empty(tx, clinic_id):
            raise Forbidden(
                "a hub that began alone is taken into an empty clinic; this one has devices or hubs"
            )
        await self._check_ids(tx, adopt)
        if new_id != clinic_id:
            if await clinics.get(tx, new_id) is not None:
                raise Forbidden("another clinic has that id already")
            entry = Entry("clinic_adopted", detail={"became": new_id})
            await self._authority.trail.append(tx, clinic_id, entry)
            await move_clinic(tx, self._authority.seal, clinic_id, new_id)
        await move_site(tx, new_id, site_id, own)
        now_ms = self._authority.clock.now_ms()
        for site in adopt.sites[1:]:
            await self._add_site(tx, new_id, site.site_id, site.name)
        fingerprint = self.check(adopt, hub_id)
        await clinics.add_certificate(tx, new_id, fingerprint, "adopted", adopt.ca_certificate, now_ms)
        brought = {user.user_id for user in adopt.users}
        logged_in = {user.user_id for user in adopt.users if await self._add_user(tx, new_id, user, brought)}
        sites = {site.site_id for site in adopt.sites}
        for device in adopt.devices:
            await self._add_device(tx, new_id, device, device.site_id if device.site_id in sites else own)
        for session in adopt.sessions:
            if session.user_id in logged_in:
                await self._add_session(tx, new_id, session)
        detail = {
            "was": clinic_id, "fingerprint": fingerprint, "devices": len(adopt.devices), "users": len(adopt.users),
            "sessions": len(adopt.sessions),
        }  # fmt: skip
        await self._authority.trail.append(tx, new_id, Entry("clinic_adopted", detail=detail))
        return own

    async def _check_ids(self, tx: Tx, adopt: Adopt) -> None:
        for device in adopt.devices:
            # whoever had the ids of another clinic's tablets would hear of their logins
            if await devices.clinics_of(tx, device.device_id):
                raise Invalid("what the hub brings does not fit in here", field="adopt.devices")

    async def _add_site(self, tx: Tx, clinic_id: str, site_id: str, name: str) -> None:
        now_ms = self._authority.clock.now_ms()
        # two sites of one name are two sites
        for unlike in (name, f"{name[:80]} ({site_id[-12:]})"):
            if await clinics.add_site(tx, clinic_id, site_id, unlike, now_ms):
                return

    async def _add_user(self, tx: Tx, clinic_id: str, user: AdoptedUser, brought: set[str]) -> bool:
        """Whether the person's sessions go on."""
        same = await users.find(tx, clinic_id, user.email) if user.email else None
        if same is not None and same.user_id not in brought:
            await move_user(tx, self._authority.seal, clinic_id, same.user_id, user.user_id)
            await users.set_roles(tx, clinic_id, user.user_id, same.roles | set(user.roles))
            return same.roles <= set(user.roles) and not (same.has_totp or same.disabled or user.disabled)
        # two people whom the hub knew by one address: the second has none here
        email = fold_email(user.email) if same is None else ""
        row = UserRow(
            user_id=user.user_id,
            email=email or no_address(user.user_id),
            name=user.name,
            roles=frozenset(user.roles),
            made_at_ms=self._authority.clock.now_ms(),
            disabled=user.disabled,
            password_hash=user.password_hash if email else None,
        )
        return await users.add(tx, clinic_id, row) and not user.disabled

    async def _add_device(self, tx: Tx, clinic_id: str, device: AdoptedDevice, site_id: str) -> None:
        now_ms = self._authority.clock.now_ms()
        row = DeviceRow(device.device_id, site_id, device.name or device.device_id, device.scope, now_ms)
        await devices.add(tx, clinic_id, row)
        for key in device.public_keys:
            await devices.add_key(tx, clinic_id, device.device_id, raw_key(key), now_ms)
        for author in device.authors:
            if is_uuid(author):
                await devices.add_author(tx, clinic_id, device.device_id, author)
        if device.revoked:
            await devices.revoke(tx, clinic_id, device.device_id)

    async def _add_session(self, tx: Tx, clinic_id: str, session: AdoptedSession) -> None:
        now_ms = self._authority.clock.now_ms()
        used = bytes.fromhex(session.used) if session.used is not None else None
        fresh = tuple(bytes.fromhex(digest) for digest in session.fresh)
        row = SessionRow(session.session_id, session.user_id, session.device_id, now_ms, now_ms)
        await sessions.take_over(tx, clinic_id, row, Tokens(fresh, used))


def _check_sessions(adopt: Adopt) -> None:
    """Each is of a person and a device that are brought too and may come in, and has tokens of its own."""
    people = {user.user_id for user in adopt.users}
    tablets = {device.device_id for device in adopt.devices if not device.revoked}
    tokens = [
        digest
        for session in adopt.sessions
        for digest in (*session.fresh, *([session.used] if session.used is not None else []))
    ]
    fit = all(session.user_id in people and session.device_id in tablets for session in adopt.sessions)
    ids = {session.session_id for session in adopt.sessions}
    if not fit or len(ids) < len(adopt.sessions) or len(set(tokens)) < len(tokens):
        raise Invalid("a session is of a person and a device that are brought too", field="adopt.sessions")
