"""Who may come in: people, devices and hubs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medxz.errors import Invalid, TokenMissing
from medxz.service.gate import require
from medxz.web.body import read_model
from medxz.web.handlers.room import Room
from medxz.web.origin import origin_of
from medxz.wire import (
    AssertionRequest,
    ClaimRequest,
    CodeRequest,
    EnrolRequest,
    LoginRequest,
    LogoutRequest,
    ReenrolRequest,
    RefreshRequest,
    RenewRequest,
)

if TYPE_CHECKING:
    from aiohttp import web

    from medxz.web.call import Call
    from medxz.web.handlers.room import Handler


class IdentityRoom(Room):
    """Sessions, pairing codes, enrolment, hubs."""

    def table(self) -> dict[str, Handler]:
        return {
            "login": self._login,
            "refresh": self._refresh,
            "logout": self._logout,
            "hub_token": self._hub_token,
            "code": self._code,
            "enroll": self._enroll,
            "hub_claim": self._claim,
            "hub_renew": self._renew,
            "hub_directory": self._directory,
            "jwks": self._jwks,
        }

    async def _login(self, call: Call) -> web.StreamResponse:
        message = await self._bodies.read_model(call, LoginRequest)
        return await self._model(call, await self._services.accounts.login(message, origin_of(call)))

    async def _refresh(self, call: Call) -> web.StreamResponse:
        message = await self._bodies.read_model(call, RefreshRequest)
        return await self._model(call, await self._services.accounts.refresh(message, origin_of(call)))

    async def _logout(self, call: Call) -> web.StreamResponse:
        body = await self._bodies.read(call)
        message = read_model(LogoutRequest, body) if body else LogoutRequest()
        caller = call.caller
        if caller is None and message.refresh_token is None:
            raise TokenMissing("the session's access token, or its refresh_token, says which one ends")
        if caller is not None and caller.hub_id is not None:
            if message.refresh_token is None:
                raise Invalid("a hub says whose session ends", field="refresh_token")
            caller = None  # it passes on: its own session is none that logs out
        await self._services.accounts.logout(caller, message)
        return call.answer_nothing()

    async def _hub_token(self, call: Call) -> web.StreamResponse:
        message = await self._bodies.read_model(call, AssertionRequest)
        return await self._model(call, await self._services.accounts.hub_token(message, origin_of(call)))

    async def _code(self, call: Call) -> web.StreamResponse:
        require(call.authorised(), "hub_or_admin")
        message = await self._bodies.read_model(call, CodeRequest)
        return await self._model(call, await self._services.accounts.make_code(call.authorised(), message))

    async def _enroll(self, call: Call) -> web.StreamResponse:
        caller = call.caller
        if caller is not None and caller.hub_id is None:
            again = await self._bodies.read_model(call, ReenrolRequest)
            return await self._model(call, await self._services.accounts.reenrol(caller, again))
        message = await self._bodies.read_model(call, EnrolRequest)
        return await self._model(call, await self._services.accounts.enrol(message, origin_of(call)))

    async def _claim(self, call: Call) -> web.StreamResponse:
        message = await self._bodies.read_model(call, ClaimRequest)
        return await self._model(call, await self._services.accounts.claim(message, origin_of(call)))

    async def _renew(self, call: Call) -> web.StreamResponse:
        require(call.authorised(), "hub")
        message = await self._bodies.read_model(call, RenewRequest)
        return await self._model(call, await self._services.accounts.renew(call.authorised(), message))

    async def _directory(self, call: Call) -> web.StreamResponse:
        require(call.authorised(), "hub")
        given = call.query.get("after")
        after = None if given is None else int(given)
        found = await self._services.accounts.directory(call.authorised(), after)
        return call.answer_nothing() if found is None else await self._model(call, found)

    async def _jwks(self, call: Call) -> web.StreamResponse:
        return await self._model(call, self._services.accounts.keys())
