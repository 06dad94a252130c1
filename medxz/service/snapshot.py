"""Snapshot: every entity of a device's scope as it stood at one position of the log, a few at a time.

Between two portions nothing is held: no transaction, no connection, only the id to go on behind. What is pushed
meanwhile lies behind the position and is not in it. One portion is made ahead of the one that is being read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Final

import msgspec

from medxz import limits
from medxz.merge.line import line_of
from medxz.scope import Scope
from medxz.service.changes import entity_and_changes
from medxz.service.cursor import Cursors
from medxz.service.gate import Caller, Gate, require
from medxz.store.base import LogStore
from medxz.wire import SnapshotHeader
from medxz.work import Worker

_ENCODE: Final = msgspec.json.Encoder().encode


class Snapshot:
    """The use case. One instance a server."""

    def __init__(self, log: LogStore, gate: Gate, worker: Worker) -> None:
        self._log: Final = log
        self._gate: Final = gate
        self._worker: Final = worker
        self._cursors: Final = Cursors(log)
        self.being_read = 0

    async def lines(self, caller: Caller) -> AsyncGenerator[bytes, None]:
        """The header line, then lines of entities, many at once. A Refusal where the caller may not go on."""
        require(caller, "device_or_hub")
        through = await self._log.index_now()
        header = await self._header(caller.scope, through)
        self.being_read += 1
        coming = self._begin(None, caller.scope, through)
        try:
            yield header
            end: bytes | None = b""
            while end is not None:
                lines, end = await coming
                if end is not None:
                    coming = self._begin(end, caller.scope, through)
                self._gate.hold_on(caller)
                if lines:
                    yield lines
        finally:
            self.being_read -= 1
            coming.cancel()
            await asyncio.wait([coming])

    async def _header(self, scope: Scope, through: int) -> bytes:
        standing = await self._log.standing(scope, through)
        header = SnapshotHeader(
            cursor=self._cursors.make(standing.position, scope),
            have={device_id: numbers.to_wire() for device_id, numbers in standing.have.items()},
            server_id=self._log.server_id,
            epoch=self._log.epoch,
            scope=scope,
            entities=await self._log.count_entities(scope, through),
        )
        return _ENCODE(header) + b"\n"

    def _begin(
        self, after: bytes | None, scope: Scope, through: int
    ) -> asyncio.Task[tuple[bytes, bytes | None]]:
        return asyncio.create_task(self._portion(after, scope, through), name="a snapshot's portion")

    async def _portion(self, after: bytes | None, scope: Scope, through: int) -> tuple[bytes, bytes | None]:
        batch = await self._log.entities(after, limits.SNAPSHOT_BATCH_ENTITIES, scope, through)
        return await self._worker.run(_lines, batch.entities), batch.end


def _lines(entities: Sequence[Sequence[bytes]]) -> bytes:
    return b"".join(line_of(*entity_and_changes(ops)) + b"\n" for ops in entities)
