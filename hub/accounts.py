"""Who comes in to a hub that was claimed: the cloud decides, and the hub passes on, with the address of who asked.

Before it answers that somebody is in, it has heard of them itself, so that their first op finds its author known. While
the cloud can't be reached it renews sessions by itself (hub/offline.py), and refuses the rest with `cloud_required`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from hub.claimed import Claimed
from hub.neighbours.door import NeighbourDoor
from hub.no_authority import NoAuthority
from hub.offline import OfflineSessions, Shown
from hub.uplink.mirror import Mirror
from hub.uplink.passing import Passing
from medxz.errors import (
    CloudRequired,
    MedxzError,
    PeerRefused,
    Refusal,
    SessionRevoked,
    TokenExpired,
    TokenInvalid,
)
from medxz.peer import Peer
from medxz.service.accounts import Origin
from medxz.service.audit import Audit
from medxz.service.gate import Caller, require
from medxz.store.passed import PassedSession, PassedSessions
from medxz.store.registry import SqliteRegistry
from medxz.trust.claims import Claims
from medxz.trust.tokens import TokenVerifier
from medxz.wire import (
    AssertionRequest,
    CodeAnswer,
    CodeRequest,
    EnrolAnswer,
    EnrolRequest,
    HubTokenAnswer,
    JwksAnswer,
    LoginRequest,
    LogoutRequest,
    ReenrolAnswer,
    ReenrolRequest,
    RefreshRequest,
    SessionAnswer,
)

HEAR_S_MAX: Final = 5.0


@dataclass(frozen=True, slots=True)
class Cloud:
    """The ways to it. `as_device` makes a peer that shows a device's own token."""

    peer: Peer
    as_device: Callable[[str], Peer]
    passing: Passing
    mirror: Mirror


@dataclass(frozen=True, slots=True)
class Kept:
    """What the hub has of those who come in."""

    registry: SqliteRegistry
    sessions: PassedSessions
    verifier: TokenVerifier
    offline: OfflineSessions
    audit: Audit


