"""Whoever has a token that the hub itself made, on a hub without accounts: what there is for them beside sync."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from medxz.errors import Forbidden
from medxz.service.configuration import config_answer
from medxz.service.gate import Caller, require
from medxz.wire import JwksAnswer, ReenrolAnswer, ReenrolRequest

if TYPE_CHECKING:
    from medxz.clock import Clock
    from medxz.ids import Ids
    from medxz.store.registry import SqliteRegistry
    from medxz.trust.tokens import TokenSigner


class ByToken:
    """One hub's."""

    def __init__(
        self, registry: SqliteRegistry, signer: TokenSigner, keys: JwksAnswer, ids: Ids, clock: Clock
    ) -> None:
        """`keys` are those by which the hub's tokens are verified."""
        self._registry: Final = registry
        self._signer: Final = signer
        self._keys: Final = keys
        self._ids: Final = ids
        self._clock: Final = clock

    async def reenrol(self, caller: Caller, request: ReenrolRequest) -> ReenrolAnswer:
        """The same tablet with another id: its scope, its authors, its user's session and its key go with it."""
        from medxz.accounts.base import raw_key

        require(caller, "device")
        old = self._registry.directory.devices.get(caller.name)
        if old is None:
            raise Forbidden("this server does not know the token's device")
        if caller.user_id not in self._registry.directory.users:
            raise Forbidden("this server does not know the token's user")
        device_id = self._ids.uuid7()
        await self._registry.put_device(device_id, old.scope, raw_key(request.public_key))
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
