"""The hub's log as the side that reads a neighbour's (`medxz.replicate.Local`): nothing is pushed, for that one reads too.

What comes is put into the log and found there again by its id: an op that both have goes no further, so nothing goes
round in circles. The cursor that is written down lags behind: what is read again after a power cut is a duplicate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NoReturn

from hub.lent import Lent
from hub.reading import Reading, WholeLog
from medxz import wire
from medxz.clock import Clock
from medxz.errors import PeerUnreachable
from medxz.op import Operation
from medxz.replicate import LogId, Meeting, Outgoing, Remote
from medxz.store.registry import SqliteRegistry
from medxz.store.sqlite import SqliteLog

MEET_EVERY_S: Final = 60.0


class NeighbourSide(WholeLog):
    """Towards one neighbour. `keep` the cursor now and then; `changed` is set where it has moved."""

    def __init__(
        self,
        hub_id: str,
        log: SqliteLog,
        registry: SqliteRegistry,
        lent: Lent,
        clock: Clock,
        heard: Callable[[], None],
    ) -> None:
        """`heard` is called whenever the neighbour has given something out of its log."""
        super().__init__(Reading(log, clock, "another hub", lent))
        self._hub_id: Final = hub_id
        self._registry: Final = registry
        self._heard: Final = heard
        self._with = LogId("", "")

    async def meet(self, remote: Remote) -> Meeting:
        info = await remote.info()
        if info.server_id != self._hub_id:
            raise PeerUnreachable("another server answers there")
        log = LogId(info.server_id, info.epoch)
        self._reading.begin()
        if log != self._with:
            kept = await self._registry.neighbour_cursor(self._hub_id)
            self._cursor = kept[1] if kept is not None and kept[0] == log.epoch else None
            self._with = log
        return Meeting(log, good_for_s=MEET_EVERY_S)

    async def apply(self, log: LogId, ops: Sequence[Operation], cursor: str) -> Sequence[Operation]:
        if log != self._with:
            return []
        self._reading.check(ops)
        stored = await self._reading.store(ops)
        self._cursor = cursor
        self.changed.set()
        self._heard()
        return stored

    async def keep(self) -> None:
        """Write down how far it is."""
        self.changed.clear()
        if self._cursor is None:
            return
        try:
            await self._registry.keep_neighbour_cursor(self._hub_id, self._with.epoch, self._cursor)
        except BaseException:
            self.changed.set()
            raise

    # nothing goes out

    async def report(self, _remote: Remote, _log: LogId) -> None:
        return

    async def outbox(self, _log: LogId, _after: int, _ops_max: int, _bytes_max: int) -> Sequence[Outgoing]:
        return []

    async def waiting(self, _log: LogId) -> int:
        return 0

    async def settle(self, _batch: Sequence[Outgoing], _answer: wire.PushAnswer) -> NoReturn:
        raise AssertionError("nothing was pushed")

    async def park(self, _log: LogId, _op: Outgoing, _code: str, _message: str) -> NoReturn:
        raise AssertionError("nothing was pushed")
