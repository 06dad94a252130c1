"""What a hub fetches of its cloud: what it is to run, and the backups that it may have, each file from a byte on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Final

import httpx

from medxz import wire
from medxz.errors import PeerUnreachable
from medxz.peer.answers import problem_of, read_model
from medxz.peer.request import Request
from medxz.peer.transport import Transport

_NO_CONTENT: Final = 204


class FetchCalls(Transport):
    """A hub's own, about its software and its backups."""

    async def wanted_release(self, compatible: str, version: str | None) -> wire.UpdateAnswer | None:
        """What this hub is to run in place of `version`; None where that is it already."""
        query = {"compatible": compatible} | ({"version": version} if version is not None else {})
        answered = await self._get("/v1/hubs/update", query)
        return None if answered.status == _NO_CONTENT else read_model(answered, wire.UpdateAnswer)

    def release_from(self, sha256: str, start: int) -> AsyncGenerator[bytes, None]:
        """The bundle's bytes from `start` on, as they come. PeerUnreachable where the link breaks off."""
        return self._bytes_from(f"/v1/hubs/releases/{sha256}", None, start)

    async def backups(self, cursor: str | None = None) -> wire.BackupsAnswer:
        """A page of those that this hub may have, the newest first."""
        answered = await self._get("/v1/hubs/backups", {"cursor": cursor} if cursor is not None else None)
        return read_model(answered, wire.BackupsAnswer)

    def backup_from(self, backup_id: str, file: str, start: int) -> AsyncGenerator[bytes, None]:
        """The bytes of a file of a backup from `start` on, as they come. PeerUnreachable where the link breaks off."""
        return self._bytes_from(f"/v1/hubs/backups/{backup_id}", {"file": file}, start)

    async def _bytes_from(
        self, path: str, query: Mapping[str, str] | None, start: int
    ) -> AsyncGenerator[bytes, None]:
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        async with self._opened(Request("GET", path, query, headers=headers)) as response:
            wanted = httpx.codes.PARTIAL_CONTENT if start else httpx.codes.OK
            if response.status_code >= httpx.codes.BAD_REQUEST:
                raise problem_of(await self._whole(response))
            if response.status_code != wanted:
                raise PeerUnreachable(f"{self.url} answered another part of the file than was asked for")
            async for chunk in self._listening.each(response.aiter_raw()):
                yield chunk
