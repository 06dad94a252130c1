"""Who is asking: a bearer token made into a caller, and what that caller may ask at all.

Verified tokens are remembered for as long as they live; whether a session or a device was revoked, and what the device
sees, is looked up at every request. What a caller may write is judged op by op in judge.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from medxz import limits
from medxz.clock import Clock
from medxz.endpoints import Access
from medxz.errors import CursorScopeChanged, Forbidden, SessionRevoked, TokenExpired, TokenMissing
from medxz.scope import Scope
from medxz.store.registry import SqliteRegistry
from medxz.trust.tokens import Claims, TokenVerifier


@dataclass(frozen=True, slots=True)
class Caller:
    """A device with a user at it, or a hub."""

    clinic_id: str
    device_id: str | None
    user_id: str
    roles: frozenset[str]
    scope: Scope
    session_id: str
    site_id: str
    expires_at_s: int
    hub_id: str | None = None

    @property
    def name(self) -> str:
        """What it is counted and limited under."""
        return self.device_id or self.user_id


class Gate:
    """Lets callers in."""

    def __init__(
        self, verifier: TokenVerifier, registry: SqliteRegistry, clinic_id: str, clock: Clock
    ) -> None:
        self._verifier: Final = verifier
        self._registry: Final = registry
        self._clinic_id: Final = clinic_id
        self._clock: Final = clock
        self._known: dict[str, Caller] = {}

    def identify(self, bearer: str | None) -> Caller:
        """The caller with this token; TokenMissing, TokenInvalid, TokenExpired, SessionRevoked or Forbidden."""
        if not bearer:
            raise TokenMissing("this request needs a token")
        caller = self._known.get(bearer)
        if caller is None or self._sees_otherwise(caller):
            caller = self._admit(self._verifier.verify(bearer))
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
        directory = self._registry.directory
        if caller.session_id in directory.revoked_sessions:
            raise SessionRevoked("this session was revoked; log in again")
        if caller.device_id is not None:
            device = directory.devices.get(caller.device_id)
            if device is not None and device.revoked:
                raise SessionRevoked("this device was revoked; ask the clinic's administrator")
        if self._sees_otherwise(caller):
            raise CursorScopeChanged("what this device sees has changed meanwhile")
        user = directory.users.get(caller.user_id)
        if user is not None and user.disabled:
            raise SessionRevoked("this user was disabled; ask the clinic's administrator")

    def _sees_otherwise(self, caller: Caller) -> bool:
        """Whether the device's scope is another than when the caller was let in."""
        device = self._registry.directory.devices.get(caller.device_id or "")
        return device is not None and device.scope != caller.scope

    def _admit(self, claims: Claims) -> Caller:
        if claims.cid != self._clinic_id:
            raise Forbidden("the token is for another clinic than this server's")
        scope: Scope = "full"
        if "hub" not in claims.roles:
            device = self._registry.directory.devices.get(claims.did or "")
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
            hub_id=claims.sub if "hub" in claims.roles else None,
        )


_MAY: Final[dict[Access, frozenset[str]]] = {
    "device": frozenset({"admin", "clinician", "front_desk"}),
    "device_or_hub": frozenset({"admin", "clinician", "front_desk", "hub"}),
    "hub_or_admin": frozenset({"admin", "hub"}),
    "admin": frozenset({"admin"}),
}


def require(caller: Caller, access: Access) -> None:
    """Forbidden where none of the caller's roles has that access."""
    if caller.roles.isdisjoint(_MAY[access]):
        raise Forbidden(f"this needs one of the roles {', '.join(sorted(_MAY[access]))}")
