"""The token of each request: the session that goes on by itself, for as long as a server lets it.

It is renewed before it ends, and when a server says that it has ended. One renewal runs at a time. The successor is
durable here before it is used: the server takes the old refresh token until then, so that no crash loses a session.
A hub without its cloud may renew it by a proof of the device's key. What a server has ended is forgotten, and told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from medxz.clock import Clock
from medxz.device.reach import Server
from medxz.device.store import DeviceStore
from medxz.device.store.sessions import Session
from medxz.errors import PeerRefused, PeerUnreachable
from medxz.ids import Ids
from medxz.work import Worker

if TYPE_CHECKING:
    from medxz import wire

RENEW_BEFORE_MS: Final = 60_000
# while a renewal that is early fails, the token there is does
TRY_AGAIN_MS: Final = 10_000


class Renewal:
    """`medxz.peer.Credentials` of a device. `connect` gives its server, to be asked without a token."""

    def __init__(
        self,
        store: DeviceStore,
        worker: Worker,
        clock: Clock,
        ids: Ids,
        connect: Callable[[], Awaitable[Server]],
    ) -> None:
        self._store = store
        self._worker = worker
        self._clock = clock
        self._ids = ids
        self._connect = connect
        self._session: Session | None = None
        self._one_at_a_time = asyncio.Lock()
        self._not_before_ms = 0

    def changed(self) -> None:
        """Somebody has logged in or out, or the device became another: read it again."""
        self._session = None

    async def token(self) -> str | None:
        session = await self._held()
        if self._is_due(session):
            async with self._one_at_a_time:
                session = await self._held()
                if self._is_due(session):
                    session = await self._renewed_early(session)
        return session.access_token or None

    async def ended(self, token: str) -> bool:
        async with self._one_at_a_time:
            session = await self._held()
            if session.access_token == token:
                if session.refresh_token is None:
                    return False
                session = await self._renew(session)
            return bool(session.access_token) and session.access_token != token

    async def _held(self) -> Session:
        if self._session is None:
            self._session = await self._worker.run(self._store.session)
        return self._session

    def _is_due(self, session: Session) -> bool:
        if session.refresh_token is None or session.ends_ms is None:
            return False
        now_ms = self._clock.now_ms()
        return now_ms >= session.ends_ms - RENEW_BEFORE_MS and now_ms >= self._not_before_ms

    async def _renewed_early(self, session: Session) -> Session:
        """The next tokens; while they can't be had, those that are there."""
        try:
            return await self._renew(session)
        except (PeerUnreachable, PeerRefused) as error:
            now_ms = self._clock.now_ms()
            if session.ends_ms is None or now_ms >= session.ends_ms or _is_final(error):
                raise
            self._not_before_ms = now_ms + TRY_AGAIN_MS
            return session

    async def _renew(self, session: Session) -> Session:
        from medxz import wire

        server = await self._connect()
        try:
            answer = await server.refresh(wire.RefreshRequest(refresh_token=session.refresh_token))
        except PeerRefused as refused:
            if _is_final(refused):
                await self._worker.run(self._store.session_has_ended, session)
                self._session = None
                raise
            if refused.code != "cloud_required":
                raise
            answer = await self._renew_by_proof(server, session, refused)
        finally:
            await server.aclose()
        return await self._keep(session, answer)

    async def _renew_by_proof(
        self, server: Server, session: Session, refused: PeerRefused
    ) -> wire.SessionAnswer:
        """At a hub that has no cloud now and did not pass this session on."""
        from medxz import wire
        from medxz.trust.proofs import sign_proof

        info = await server.info()
        if info.kind != "hub":
            raise refused
        identity = await self._worker.run(self._store.identity)
        proof = sign_proof(identity.key, identity.device_id, info.server_id, self._clock, self._ids)
        return await server.refresh(wire.RefreshRequest(access_token=session.access_token, proof=proof))

    async def _keep(self, before: Session, answer: wire.SessionAnswer) -> Session:
        after = Session(
            before.user_id, before.email, answer.access_token, answer.refresh_token or before.refresh_token,
            self._clock.now_ms() + answer.expires_in * 1_000, tuple(sorted(answer.roles)),
        )  # fmt: skip
        self._session = await self._worker.run(self._store.go_on, before, after)
        return self._session


def _is_final(error: PeerRefused | PeerUnreachable) -> bool:
    """Whether no later answer can be another: the session is over."""
    return isinstance(error, PeerRefused) and error.code == "session_revoked"
