"""How pushes are written into a log's file: by the one writer, in its worker, or at once where they are few."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from sqlcipher3 import dbapi2 as sqlcipher

from medxz import limits
from medxz.store.base import Append, Outcome
from medxz.store.cipher import failure
from medxz.store.damage import Damage
from medxz.store.room import refuse_without_room
from medxz.store.tail import Committed
from medxz.store.writer import Collision, Writer
from medxz.work import Worker


class FileTransactions:
    """`Transactions` (medxz/store/commits.py) over a writer."""

    def __init__(self, writer: Writer, worker: Worker, path: Path, damage: Damage) -> None:
        self._writer: Final = writer
        self._worker: Final = worker
        self._path: Final = path
        self._damage: Final = damage

    async def write(self, batches: Sequence[Append], size: int, /) -> tuple[list[list[Outcome]], Committed]:
        refuse_without_room(self._path.parent)
        try:
            with self._damage.watching(self._path, "writing"):
                return await self._write(batches, size)
        except BaseException as error:
            with suppress(Exception):  # then the next transaction begins with it
                await self._worker.run(self._writer.abandon)
            if isinstance(error, sqlcipher.Error):
                raise failure(error, self._path) from None
            raise

    async def _write(self, batches: Sequence[Append], size: int) -> tuple[list[list[Outcome]], Committed]:
        """Write what waits, and commit.

        A few rows are written at once: handing them over would cost more, in waiting for the interpreter lock, than
        writing them. Not so where a long entity may have to be read, which takes up to half a second. The commit,
        which waits for the disk, never runs on the event loop.
        """
        run, writer = self._worker.run, self._writer
        try:
            if size <= limits.INLINE_WRITE_BYTES_MAX and writer.is_quick(batches):
                outcomes = writer.write(batches)
            else:
                outcomes = await run(writer.write, batches)
        except Collision:
            await run(writer.abandon)
            outcomes = await run(partial(writer.write, careful=True), batches)
        return outcomes, await run(writer.commit)
