"""Who comes in to a hub that has no cloud: people with a password, devices with a code, and whoever has a token of the
operator's. What is about other hubs needs the cloud.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from hub.no_authority import NoAuthority
from medxz.errors import Forbidden
from medxz.service.gate import require

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.alone.by_token import ByToken
    from hub.alone.office import Office
    from medxz.service.accounts import Origin
    from medxz.service.gate import Caller
    from medxz.store.registry import SqliteRegistry
    from medxz.wire import (
        CodeAnswer,
        CodeRequest,
        EnrolAnswer,
        EnrolRequest,
        JwksAnswer,
        LoginRequest,
        LogoutRequest,
        ReenrolAnswer,
        ReenrolRequest,
        RefreshRequest,
        SessionAnswer,
    )


class LoneAccounts(NoAuthority):
    """The `Accounts` of a hub by itself."""

    def __init__(
        self, office: Office, registry: SqliteRegistry, by_token: ByToken, url: Callable[[], str]
    ) -> None:
        """`by_token` is what there is before anybody has an account; `url` where devices find the hub."""
        self._office: Final = office
        self._registry: Final = registry
        self._by_token: Final = by_token
        self._url: Final = url

    async def login(self, request: LoginRequest, origin: Origin) -> SessionAnswer:
        return await (await self._office.accounts()).sessions.login(request, origin)

    async def refresh(self, request: RefreshRequest, origin: Origin) -> SessionAnswer:
        return await (await self._office.accounts()).sessions.refresh(request, origin)

    async def logout(self, caller: Caller | None, request: LogoutRequest) -> None:
        if caller is not None:  # a token's session may be known to the registry alone
            await self._registry.revoke_session(caller.session_id)
        accounts = await self._office.if_founded()
        if accounts is not None or caller is None:
            await (accounts or await self._office.accounts()).sessions.logout(caller, request)

    async def enrol(self, request: EnrolRequest, origin: Origin) -> EnrolAnswer:
        accounts = await self._office.accounts()
        # a wrong code is of nobody else's clinic: it counts against this one's budget, and stands in its audit
        here = replace(origin, clinic_id=self._office.clinic_id)
        return await accounts.enrolment.enrol(request, here)

    async def reenrol(self, caller: Caller, request: ReenrolRequest) -> ReenrolAnswer:
        require(caller, "device")
        accounts = await self._office.if_founded()
        if accounts is None:
            return await self._by_token.reenrol(caller, request)
        await accounts.taking.take_session(caller)
        return await accounts.enrolment.reenrol(caller, request)

    async def make_code(self, caller: Caller, request: CodeRequest) -> CodeAnswer:
        require(caller, "admin")
        if request.kind == "hub":
            raise Forbidden("a hub claims no hubs; ask the cloud")
        return await (await self._office.codes(self._url())).make_for(caller, request)

    def keys(self) -> JwksAnswer:
        return self._by_token.keys()
