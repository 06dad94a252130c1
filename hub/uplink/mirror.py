"""The cloud's directory brought here: asked for when it has changed, put in place at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from medxz.errors import PeerUnreachable
from medxz.store.registry import SqliteRegistry
from medxz.wire import DirectoryAnswer


class Telling(Protocol):
    """A cloud that tells its directory."""

    async def directory(self, after: int | None = None) -> DirectoryAnswer | None: ...


class Mirror:
    """Keeps the registry as the cloud has it. `wanted` is set where there is something to fetch."""

    def __init__(
        self,
        cloud: Telling,
        registry: SqliteRegistry,
        changed: Callable[[int, int], Awaitable[None]] | None = None,
    ) -> None:
        """`changed` is told the revision before and the new one."""
        self._cloud: Final = cloud
        self._registry: Final = registry
        self._changed: Final = changed
        self._refreshing: Final = asyncio.Lock()
        self.wanted: Final = asyncio.Event()

    def heard(self, revision: int) -> None:
        """The cloud says which revision it has."""
        if revision != self._registry.directory.revision:
            self.wanted.set()

    async def refresh(self) -> bool:
        """As the cloud has it now; whether it had changed. Sessions that were revoked end with that."""
        async with self._refreshing:
            self.wanted.clear()
            before = self._registry.directory.revision
            told = await self._cloud.directory(before or None)
            if told is None:
                return False
            if told.config.clinic_id != self._registry.clinic_id:
                raise PeerUnreachable("the cloud tells of another clinic than this hub's")
            await self._registry.replace_directory(told)
            if self._changed is not None:
                await self._changed(before, told.revision)
            return True
