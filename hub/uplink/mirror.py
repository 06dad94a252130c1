"""The cloud's directory brought here: asked for when it has changed, put in place at once.

A revision says something only beside another of the same log, over one connection: a cloud that was restored counts
to the same number again, and means something else by it. So after each connection that ended the directory comes
whole, however equal the numbers are; that is little beside what a meeting costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, Protocol

from medxz.errors import PeerUnreachable
from medxz.replicate import LogId
from medxz.store.directory import Directory
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
        self._log: LogId | None = None
        self._doubts = 0
        self._fetched: tuple[LogId | None, int] | None = None  # out of which log, and after how many doubts
        self.wanted: Final = asyncio.Event()

    async def met(self, log: LogId) -> None:
        """The cloud was met, and has this log."""
        self._log = log
        await self.refresh()

    def doubt(self) -> None:
        """The connection has ended: what answers next may have been restored meanwhile."""
        self._doubts += 1

    def heard(self, revision: int) -> None:
        """The cloud says which revision it has."""
        if revision != self._registry.directory.revision:
            self.wanted.set()

    async def refresh(self) -> bool:
        """As the cloud has it now; whether it had changed. Sessions that were revoked end with that."""
        async with self._refreshing:
            self.wanted.clear()
            before, now = self._registry.directory, (self._log, self._doubts)
            told = await self._cloud.directory(before.revision or None if now == self._fetched else None)
            if told is None:
                return False
            if told.config.clinic_id != self._registry.clinic_id:
                raise PeerUnreachable("the cloud tells of another clinic than this hub's")
            await self._registry.replace_directory(told)
            self._fetched = now
            has_changed = _mirrored(before) != _mirrored(self._registry.directory)
            if has_changed and self._changed is not None:
                await self._changed(before.revision, told.revision)
            return has_changed


def _mirrored(directory: Directory) -> Directory:
    """What the cloud decides, without how far its log is."""
    return replace(directory, cloud_epoch=None, cloud_marks={}, cloud_refusals={})
