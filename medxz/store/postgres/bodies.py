"""Records as they lie in their rows, compressed and back: a few at once on the event loop, more of them in a worker.

Every log of a database is compressed with the dictionary that comes with this version, so that the relays of a cloud
share one for all clinics.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, TypeVar, TypeVarTuple

from medxz.errors import RowCorrupt
from medxz.limits import INLINE_WRITE_BYTES_MAX
from medxz.store.dictionaries import Dictionaries, shipped_dictionary
from medxz.store.record import MAGIC
from medxz.work import Worker

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_INLINE_FRAMES_BYTES_MAX: Final = 16 * 1024


class Bodies:
    """One for all logs of a process. Its tables serve one caller at a time: the loop has some, the worker others."""

    def __init__(self, worker: Worker) -> None:
        self._worker: Final = worker
        shipped = [(1, shipped_dictionary())]
        self._here: Final = Dictionaries(shipped)
        self._there: Final = Dictionaries(shipped)

    async def run(self, fn: Callable[[*Ts], T], *args: *Ts) -> T:
        """Something else that takes long, in the worker."""
        return await self._worker.run(fn, *args)

    def compress(self, records: Sequence[bytes]) -> asyncio.Future[list[bytearray]]:
        """Begins at once; whoever does not await it cancels it."""
        if sum(map(len, records)) > INLINE_WRITE_BYTES_MAX:
            return asyncio.ensure_future(self._worker.run(self._there.newest.compress, records))
        here: asyncio.Future[list[bytearray]] = asyncio.get_running_loop().create_future()
        here.set_result(self._here.newest.compress(records))
        return here

    async def inflate(self, seqs: Sequence[int], bodies: Sequence[bytes]) -> list[bytes]:
        """The records of these rows; RowCorrupt naming the first that is damaged."""
        if sum(map(len, bodies)) <= _INLINE_FRAMES_BYTES_MAX:
            return _inflate(self._here, seqs, bodies)
        return await self._worker.run(_inflate, self._there, seqs, bodies)

    async def sound(self, seqs: Sequence[int], bodies: Sequence[bytes]) -> tuple[dict[int, bytes], list[int]]:
        """The records of those that are sound, by their seqs, and the seqs of those that are damaged."""
        try:
            return dict(zip(seqs, await self.inflate(seqs, bodies), strict=True)), []
        except RowCorrupt:
            return await self._worker.run(_sound, self._there, seqs, bodies)


def _inflate(dictionaries: Dictionaries, seqs: Sequence[int], bodies: Sequence[bytes]) -> list[bytes]:
    if not bodies:
        return []
    return dictionaries.inflate(seqs, MAGIC.join(bodies), list(map(len, bodies)))


def _sound(
    dictionaries: Dictionaries, seqs: Sequence[int], bodies: Sequence[bytes]
) -> tuple[dict[int, bytes], list[int]]:
    records: dict[int, bytes] = {}
    damaged: list[int] = []
    for seq, body in zip(seqs, bodies, strict=True):
        try:
            [records[seq]] = _inflate(dictionaries, [seq], [body])
        except RowCorrupt:
            damaged.append(seq)
    return records, damaged
