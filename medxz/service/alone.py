"""Who comes in to a hub that has no cloud: whoever has a token that the hub itself made. The rest needs the cloud."""

from __future__ import annotations

import base64
from typing import Final, NoReturn

from medxz.clock import Clock
from medxz.errors import CloudRequired, Forbidden
from medxz.ids import Ids
from medxz.service.accounts import Origin
from medxz.service.configuration import config_answer
from medxz.service.gate import Caller, require
from medxz.store.registry import SqliteRegistry
from medxz.trust.tokens import TokenSigner
from medxz.wire import (
    AssertionRequest,
    ClaimAnswer,
    ClaimRequest,
    CodeAnswer,
    CodeRequest,
    DirectoryAnswer,
    EnrolAnswer,
    EnrolRequest,
    HubTokenAnswer,
    JwksAnswer,
    LoginRequest,
    LogoutRequest,
    ReenrolAnswer,
    ReenrolRequest,
    RefreshRequest,
    RenewAnswer,
    RenewRequest,
    SessionAnswer,
)


class NoAuthority:
    """What no hub does, whoever asks."""

    async def claim(self, _request: ClaimRequest, _origin: Origin) -> ClaimAnswer:
        raise Forbidden("a hub claims no hubs; ask the cloud")

    async def renew(self, caller: Caller, _request: RenewRequest) -> RenewAnswer:
        require(caller, "hub")
        raise Forbidden("a hub certifies no hubs; ask the cloud")

    async def hub_token(self, _request: AssertionRequest, _origin: Origin) -> HubTokenAnswer:
        raise Forbidden("a hub lets in no hubs; ask the cloud")

    async def directory(self, caller: Caller, _after: int | None) -> DirectoryAnswer | None:
        require(caller, "hub")
        raise Forbidden("a hub's directory is the cloud's; ask the cloud")


class Alone(NoAuthority):
    """The `Accounts` of a hub by itself."""

    def __init__(
        self, registry: SqliteRegistry, signer: TokenSigner, keys: JwksAnswer, ids: Ids, clock: Clock
    ) -> None:
        """`keys` are those by which the hub's tokens are verified."""
        self._registry: Final = registry
        self._signer: Final = signer
        self._keys: Final = keys
        self._ids: Final = ids
        self._clock: Final = clock

    async def login(self, _request: LoginRequest, _origin: Origin) -> SessionAnswer:
        _needs_the_cloud()

    async def refresh(self, _request: RefreshRequest, _origin: Origin) -> SessionAnswer:
        _needs_the_cloud()

    async def logout(self, caller: Caller | None, _request: LogoutRequest) -> None:
        if caller is None:
            _needs_the_cloud()
        await self._registry.revoke_session(caller.session_id)

    async def enrol(self, _request: EnrolRequest, _origin: Origin) -> EnrolAnswer:
        _needs_the_cloud()

    async def reenrol(self, caller: Caller, request: ReenrolRequest) -> ReenrolAnswer:
        """The same tablet with another id: its scope, its authors, its user's session and its key go with it."""
        require(caller, "device")
        old = self._registry.directory.devices.get(caller.name)
        if old is None:
            raise Forbidden("this server does not know the token's device")
        if caller.user_id not in self._registry.directory.users:
            raise Forbidden("this server does not know the token's user")
        device_id = self._ids.uuid7()
        await self._registry.put_device(device_id, old.scope, _raw(request.public_key))
        for author in sorted(old.authors | {caller.user_id}):
            await self._registry.put_session(self._ids.uuid7(), author, device_id)
        config = config_answer(self._registry)
        return ReenrolAnswer(
            device_id=device_id,
            clinic_id=caller.clinic_id,
            site_id=caller.site_id,
            scope=old.scope,
            access_token=self._same_session(caller, device_id),
            ca_certificates=config.ca_certificates,
            targets=config.targets,
        )

    async def make_code(self, caller: Caller, _request: CodeRequest) -> CodeAnswer:
        require(caller, "admin")
        _needs_the_cloud()

    def keys(self) -> JwksAnswer:
        return self._keys

    def _same_session(self, caller: Caller, device_id: str) -> str:
        """It ends when it would have, and is revoked under both ids at once."""
        left_s = caller.expires_at_s - self._clock.now_ms() // 1_000
        return self._signer.issue(
            sub=caller.user_id,
            cid=caller.clinic_id,
            did=device_id,
            sid=caller.session_id,
            site=caller.site_id,
            roles=caller.roles,
            ttl_s=max(left_s, 1),
        )


def _needs_the_cloud() -> NoReturn:
    raise CloudRequired("this hub has no cloud: `medxz-hub token` gives a token, `medxz-hub claim` a cloud")


def _raw(key: str) -> bytes:
    return base64.urlsafe_b64decode(key + "=")
