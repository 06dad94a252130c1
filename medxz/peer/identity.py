"""The calls that let people, devices and hubs in, and keep them in.

Those that begin a session or an identity carry no token of a device. A hub that passes them on for a client says by
whose address they come: that counts with the hub's own token, which then goes along.
"""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel

from medxz import wire
from medxz.peer.answers import read_model
from medxz.peer.transport import Transport

NO_CONTENT: Final = 204


class SessionCalls(Transport):
    """What a device asks; a hub passes the same on, with the address of who asked it."""

    async def login(
        self, request: wire.LoginRequest, *, client_address: str | None = None
    ) -> wire.SessionAnswer:
        answered = await self._post("/v1/auth/login", _json(request), client_address=client_address)
        return read_model(answered, wire.SessionAnswer)

    async def refresh(
        self, request: wire.RefreshRequest, *, client_address: str | None = None
    ) -> wire.SessionAnswer:
        """A refresh token is good until its successor is used: a lost answer is asked for again."""
        answered = await self._post("/v1/auth/refresh", _json(request), client_address=client_address)
        return read_model(answered, wire.SessionAnswer)

    async def logout(self, request: wire.LogoutRequest, *, client_address: str | None = None) -> None:
        """End the session of the refresh token; without one, that of the caller."""
        await self._post("/v1/auth/logout", _json(request), client_address=client_address)

    async def enrol(
        self, request: wire.EnrolRequest, *, client_address: str | None = None
    ) -> wire.EnrolAnswer:
        """The same code with the same key gets the same answer again."""
        answered = await self._post("/v1/enroll", _json(request), client_address=client_address)
        return read_model(answered, wire.EnrolAnswer)

    async def reenrol(self, request: wire.ReenrolRequest) -> wire.ReenrolAnswer:
        return read_model(await self._post("/v1/enroll", _json(request)), wire.ReenrolAnswer)

    async def make_code(self, request: wire.CodeRequest) -> wire.CodeAnswer:
        return read_model(await self._post("/v1/codes", _json(request)), wire.CodeAnswer)

    async def jwks(self) -> wire.JwksAnswer:
        return read_model(await self._get("/.well-known/jwks.json"), wire.JwksAnswer)


class HubCalls(Transport):
    """What a hub asks for itself."""

    async def keep_backup(self, piece: wire.BackupPiece) -> wire.BackupAnswer:
        return read_model(await self._post("/v1/hubs/backups", _json(piece)), wire.BackupAnswer)

    async def report(self, request: wire.ReportRequest) -> wire.ReportAnswer:
        """How this hub is; what is wanted of it."""
        return read_model(await self._post("/v1/hubs/report", _json(request)), wire.ReportAnswer)

    async def claim(self, request: wire.ClaimRequest) -> wire.ClaimAnswer:
        return read_model(
            await self._post("/v1/hubs/claim", _json(request), with_token=False), wire.ClaimAnswer
        )

    async def hub_token(self, request: wire.AssertionRequest) -> wire.HubTokenAnswer:
        return read_model(
            await self._post("/v1/auth/hub", _json(request), with_token=False), wire.HubTokenAnswer
        )

    async def renew_certificate(self, request: wire.RenewRequest) -> wire.RenewAnswer:
        return read_model(await self._post("/v1/hubs/renew", _json(request)), wire.RenewAnswer)

    async def directory(self, after: int | None = None) -> wire.DirectoryAnswer | None:
        """What a hub mirrors, whole; None where `after` is the revision of now."""
        answered = await self._get("/v1/hubs/directory", {"after": str(after)} if after is not None else None)
        return None if answered.status == NO_CONTENT else read_model(answered, wire.DirectoryAnswer)


def _json(message: BaseModel) -> bytes:
    """What was not given is left out."""
    return message.model_dump_json(exclude_none=True, by_alias=True).encode()
