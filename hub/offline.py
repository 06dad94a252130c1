"""Sessions that go on while the cloud can't be reached: renewed by the hub itself, for as long as the clinic lets them.

The hours count from when the cloud last stood for the session, however often it was renewed since. Shown is a refresh
token that went through this hub, or the last access token with a proof by the device's key. Refused: whoever was
revoked or disabled, as far as this hub has heard, and whom it does not know. A refresh token stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hub.claimed import Claimed
from medxz import limits
from medxz.clock import Clock
from medxz.errors import CloudRequired, SessionRevoked, TokenInvalid
from medxz.store.directory import DeviceEntry, User
from medxz.store.passed import PassedSessions
from medxz.store.registry import SqliteRegistry
from medxz.trust.certificates import Credential
from medxz.trust.proofs import TakenOnce, verify_proof
from medxz.trust.tokens import TokenVerifier
from medxz.trust.vouched import HubTokenSigner, cloud_stood_at
from medxz.wire import SessionAnswer, SessionClinic, SessionUser


@dataclass(frozen=True, slots=True)
class Shown:
    """A session that somebody has shown to have, and when the cloud last stood for it."""

    session_id: str
    user_id: str
    device_id: str
    cloud_s: int


class OfflineSessions:
    """One hub's."""

    def __init__(
        self,
        claim: Claimed,
        credential: Callable[[], Credential],
        registry: SqliteRegistry,
        passed: PassedSessions,
        verifier: TokenVerifier,
        clock: Clock,
    ) -> None:
        """`credential`: the hub's certificate of now, with its key."""
        self._claim: Final = claim
        self._registry: Final = registry
        self._passed: Final = passed
        self._verifier: Final = verifier
        self._credential: Final = credential
        self._once: Final = TakenOnce(clock)
        self._clock: Final = clock

    async def by_refresh_token(self, refresh_token: str) -> tuple[Shown, SessionAnswer]:
        """Renew a session that this hub passed on; CloudRequired or SessionRevoked where not."""
        session = await self._passed.find(refresh_token)
        if session is None:
            raise CloudRequired("this session did not go through this hub: it is renewed by the cloud alone")
        shown = Shown(session.session_id, session.user_id, session.device_id, session.passed_ms // 1_000)
        return shown, self._renewed(shown)

    def by_proof(self, access_token: str, proof: str) -> tuple[Shown, SessionAnswer]:
        """Renew one whose device shows its last token and its key; TokenInvalid too where these don't hold."""
        hours = self._registry.config.offline_session_hours
        claims = self._verifier.verify(access_token, ended_s=hours * 3_600)
        device = self._registry.directory.devices.get(claims.did or "")
        if device is None:
            raise CloudRequired("this hub does not know the device yet")
        keys = [Ed25519PublicKey.from_public_bytes(key) for key in device.public_keys]
        held = verify_proof(proof, keys, self._claim.hub_id, self._clock)
        if held.issuer != device.device_id:
            raise TokenInvalid("the proof is by another device than the token's")
        self._once.take(held)
        shown = Shown(
            claims.sid, claims.sub, device.device_id, self._stood_at(access_token, claims.iss, claims.iat)
        )
        return shown, self._renewed(shown)

    def _stood_at(self, access_token: str, issuer: str, begun_s: int) -> int:
        if issuer == self._claim.cloud_id:
            return begun_s
        stood = cloud_stood_at(access_token)
        if stood is None:
            raise CloudRequired("the cloud never stood for this session: log in")
        return stood

    def _renewed(self, shown: Shown) -> SessionAnswer:
        user, _ = self._judged(shown)
        config, now_s = self._registry.config, self._clock.now_ms() // 1_000
        left_s = shown.cloud_s + config.offline_session_hours * 3_600 - now_s
        if left_s <= 0:
            raise CloudRequired(
                f"without the cloud a session lasts {config.offline_session_hours} hours, which are over"
            )
        ttl_s = min(limits.ACCESS_TOKEN_S, left_s)
        token = HubTokenSigner(self._credential(), self._claim.hub_id, self._clock).issue(
            sub=user.user_id,
            cid=self._claim.clinic_id,
            did=shown.device_id,
            sid=shown.session_id,
            site=self._claim.site_id,
            roles=user.roles,
            ttl_s=ttl_s,
            cloud_s=shown.cloud_s,
        )
        return SessionAnswer(
            access_token=token,
            refresh_token=None,
            expires_in=ttl_s,
            user=SessionUser(user_id=user.user_id, name=user.name, email=user.email),
            clinic=SessionClinic(clinic_id=self._claim.clinic_id, name=config.name),
            roles=sorted(user.roles),
        )

    def _judged(self, shown: Shown) -> tuple[User, DeviceEntry]:
        """Whose it is, where both may go on; by what the hub has last heard."""
        directory = self._registry.directory
        user, device = directory.users.get(shown.user_id), directory.devices.get(shown.device_id)
        if user is None or device is None or shown.user_id not in device.authors:
            raise CloudRequired("this hub does not know of this person on this device yet")
        if user.disabled or not user.roles:
            raise SessionRevoked("this user was disabled; ask the clinic's administrator")
        if device.revoked:
            raise SessionRevoked("this device was revoked; ask the clinic's administrator")
        if shown.session_id in directory.revoked_sessions:
            raise SessionRevoked("this session was revoked; log in again")
        return user, device
