"""What a hub asks of its cloud about updates: what it is to run, and the bundle of it from a byte on."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

import httpx

from medxz import wire
from medxz.errors import PeerUnreachable
from medxz.peer.answers import problem_of, read_model
from medxz.peer.request import Request
from medxz.peer.transport import Transport

_NO_CONTENT: Final = 204


class ReleaseCalls(Transport):
    """A hub's own, about its software."""

    async def wanted_release(self, compatible: str, version: str | None) -> wire.UpdateAnswer | None:
        """What this hub is to run in place of `version`; None where that is it already."""
        query = {"compatible": compatible} | ({"version": version} if version is not None else {})
        answered = await self._get("/v1/hubs/update", query)
        return None if answered.status == _NO_CONTENT else read_model(answered, wire.UpdateAnswer)

    async def release_from(self, sha256: str, start: int) -> AsyncGenerator[bytes, None]:
        """The bundle's bytes from `start` on, as they come. PeerUnreachable where the link breaks off."""
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        async with self._opened(Request("GET", f"/v1/hubs/releases/{sha256}", headers=headers)) as response:
            wanted = httpx.codes.PARTIAL_CONTENT if start else httpx.codes.OK
            if response.status_code >= httpx.codes.BAD_REQUEST:
                raise problem_of(await self._whole(response))
            if response.status_code != wanted:
                raise PeerUnreachable(f"{self.url} answered another part of the bundle than was asked for")
            async for chunk in self._listening.each(response.aiter_raw()):
                yield chunk
