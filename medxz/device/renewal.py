"""The token of each request: the session that goes on by itself, for as long as a server lets it.

It is renewed before it ends, and when a server says that it has ended. One renewal runs at a time. The successor is
durable here before it is used: the server takes the old refresh token until then, so that no crash loses a session.
A hub without its cloud may renew it by a proof of the device's key. What a server has ended is forgotten, and told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from medxz.clock import Clock
from medxz.device.reach import Server
from medxz.device.store import DeviceStore
from medxz.device.store.identity import Kind
from medxz.device.store.sessions import Session
from medxz.device.token import read_claims
from medxz.errors import ConfigurationError, PeerRefused, PeerUnreachable
from medxz.ids import Ids
from medxz.work import Worker

if TYPE_CHECKING:
    from medxz import wire
    from medxz.peer import Credentials

T = TypeVar("T")

RENEW_BEFORE_MS: Final = 60_000
# while a renewal that is early fails, the token there is does
TRY_AGAIN_MS: Final = 10_000


class Ask(Protocol):
    """How a server is had: the work is done with one that can."""

    async def __call__(self, work: Callable[[Server], Awaitable[T]]) -> T: ...


class Renewal:
    """`medxz.peer.Credentials` of a device. `ask` does something with a server of its, without a token."""

    def __init__(
        self,
        store: DeviceStore,
        worker: Worker,
        clock: Clock,
        ids: Ids,
        ask: Ask,
    ) -> None:
        self._store = store
        self._worker = worker
        self._clock = clock
        self._ids = ids
        self._ask = ask
        self._session: Session | None = None
        self._one_at_a_time = asyncio.Lock()
        self._not_before_ms = 0

    def changed(self) -> None:
        """Somebody has logged in or out, or the device became another: read it again."""
        self._session = None

    def at(self, kind: Kind | None, server_id: str | None) -> Credentials:
        """The tokens for one server: a cloud takes its own alone, and none that a hub signed without it."""
        return _AtCloud(self, server_id) if kind == "cloud" and server_id is not None else self

    async def token(self, issuer: str | None = None) -> str | None:
        """`issuer`: the only one whose tokens will do."""
        session = await self._held()
        if self._is_due(session) or _is_of_another(session, issuer):
            async with self._one_at_a_time:
                session = await self._held()
                if self._is_due(session) or _is_of_another(session, issuer):
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

        async def renewed(server: Server) -> wire.SessionAnswer:
            try:
                return await server.refresh(wire.RefreshRequest(refresh_token=session.refresh_token))
            except PeerRefused as refused:
                if refused.code != "cloud_required":
                    raise
                return await self._renew_by_proof(server, session, refused)

        try:
            answer = await self._ask(renewed)
        except PeerRefused as refused:
            if _is_final(refused):
                await self._worker.run(self._store.session_has_ended, session)
                self._session = None
            raise
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


class _AtCloud:
    """The tokens that this cloud takes."""

    def __init__(self, renewal: Renewal, server_id: str) -> None:
        self._renewal = renewal
        self._server_id = server_id

    async def token(self) -> str | None:
        return await self._renewal.token(self._server_id)

    async def ended(self, token: str) -> bool:
        return await self._renewal.ended(token)


def _is_of_another(session: Session, issuer: str | None) -> bool:
    if issuer is None or session.refresh_token is None or not session.access_token:
        return False
    try:
        signed_by = read_claims(session.access_token).server_id
    except ConfigurationError:
        return False  # a server will say what it thinks of it
    return signed_by not in {None, issuer}


def _is_final(error: PeerRefused | PeerUnreachable) -> bool:
    """Whether no later answer can be another: the session is over."""
    return isinstance(error, PeerRefused) and error.code == "session_revoked"