class HubAccounts(NoAuthority):
    """The `Accounts` of a hub that was claimed."""

    def __init__(
        self,
        claim: Claimed,
        cloud: Cloud,
        kept: Kept,
        door: NeighbourDoor,
        keys: Callable[[], JwksAnswer],
    ) -> None:
        """`door` lets in the site's other hubs; `keys` are those by which tokens are verified here."""
        self._claim: Final = claim
        self._cloud: Final = cloud
        self._kept: Final = kept
        self._door: Final = door
        self._keys: Final = keys

    async def login(self, request: LoginRequest, origin: Origin) -> SessionAnswer:
        asking = self._cloud.peer.login(request, client_address=origin.address)
        try:
            answer = await self._cloud.passing.pass_on(asking)
        except Refusal as refusal:
            await self._note(
                "login_refused", origin, device_id=request.device_id, detail={"code": refusal.code}
            )
            raise
        claims = await self._keep(answer)
        await self._note("login", origin, user_id=claims.sub, device_id=claims.did)
        return answer

    async def refresh(self, request: RefreshRequest, origin: Origin) -> SessionAnswer:
        if request.refresh_token is None:
            return await self._refresh_by_proof(request, origin)
        asking = self._cloud.peer.refresh(request, client_address=origin.address)
        try:
            answer = await self._cloud.passing.pass_on(asking, with_token=True)
        except CloudRequired:
            shown, answer = await self._kept.offline.by_refresh_token(request.refresh_token)
            await self._note_offline(shown, origin)
            return answer
        except (SessionRevoked, TokenInvalid):
            await self._check_our_own_standing()
            raise
        await self._keep(answer)
        return answer

    async def _refresh_by_proof(self, request: RefreshRequest, origin: Origin) -> SessionAnswer:
        """For a device whose refresh token never came by here; not while the cloud can be asked."""
        with suppress(CloudRequired):
            await self._cloud.passing.pass_on(self._cloud.peer.info())
            raise TokenExpired("the cloud can be reached: refresh the session by its refresh token")
        assert request.access_token is not None
        assert request.proof is not None
        shown, answer = self._kept.offline.by_proof(request.access_token, request.proof)
        await self._note_offline(shown, origin)
        return answer

    async def logout(self, caller: Caller | None, request: LogoutRequest) -> None:
        """Ended here at once; where the cloud can't be told, who asked may ask again."""
        if request.refresh_token is not None:
            session = await self._kept.sessions.find(request.refresh_token)
            if session is not None:
                await self._end(session.session_id)
            await self._cloud.passing.pass_on(self._cloud.peer.logout(request), with_token=True)
        if caller is not None:
            await self._end(caller.session_id)
            if request.refresh_token is None:
                async with self._as(caller) as peer:
                    await self._cloud.passing.pass_on(peer.logout(request), with_token=True)

    async def enrol(self, request: EnrolRequest, origin: Origin) -> EnrolAnswer:
        asking = self._cloud.peer.enrol(request, client_address=origin.address)
        try:
            answer = await self._cloud.passing.pass_on(asking)
        except Refusal as refusal:
            await self._note("enrol_refused", origin, detail={"code": refusal.code})
            raise
        if answer.clinic_id != self._claim.clinic_id:
            raise CloudRequired("the code is another clinic's: this hub is not for that device")
        await self._hear_of(answer.device_id, None)
        await self._note("enrolled", origin, device_id=answer.device_id)
        return answer

    async def reenrol(self, caller: Caller, request: ReenrolRequest) -> ReenrolAnswer:
        require(caller, "device")
        async with self._as(caller) as peer:
            answer = await self._cloud.passing.pass_on(peer.reenrol(request), with_token=True)
        await self._hear_of(answer.device_id, caller.user_id)
        return answer

    async def make_code(self, caller: Caller, request: CodeRequest) -> CodeAnswer:
        require(caller, "admin")
        async with self._as(caller) as peer:
            return await self._cloud.passing.pass_on(peer.make_code(request), with_token=True)

    async def hub_token(self, request: AssertionRequest, origin: Origin) -> HubTokenAnswer:
        return await self._door.let_in(request, origin)

    async def pair(self, request: CodeRequest) -> CodeAnswer:
        """A code for a device of this site, which the hub asks for as itself."""
        answer = await self._cloud.passing.pass_on(self._cloud.peer.make_code(request))
        await self._note("code_made", Origin.of(""), detail={"for": request.kind})
        return answer

    def keys(self) -> JwksAnswer:
        return self._keys()

    @asynccontextmanager
    async def _as(self, caller: Caller) -> AsyncIterator[Peer]:
        """The cloud, as somebody asks it who came in here."""
        if caller.issuer != self._claim.cloud_id:
            raise CloudRequired("the cloud does not know this token: refresh the session")
        peer = self._cloud.as_device(caller.bearer)
        try:
            yield peer
        finally:
            await peer.aclose()

    async def _end(self, session_id: str) -> None:
        await self._kept.registry.revoke_session(session_id)
        await self._kept.sessions.forget(session_id)

    async def _keep(self, answer: SessionAnswer) -> Claims:
        """Remember whose session the cloud has just given, by the hash of its refresh token."""
        try:
            claims = self._kept.verifier.verify(answer.access_token)
        except TokenInvalid:  # signed with a key that this hub has not heard of yet
            await self._hear()
            claims = self._kept.verifier.verify(answer.access_token)
        await self._hear_of(claims.did or "", claims.sub)
        if answer.refresh_token is not None and claims.did is not None:
            # by the cloud's own time, whatever the clock here says
            stood_ms = claims.iat * 1_000
            session = PassedSession(claims.sid, claims.sub, claims.did, claims.site, claims.roles, stood_ms)
            await self._kept.sessions.keep(answer.refresh_token, session)
        return claims

    async def _hear_of(self, device_id: str, user_id: str | None) -> None:
        """Let the directory be here in which this device, and this person on it, are known."""
        device = self._kept.registry.directory.devices.get(device_id)
        if device is None or (user_id is not None and user_id not in device.authors):
            await self._hear()

    async def _hear(self) -> None:
        with suppress(MedxzError, TimeoutError):
            async with asyncio.timeout(HEAR_S_MAX):
                await self._cloud.mirror.refresh()

    async def _check_our_own_standing(self) -> None:
        """A session was refused: unless it is this hub that the cloud does not let in, that is so."""
        try:
            await self._cloud.mirror.refresh()
        except PeerRefused:
            raise CloudRequired(
                "the cloud does not let this hub in; ask the clinic's administrator"
            ) from None
        except MedxzError:
            return

    async def _note_offline(self, shown: Shown, origin: Origin) -> None:
        await self._note("offline_session", origin, user_id=shown.user_id, device_id=shown.device_id)

    async def _note(
        self,
        event: str,
        origin: Origin,
        *,
        user_id: str | None = None,
        device_id: str | None = None,
        detail: dict[str, str] | None = None,
    ) -> None:
        await self._kept.audit.note(
            self._claim.clinic_id,
            event,
            user_id=user_id,
            device_id=device_id,
            hub_id=self._claim.hub_id,
            address=origin.address,
            detail=detail or {},
        )
