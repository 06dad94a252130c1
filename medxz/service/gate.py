"""Who is asking: a bearer token made into a caller, and what that caller may ask at all.

Verified tokens are remembered for as long as they live, with what is known of their clinic; whether their key is still
good, whether a session, a device or a hub was revoked, and what the device sees, is looked up at every request. What a caller may write is judged op by op in judge.py.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from medxz import limits
from medxz.clock import Clock
from medxz.endpoints import Access
from medxz.errors import CursorScopeChanged, Forbidden, SessionRevoked, TokenExpired, TokenMissing
from medxz.scope import Scope
from medxz.store.directory import Directory, Known
from medxz.trust.operators import is_operators
from medxz.trust.tokens import Claims, Proven


class Verifier(Protocol):
    """Whose tokens are taken."""

    def prove(self, token: str) -> Proven:
        """What the token says, where it is good; else TokenInvalid or TokenExpired."""
        ...

    def knows(self, kid: str) -> bool:
        """Whether the key of that name is still good."""
        ...


@dataclass(frozen=True, slots=True)
class Caller:
    """A device with a user at it, or a hub. `known` is what this server knows of the clinic, always the newest.

    `bearer` is the token itself, for a server that has to pass a request on; `kid` the key that it was signed with, None
    where a hub vouched for it.
    """

    clinic_id: str
    device_id: str | None
    user_id: str
    roles: frozenset[str]
    scope: Scope
    session_id: str
    site_id: str
    expires_at_s: int
    issuer: str
    kid: str | None
    known: Known = field(repr=False, compare=False)
    bearer: str = field(repr=False)
    hub_id: str | None = None

    @property
    def name(self) -> str:
        """What it is called within its clinic."""
        return self.device_id or self.user_id

    @property
    def owner(self) -> tuple[str, str]:
        """What it is counted and limited under, in a server of many clinics."""
        return self.clinic_id, self.device_id or self.user_id


class Gate:
    """Lets callers in."""

    def __init__(
        self,
        verifier: Verifier,
        known: Callable[[str], Awaitable[Known]],
        clock: Clock,
        look_again: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        """`known` gives what there is to know of a clinic; Forbidden where this server has none of that id.

        `look_again`, where another process may have let a device in a moment ago: know what was decided before.
        """
        self._verifier: Final = verifier
        self._known_of: Final = known
        self._look_again: Final = look_again
        self._clock: Final = clock
        self._known: dict[str, Caller] = {}

    async def identify(self, bearer: str | None) -> Caller:
        """The caller with this token; TokenMissing, TokenInvalid, TokenExpired, SessionRevoked or Forbidden."""
        if not bearer:
            raise TokenMissing("this request needs a token")
        if is_operators(bearer):
            raise Forbidden("an operator's token is good for /v1/fleet at the cloud, and for nothing else")
        caller = self._known.get(bearer)
        if caller is None or _sees_otherwise(caller):
            caller = await self._admit(bearer, self._verifier.prove(bearer))
            while len(self._known) >= limits.VERIFIED_TOKENS_MAX:
                del self._known[next(iter(self._known))]
            self._known[bearer] = caller
        self.hold(caller)
        return caller

    def hold(self, caller: Caller) -> None:
        """Whether a caller that was let in may stay: its token has not ended, nothing was revoked, it sees the same."""
        if self._clock.now_ms() >= (caller.expires_at_s + limits.TOKEN_LEEWAY_S) * 1_000:
            raise TokenExpired("the token has ended; refresh the session")
        self.hold_on(caller)

    def hold_on(self, caller: Caller) -> None:
        """The same of one whose answer has begun, and is finished however long that takes."""
        if caller.kid is not None and not self._verifier.knows(caller.kid):
            raise TokenExpired("the key that signed the token was taken away; refresh the session")
        directory = caller.known.directory
        if caller.session_id in directory.revoked_sessions:
            raise SessionRevoked("this session was revoked; log in again")
        if caller.device_id is not None:
            device = directory.devices.get(caller.device_id)
            if device is not None and device.revoked:
                raise SessionRevoked("this device was revoked; ask the clinic's administrator")
        if _sees_otherwise(caller):
            raise CursorScopeChanged("what this device sees has changed meanwhile")
        user = directory.users.get(caller.user_id)
        if user is not None and user.disabled:
            raise SessionRevoked("this user was disabled; ask the clinic's administrator")
        # a cloud's token stands by its key, whatever hub has chosen the cloud's id for its own
        hub_id = caller.issuer if caller.kid is None else caller.hub_id
        if hub_id is not None:
            hub = directory.hubs.get(hub_id)
            if hub is not None and hub.revoked:
                raise SessionRevoked("this hub was revoked; ask the clinic's administrator")

    async def _admit(self, bearer: str, proven: Proven) -> Caller:
        claims = proven.claims
        if "operator" in claims.roles:
            raise Forbidden("an operator belongs to no clinic")
        known = await self._known_of(claims.cid)
        scope: Scope = "full"
        if "hub" not in claims.roles:
            if self._look_again is not None and _would_refuse(known.directory, claims):
                await self._look_again(
                    claims.cid
                )  # it may be over: somebody was let in, or back in, a moment ago
            device = known.directory.devices.get(claims.did or "")
            if device is None:
                raise Forbidden("this server does not know the token's device yet")
            scope = device.scope
        return Caller(
            clinic_id=claims.cid,
            device_id=claims.did,
            user_id=claims.sub,
            roles=claims.roles,
            scope=scope,
            session_id=claims.sid,
            site_id=claims.site,
            expires_at_s=claims.exp,
            issuer=claims.iss,
            kid=proven.kid,
            known=known,
            bearer=bearer,
            hub_id=claims.sub if "hub" in claims.roles else None,
        )


def _would_refuse(directory: Directory, claims: Claims) -> bool:
    device, user = directory.devices.get(claims.did or ""), directory.users.get(claims.sub)
    is_out = device is None or device.revoked or (user is not None and user.disabled)
    return is_out or claims.sid in directory.revoked_sessions


def only_clinic(known: Known) -> Callable[[str], Awaitable[Known]]:
    """For a server of one clinic: what is known of it, and Forbidden for any other."""

    async def known_of(clinic_id: str) -> Known:
        if clinic_id != known.clinic_id:
            raise Forbidden("the token is for another clinic than this server's")
        return known

    return known_of


def _sees_otherwise(caller: Caller) -> bool:
    """Whether the device's scope is another than when the caller was let in."""
    device = caller.known.directory.devices.get(caller.device_id or "")
    return device is not None and device.scope != caller.scope


_MAY: Final[dict[Access, frozenset[str]]] = {
    "device": frozenset({"admin", "clinician", "front_desk"}),
    "device_or_hub": frozenset({"admin", "clinician", "front_desk", "hub"}),
    "hub_or_admin": frozenset({"admin", "hub"}),
    "hub": frozenset({"hub"}),
    "admin": frozenset({"admin"}),
    "operator": frozenset({"operator"}),  # who is no Caller: nobody here has it
}


def require(caller: Caller, access: Access) -> None:
    """Forbidden where none of the caller's roles has that access."""
    if caller.roles.isdisjoint(_MAY[access]):
        raise Forbidden(f"this needs one of the roles {', '.join(sorted(_MAY[access]))}")
