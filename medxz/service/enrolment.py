"""A new id for a device that finds itself restored from a copy, or cloned. Enrolment by a code comes later."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Final

from medxz.clock import Clock
from medxz.errors import Forbidden
from medxz.ids import Ids
from medxz.service.gate import Caller, require
from medxz.store.registry import SqliteRegistry
from medxz.trust.tokens import TokenSigner
from medxz.wire import ConfigAnswer, ReenrolAnswer, ReenrolRequest


class Enrolment:
    """The use case. One instance a server."""

    def __init__(
        self,
        registry: SqliteRegistry,
        signer: TokenSigner,
        config: Callable[[Caller], ConfigAnswer],
        ids: Ids,
        clock: Clock,
    ) -> None:
        self._registry: Final = registry
        self._signer: Final = signer
        self._config: Final = config
        self._ids: Final = ids
        self._clock: Final = clock

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
        # the same session: it ends when it would have, and is revoked under both ids at once
        left_s = caller.expires_at_s - self._clock.now_ms() // 1_000
        token = self._signer.issue(
            sub=caller.user_id,
            cid=caller.clinic_id,
            did=device_id,
            sid=caller.session_id,
            site=caller.site_id,
            roles=caller.roles,
            ttl_s=max(left_s, 1),
        )
        config = self._config(caller)
        return ReenrolAnswer(
            device_id=device_id,
            clinic_id=caller.clinic_id,
            site_id=caller.site_id,
            scope=old.scope,
            access_token=token,
            ca_certificates=config.ca_certificates,
            targets=config.targets,
        )


def _raw(key: str) -> bytes:
    return base64.urlsafe_b64decode(key + "=")
