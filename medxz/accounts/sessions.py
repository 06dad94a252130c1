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
from dataclasses import dataclass
from typing import Final

from medxz import limits
from medxz.accounts import totp
from medxz.accounts.base import DAY_MS, Authority, Signs, wire_bytes
from medxz.accounts.lockout import (
    Subject,
    clear,
    factor_subject,
    fail,
    give_back,
    locked,
    renewed_too_often,
    use_renewal,
)
from medxz.accounts.logins import Asked, begin_attempt, meant, note, refuse
from medxz.accounts.passwords import Checked, Passwords
from medxz.errors import (
    Invalid,
    NotFound,
    Overloaded,
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
from medxz.store.authority.audit import Entry
from medxz.store.authority.base import Tx
from medxz.store.authority.devices import DeviceRow
from medxz.store.authority.sessions import SessionRow
from medxz.store.authority.users import UserRow
from medxz.wire import LoginRequest, LogoutRequest, RefreshRequest, SessionAnswer, SessionClinic, SessionUser

UNUSED_MS: Final = 30 * DAY_MS
_SECRET_BYTES: Final = 32


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


class Sessions:
    """The use cases about sessions. One instance a server."""

    def __init__(self, authority: Authority, passwords: Passwords, keys: Signs) -> None:
        self._authority: Final = authority
        self._passwords: Final = passwords
        self._keys: Final = keys

    async def login(self, request: LoginRequest, origin: Origin) -> SessionAnswer:
        """A new session, or CredentialsInvalid, TotpRequired, RateLimited, Overloaded."""
        found = await self._authority.transactions.read(lambda tx: meant(tx, request, origin))
        asked = await self._authority.decide(
            lambda tx: begin_attempt(tx, self._authority, found, request, origin), found[0].clinic_id
        )
        try:
            for one in asked:
                kept = one.user.password_hash if one.user is not None else None
                checked = await self._passwords.check(request.password, kept)
                if checked.ok:
                    return await self._begin(one, asked, checked, request, origin)
        except Overloaded:
            # nobody is locked out because the server was busy
            await self._authority.decide(lambda tx: give_back(tx, _subjects(asked)), asked[0].clinic_id)
            raise
        return await self._authority.decide(
            lambda tx: refuse(tx, self._authority, asked, request, origin), asked[0].clinic_id
        )

    async def refresh(self, request: RefreshRequest, origin: Origin) -> SessionAnswer:
        """The session goes on with new tokens; TokenInvalid, SessionRevoked or RateLimited where it does not."""
        if request.refresh_token is None:
            raise Invalid("this server renews by the refresh token alone", field="refresh_token")
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
            wait = await renewed_too_often(tx, token.clinic_id, session.session_id, now_ms)
            if wait is not None:
                return wait
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
            await use_renewal(tx, token.clinic_id, session.session_id, now_ms)
            if rotation == "rotated":  # asked again after an answer that was lost, nothing has changed
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

    async def _begin(
        self,
        one: Asked,
        asked: Sequence[Asked],
        checked: Checked,
        request: LoginRequest,
        origin: Origin,
    ) -> SessionAnswer:
        """The password was right a moment ago: begin the session, if all the rest is right now."""
        clinic_id, before = one.clinic_id, one.user
        assert before is not None

        async def begin(tx: Tx) -> SessionAnswer | Refusal:
            user = await users.get(tx, clinic_id, before.user_id)
            device = await devices.get(tx, clinic_id, request.device_id)
            if user is None or user.disabled or not user.roles or user.password_hash != before.password_hash:
                return await refuse(tx, self._authority, asked, request, origin)
            if device is not None and not device.revoked and user.has_totp:
                refusal = await self._factor(tx, one, asked, user, request, origin)
                if refusal is not None:
                    return refusal
            await give_back(tx, _subjects(asked))
            if device is None or device.revoked:
                return SessionRevoked("this device was revoked; ask the clinic's administrator")
            return await self._begun(tx, one, user, device, checked.renewed, origin)

        return await self._authority.decide(begin, clinic_id)

    async def _factor(
        self,
        tx: Tx,
        one: Asked,
        asked: Sequence[Asked],
        user: UserRow,
        request: LoginRequest,
        origin: Origin,
    ) -> Refusal | None:
        """Use the second factor up, beside a right password; the refusal where it is missing or wrong."""
        subject, now_ms = factor_subject(one.clinic_id, request.email), self._authority.clock.now_ms()
        wait = await locked(tx, [subject], now_ms)
        if wait is not None:
            await give_back(tx, _subjects(asked))
            return wait
        if request.totp is not None and await totp.take(
            tx, self._authority, one.clinic_id, user, request.totp
        ):
            await clear(tx, subject)
            return None
        if await fail(tx, [subject], now_ms):
            await note(tx, self._authority, one, request, origin, "locked_out", factor="totp")
        if request.totp is not None:
            return await refuse(tx, self._authority, asked, request, origin)
        await give_back(tx, _subjects(asked))
        await note(tx, self._authority, one, request, origin, "login_refused", code=TotpRequired.code)
        return TotpRequired("this login needs a second factor")

    async def _begun(
        self, tx: Tx, asked: Asked, user: UserRow, device: DeviceRow, renewed: str | None, origin: Origin
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
        access = self._keys.signer.issue(
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


def _subjects(asked: Sequence[Asked]) -> list[Subject]:
    """Whose counts an attempt raised, each once."""
    return list(dict.fromkeys(subject for one in asked for subject in one.subjects))
