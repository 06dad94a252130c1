"""Snapshot: every entity of a device's scope as it stood at one position of the log, a few at a time.

Between two portions nothing is held: no transaction, no connection, only the id to go on behind. What is pushed
meanwhile lies behind the position and is not in it. Two portions are ahead of the one that is being read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

import msgspec

from medxz import limits
from medxz.merge.line import line_of
from medxz.scope import Scope
from medxz.service.changes import entity_and_changes
from medxz.service.cursor import Cursors
from medxz.service.gate import Caller, Gate, require
from medxz.service.noting import Noting
from medxz.store.base import EntityBatch, LogStore
from medxz.wire import SnapshotHeader
from medxz.work import Worker

_ENCODE: Final = msgspec.json.Encoder().encode


class Snapshot:
    """The use case. One instance a server."""

    def __init__(self, log: LogStore, gate: Gate, noting: Noting, worker: Worker) -> None:
        self._log: Final = log
        self._gate: Final = gate
        self._noting: Final = noting
        self._worker: Final = worker
        self._cursors: Final = Cursors(log)
        self.being_read = 0

    async def lines(self, caller: Caller) -> AsyncGenerator[bytes, None]:
        """The header line, then lines of entities, many at once. A Refusal where the caller may not go on."""
        require(caller, "device_or_hub")
        through = await self._log.index_now()
        header, entities = await self._header(caller.scope, through)
        self._noting.exported(caller, entities)
        self.being_read += 1
        try:
            yield header
            async with aclosing(self._portions(caller.scope, through)) as portions:
                async for lines in portions:
                    self._gate.hold_on(caller)
                    yield lines
        finally:
            self.being_read -= 1

    async def _header(self, scope: Scope, through: int) -> tuple[bytes, int]:
        standing = await self._log.standing(scope, through)
        header = SnapshotHeader(
            cursor=self._cursors.make(standing.position, scope),
            have={device_id: numbers.to_wire() for device_id, numbers in standing.have.items()},
            server_id=self._log.server_id,
            epoch=self._log.epoch,
            scope=scope,
            entities=await self._log.count_entities(scope, through),
        )
        return _ENCODE(header) + b"\n", header.entities

    async def _portions(self, scope: Scope, through: int) -> AsyncGenerator[bytes, None]:
        """Lines: while some are on their way to the reader, the next are made, and what follows those is read."""
        reading: asyncio.Task[EntityBatch] | None = self._read(None, scope, through)
        making: asyncio.Task[bytes] | None = None
        try:
            while reading is not None:
                batch = await reading
                reading = self._read(batch.end, scope, through) if batch.end is not None else None
                made, making = making, asyncio.create_task(self._worker.run(_lines, batch.entities))
                if made is not None:
                    yield await made
            if making is not None and (lines := await making):
                yield lines
        finally:
            left = [task for task in (reading, making) if task is not None]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    def _read(self, after: bytes | None, scope: Scope, through: int) -> asyncio.Task[EntityBatch]:
        return asyncio.create_task(
            self._log.entities(after, limits.SNAPSHOT_BATCH_ENTITIES, scope, through), name="read entities"
        )


def _lines(entities: Sequence[Sequence[bytes]]) -> bytes:
    return b"".join(line_of(*entity_and_changes(ops)) + b"\n" for ops in entities)
