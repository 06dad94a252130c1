"""Sessions: a person at a device of their clinic, from the login until it is ended, revoked, or unused for thirty days.

A login needs an address, its password, the second factor where there is one, and a device that the clinic let in: what it
lets in is judged again in the transaction that begins the session, so that nobody gets in past a disabling. A refresh
token is good until a successor of it was used; after that, whoever shows it ends the session, since one of two holders is
not who they say. Only hashes of these tokens are kept.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from medxz import limits
from medxz.accounts import totp
from medxz.accounts.base import DAY_MS, Authority, wire_bytes
from medxz.accounts.key_ring import KeyRing
from medxz.accounts.lockout import Subject, account_subjects, clear, fail, locked
from medxz.accounts.passwords import Checked, Passwords
from medxz.errors import (
    CredentialsInvalid,
    Invalid,
    NotFound,
    Refusal,
    SessionRevoked,
    TokenInvalid,
    TokenMissing,
    TotpRequired,
)
from medxz.ids import uuid_bytes, uuid_text
from medxz.service.accounts import Origin
from medxz.service.gate import Caller
from medxz.store.authority import clinics, devices, sessions, users
from medxz.store.authority.attempts import NO_CLINIC
from medxz.store.authority.audit import Entry
from medxz.store.authority.base import Tx
from medxz.store.authority.devices import DeviceRow
from medxz.store.authority.sessions import SessionRow
from medxz.store.authority.users import UserRow
from medxz.wire import LoginRequest, LogoutRequest, RefreshRequest, SessionAnswer, SessionClinic, SessionUser

UNUSED_MS: Final = 30 * DAY_MS
_SECRET_BYTES: Final = 32
# a device that two clinics have is one that somebody made so; nobody has it in many
_CLINICS_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """What renews a session: it finds it by itself."""

    clinic_id: str
    session_id: str
    secret: bytes

    @classmethod
    def new(cls, clinic_id: str, session_id: str) -> RefreshToken:
        return cls(clinic_id, session_id, os.urandom(_SECRET_BYTES))

    @classmethod
    def read(cls, text: str) -> RefreshToken:
        """TokenInvalid for what is not one."""
        try:
            clinic, session, secret = (
                base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
                for part in text.split(".")
            )
        except (ValueError, binascii.Error):
            clinic = session = secret = b""
        if (len(clinic), len(session), len(secret)) != (16, 16, _SECRET_BYTES):
            raise TokenInvalid("this is not a refresh token; log in again")
        return cls(uuid_text(clinic), uuid_text(session), secret)

    @property
    def text(self) -> str:
        parts = (uuid_bytes(self.clinic_id), uuid_bytes(self.session_id), self.secret)
        return ".".join(map(wire_bytes, parts))

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(self.text.encode()).digest()


@dataclass(frozen=True, slots=True)
class _Asked:
    """Who is meant by a login, in one clinic: the person is None where the clinic has nobody of that address."""

    clinic_id: str
    user: UserRow | None
    subjects: Sequence[Subject]


class Sessions:
    """The use cases about sessions. One instance a server."""

    def __init__(self, authority: Authority, passwords: Passwords, ring: KeyRing) -> None:
        self._authority: Final = authority
        self._passwords: Final = passwords
        self._ring: Final = ring

    async def login(self, request: LoginRequest, origin: Origin) -> SessionAnswer:
        """A new session, or CredentialsInvalid, TotpRequired, RateLimited, Overloaded."""
        asked = await self._asked(request, origin)
        for one in asked:
            kept = one.user.password_hash if one.user is not None else None
            checked = await self._passwords.check(request.password, kept)
            if checked.ok:
                return await self._begin(one, checked, request, origin)
        clinic_id = asked[0].clinic_id
        return await self._authority.decide(lambda tx: self._refuse(tx, asked, request, origin), clinic_id)

    async def refresh(self, request: RefreshRequest, origin: Origin) -> SessionAnswer:
        """The session goes on with new tokens; TokenInvalid or SessionRevoked where it does not."""
        if request.refresh_token is None:
            raise Invalid("the cloud renews by the refresh token alone", field="refresh_token")
        token = RefreshToken.read(request.refresh_token)

        async def refresh(tx: Tx) -> SessionAnswer | Refusal:
            session = await sessions.get(tx, token.clinic_id, token.session_id)
            if session is None or not origin.reaches(token.clinic_id):
                return TokenInvalid("no session has this refresh token; log in again")
            now_ms, successor = (
                self._authority.clock.now_ms(),
                RefreshToken.new(token.clinic_id, token.session_id),
            )
            if session.revoked:
                return SessionRevoked("this session was revoked; log in again")
            if session.last_used_ms + UNUSED_MS <= now_ms:
                return SessionRevoked("this session was not used for thirty days; log in again")
            found = await self._still_in(tx, token.clinic_id, session)
            if found is None:
                return SessionRevoked("this user or device may not come in any more; ask the administrator")
            rotation = await sessions.rotate(
                tx, token.clinic_id, token.session_id, token.digest, successor.digest, now_ms
            )
            if rotation == "unknown":
                return TokenInvalid("no session has this refresh token; log in again")
            if rotation == "reused":
                return await self._reused(tx, token.clinic_id, session, origin)
            await self._note(tx, token.clinic_id, "refresh", session, origin)
            return await self._answer(tx, token.clinic_id, *found, successor)

        return await self._authority.decide(refresh, token.clinic_id)

    async def logout(self, caller: Caller | None, request: LogoutRequest) -> None:
        """End the caller's session, or the one that this refresh token is of. One that is over already stays so."""
        if caller is not None:
            await self._authority.decide(
                lambda tx: self._end(tx, caller.clinic_id, caller.session_id, "logout", by=caller.user_id)
            )
            return
        if request.refresh_token is None:
            raise TokenMissing("a logout needs a token: the session's access token, or refresh_token")
        token = RefreshToken.read(request.refresh_token)

        async def logout(tx: Tx) -> None:
            # using the token up is what tells that it is this session's
            rotation = await sessions.rotate(
                tx, token.clinic_id, token.session_id, token.digest, os.urandom(_SECRET_BYTES),
                self._authority.clock.now_ms(),
            )  # fmt: skip
            if rotation == "unknown":
                raise TokenInvalid("no session has this refresh token")
            await self._end(tx, token.clinic_id, token.session_id, "logout")

        await self._authority.decide(logout, token.clinic_id)

    async def revoke(self, clinic_id: str, session_id: str, by: str | None = None) -> None:
        """Its tokens are refused from now on; NotFound where the clinic has no such session."""

        async def revoke(tx: Tx) -> None:
            if await sessions.get(tx, clinic_id, session_id) is None:
                raise NotFound("the clinic has no session of that id")
            await self._end(tx, clinic_id, session_id, "session_revoked", by=by)

        await self._authority.decide(revoke)

    async def _asked(self, request: LoginRequest, origin: Origin) -> list[_Asked]:
        """Who may be meant, of clinics that have the device; RateLimited where whoever it is has to wait."""

        async def read(tx: Tx) -> list[_Asked] | Refusal:
            found = [
                await self._asked_in(tx, clinic_id, request, origin)
                for clinic_id in (await devices.clinics_of(tx, request.device_id))[:_CLINICS_MAX]
                if origin.reaches(clinic_id)
            ]
            # where the device is nobody's, somebody who is not there is asked for their password all the same
            nobody = account_subjects(NO_CLINIC, request.email, request.device_id, origin, known=False)
            found = found or [_Asked(NO_CLINIC, None, nobody)]
            waits = [await locked(tx, one.subjects, self._authority.clock.now_ms()) for one in found]
            return next((wait for wait in waits if wait is not None), None) or found

        asked = await self._authority.transactions.read(read)
        if isinstance(asked, Refusal):
            raise asked
        return asked

    async def _asked_in(self, tx: Tx, clinic_id: str, request: LoginRequest, origin: Origin) -> _Asked:
        user = await users.find(tx, clinic_id, request.email)
        known = user is not None and user.user_id in await devices.authors(tx, clinic_id, request.device_id)
        subjects = account_subjects(clinic_id, request.email, request.device_id, origin, known=known)
        return _Asked(clinic_id, user, subjects)

    async def _begin(
        self, asked: _Asked, checked: Checked, request: LoginRequest, origin: Origin
    ) -> SessionAnswer:
        """The password was right a moment ago: begin the session, if all the rest is right now."""
        clinic_id, before = asked.clinic_id, asked.user
        assert before is not None

        async def begin(tx: Tx) -> SessionAnswer | Refusal:
            now_ms = self._authority.clock.now_ms()
            wait = await locked(tx, asked.subjects, now_ms)
            if wait is not None:  # those that came at the same time failed too often
                return wait
            user = await users.get(tx, clinic_id, before.user_id)
            device = await devices.get(tx, clinic_id, request.device_id)
            if user is None or user.disabled or not user.roles or user.password_hash != before.password_hash:
                return await self._refuse(tx, [asked], request, origin)
            if device is None or device.revoked:
                return SessionRevoked("this device was revoked; ask the clinic's administrator")
            if user.has_totp and request.totp is None:
                return TotpRequired("this login needs a second factor")
            if user.has_totp and not await totp.take(
                tx, self._authority, clinic_id, user, request.totp or ""
            ):
                return await self._refuse(tx, [asked], request, origin)
            return await self._begun(tx, asked, user, device, checked.renewed, origin)

        return await self._authority.decide(begin, clinic_id)

    async def _begun(
        self, tx: Tx, asked: _Asked, user: UserRow, device: DeviceRow, renewed: str | None, origin: Origin
    ) -> SessionAnswer:
        clinic_id, now_ms = asked.clinic_id, self._authority.clock.now_ms()
        for subject in asked.subjects:
            if subject.clinic_id == clinic_id:  # an address has not become honest by one login that was
                await clear(tx, subject)
        if renewed is not None:
            await users.set_password_hash(tx, clinic_id, user.user_id, renewed)
        session = SessionRow(
            session_id=self._authority.ids.uuid7(),
            user_id=user.user_id,
            device_id=device.device_id,
            made_at_ms=now_ms,
            last_used_ms=now_ms,
            hub_id=origin.hub_id,
        )
        token = RefreshToken.new(clinic_id, session.session_id)
        await sessions.add(tx, clinic_id, session, token.digest)
        await self._note(tx, clinic_id, "login", session, origin)
        return await self._answer(tx, clinic_id, user, device, token)

    async def _refuse(
        self, tx: Tx, asked: Sequence[_Asked], request: LoginRequest, origin: Origin
    ) -> Refusal:
        """Count the failure and note it; the one answer for everything that was not right."""
        for one in asked:
            subjects = await fail(tx, one.subjects, self._authority.clock.now_ms())
            entry = Entry(
                "login_refused",
                user_id=one.user.user_id if one.user is not None else None,
                device_id=request.device_id,
                hub_id=origin.hub_id,
                address=origin.address,
            )
            await self._authority.trail.append(tx, one.clinic_id, entry)
            if subjects:
                await self._authority.trail.append(tx, one.clinic_id, replace(entry, event="locked_out"))
        return CredentialsInvalid("nobody logs in here with this address and password")

    async def _still_in(
        self, tx: Tx, clinic_id: str, session: SessionRow
    ) -> tuple[UserRow, DeviceRow] | None:
        user = await users.get(tx, clinic_id, session.user_id)
        device = await devices.get(tx, clinic_id, session.device_id)
        if user is None or device is None or user.disabled or device.revoked or not user.roles:
            return None
        return user, device

    async def _reused(self, tx: Tx, clinic_id: str, session: SessionRow, origin: Origin) -> Refusal:
        await sessions.revoke(tx, clinic_id, session.session_id)
        await self._note(tx, clinic_id, "token_reused", session, origin)
        return SessionRevoked(
            "this refresh token was used before by somebody else: the session is over; log in again"
        )

    async def _end(
        self, tx: Tx, clinic_id: str, session_id: str, event: str, *, by: str | None = None
    ) -> None:
        session = await sessions.get(tx, clinic_id, session_id)
        if session is not None and await sessions.revoke(tx, clinic_id, session_id):
            detail = {"session_id": session_id, **({"by": by} if by not in {None, session.user_id} else {})}
            entry = Entry(event, user_id=session.user_id, device_id=session.device_id, detail=detail)
            await self._authority.trail.append(tx, clinic_id, entry)

    async def _answer(
        self, tx: Tx, clinic_id: str, user: UserRow, device: DeviceRow, token: RefreshToken
    ) -> SessionAnswer:
        clinic = await clinics.get(tx, clinic_id)
        access = self._ring.signer.issue(
            sub=user.user_id,
            cid=clinic_id,
            did=device.device_id,
            sid=token.session_id,
            site=device.site_id,
            roles=user.roles,
            ttl_s=limits.ACCESS_TOKEN_S,
        )
        return SessionAnswer(
            access_token=access,
            refresh_token=token.text,
            expires_in=limits.ACCESS_TOKEN_S,
            user=SessionUser(user_id=user.user_id, name=user.name, email=user.email),
            clinic=SessionClinic(clinic_id=clinic_id, name=clinic.name if clinic is not None else ""),
            roles=sorted(user.roles),
        )

    async def _note(self, tx: Tx, clinic_id: str, event: str, session: SessionRow, origin: Origin) -> None:
        entry = Entry(
            event,
            user_id=session.user_id,
            device_id=session.device_id,
            hub_id=origin.hub_id,
            address=origin.address,
            detail={"session_id": session.session_id},
        )
        await self._authority.trail.append(tx, clinic_id, entry)

    async def list(self, clinic_id: str) -> list[SessionRow]:
        return await self._authority.transactions.read(lambda tx: sessions.everyone(tx, clinic_id))
