"""Another server's log, read into this hub's: the cloud's, or that of another hub of the site.

What comes is kept leniently, for that server has acknowledged it. Devices go before: while the writer is full of their
pushes, what is read waits. Refused: an op of another clinic, and a log that goes in circles.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import islice
from typing import Final

from hub.lent import Lent
from medxz.clock import Clock
from medxz.errors import Overloaded, PeerUnreachable
from medxz.have import Have
from medxz.ids import uuid_bytes
from medxz.op import Operation
from medxz.replicate import LogId, OpByOp
from medxz.store.base import Append, Outcome
from medxz.store.sqlite import SqliteLog

BUSY_TRIES: Final = 20
BUSY_S: Final = 0.25
# what was stored here comes back out of the other log: so many are known again without a look into the file
RECENT_OPS_MAX: Final = 4_096


class Reading:
    """One server's log, read by one hub."""

    def __init__(self, log: SqliteLog, clock: Clock, whose: str, lent: Lent | None = None) -> None:
        """`whose` log it is, in words. `lent` counts what comes out of it."""
        self._log: Final = log
        self._clock: Final = clock
        self._whose: Final = whose
        self._lent: Final = lent or Lent()
        self._seen_seq = 0  # of the other log, since the reading began
        self._recent: Final[dict[bytes, None]] = {}  # ops of this log, in its order
        self._recent_through = log.last_seq

    def begin(self) -> None:
        """From here on it is read from some cursor on: nothing of it lies behind."""
        self._seen_seq = 0

    async def have(self) -> Have:
        """The numbers of the ops that are here; to have a number that two ops share is not to have both."""
        have = (await self._log.standing("full", self._log.last_seq)).have
        for device_id, number in self._log.shared:
            if device_id in have:
                have[device_id].discard(number)
        return have

    def check(self, ops: Sequence[Operation]) -> None:
        """A log that goes in circles, or is somebody else's, is left alone."""
        for op in ops:
            if op.clinic_id != self._log.clinic_id:
                raise PeerUnreachable(f"{self._whose} sent an op of another clinic")
            if op.server_seq is None:
                continue
            if op.server_seq <= self._seen_seq:
                raise PeerUnreachable(
                    f"the log of {self._whose} goes in circles: an op came that lies behind what was read"
                )
            self._seen_seq = op.server_seq

    async def store(self, ops: Sequence[Operation]) -> list[Operation]:
        """Put them into this hub's log; those that are new there."""
        self._look_at_the_log()
        unknown = [op for op in ops if uuid_bytes(op.op_id) not in self._recent]
        if not unknown:
            return []
        outcomes = await self._lent.storing(len(unknown), self._append(unknown))
        return [op for op, outcome in zip(unknown, outcomes, strict=True) if outcome.kind == "stored"]

    def _look_at_the_log(self) -> None:
        """Take note of what was stored here since the last look, as far as it is in memory."""
        op_ids = self._log.recent_ids(self._recent_through)
        self._recent_through = self._log.last_seq
        self._recent.update(dict.fromkeys(op_ids))
        for op_id in list(islice(self._recent, max(0, len(self._recent) - RECENT_OPS_MAX))):
            del self._recent[op_id]

    async def _append(self, ops: Sequence[Operation]) -> list[Outcome]:
        batch = Append(ops, [op.json()[1:] for op in ops], lenient=True)
        for _ in range(BUSY_TRIES):
            try:
                return await self._log.append(batch)
            except Overloaded:
                await self._clock.sleep(BUSY_S)
        return await self._log.append(batch)


class WholeLog(OpByOp):
    """What a hub's log is as a `Local`, whoever it reads: it reads the whole log, writes nothing of its own, and is
    nobody's copy. `changed` is set where there is something to keep, the cursor first of all.
    """

    def __init__(self, reading: Reading) -> None:
        self._reading: Final = reading
        self._cursor: str | None = None
        self.changed: Final = asyncio.Event()

    async def cursor(self, _log: LogId) -> str | None:
        return self._cursor

    async def begin_at(self, _log: LogId, cursor: str) -> None:
        self._cursor = cursor
        self._reading.begin()
        self.changed.set()

    async def have(self) -> Have:
        return await self._reading.have()
