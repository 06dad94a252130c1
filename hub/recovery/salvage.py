"""The ops of a log's file that is not in use, put into the hub's log, where each is kept once.

The file may be damaged, or a backup of another key: what can be read of it page by page is read. Ops of another clinic
are left.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hub.reading import Reading
from hub.recovery.keepsake import KeptShape
from medxz.op import Operation
from medxz.store.rescue.ops import Found, find_dictionaries, find_ops
from medxz.store.rescue.pages import DamagedFile
from medxz.store.rescue.tables import roots_of
from medxz.work import Worker

if TYPE_CHECKING:
    from hub.storage import Storage

# pages that are read in one go beside the serving, and the ops that are stored in one
PAGES_AT_ONCE: Final = 64
OPS_AT_ONCE: Final = 500


async def salvage(storage: Storage, path: Path, key: bytes, shape: KeptShape, worker: Worker) -> Found:
    """What was found there; it is stored when this returns."""
    reading = Reading(storage.log, storage.clock, path.name)
    file = await worker.run(DamagedFile, path, key, shape.salt_bytes)
    found = Found()
    try:
        roots = await worker.run(roots_of, file, shape.roots)
        dictionaries = await worker.run(find_dictionaries, file, roots.get("dictionary"))
        pages = find_ops(file, dictionaries, found)
        while (ops := await worker.run(_next, pages)) is not None:
            await _store(storage, reading, ops)
    finally:
        await worker.run(file.close)
    return found


async def _store(storage: Storage, reading: Reading, ops: list[Operation]) -> None:
    own = {op.op_id: op for op in ops if op.clinic_id == storage.log.clinic_id}
    waiting = iter(own.values())
    while batch := list(islice(waiting, OPS_AT_ONCE)):
        await reading.store(batch)


def _next(pages: Iterator[list[Operation]]) -> list[Operation] | None:
    """The ops of the next pages; None behind the last."""
    taken = list(islice(pages, PAGES_AT_ONCE))
    return [op for ops in taken for op in ops] if taken else None
