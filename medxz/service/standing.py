"""How a device stands with this server, and how far each device's numbers are settled."""

from __future__ import annotations

from typing import Final

from medxz import limits
from medxz.errors import Overloaded
from medxz.roles import readable
from medxz.service.gate import Caller, require
from medxz.service.seen import Seen
from medxz.service.upstream import Upstream
from medxz.store.base import LogStore
from medxz.store.views.follower import Follower
from medxz.wire import RefusedOp, StatusAnswer, WatermarksAnswer


class Standing:
    """The use case. One instance a server."""

    def __init__(self, log: LogStore, upstream: Upstream, seen: Seen, follower: Follower) -> None:
        self._log: Final = log
        self._upstream: Final = upstream
        self._seen: Final = seen
        self._follower: Final = follower

    async def status(self, caller: Caller) -> StatusAnswer:
        require(caller, "device")
        device_id = caller.name
        return StatusAnswer(
            server_id=self._log.server_id,
            epoch=self._log.epoch,
            last_push_at=self._seen.last_push_at(device_id),
            last_pull_at=self._seen.last_pull_at(device_id),
            received_through=self._log.settled_through(device_id),
            cloud_through=self._upstream.through(device_id),
            cloud_epoch=self._upstream.cloud_epoch(),
            open_conflicts=await self._open_conflicts(caller),
            scope=caller.scope,
            refused_upstream=[
                RefusedOp(op_id=refused.op_id, code=refused.code)
                for refused in self._upstream.refused(caller)
            ],
            upstream=self._upstream.describe(),
        )

    async def _open_conflicts(self, caller: Caller) -> int | None:
        """Those of the types that the caller's roles read. None while nobody can say: rather that than a wrong none."""
        types = readable(caller.roles).named
        try:
            return await self._follower.ask(
                lambda views: views.count_open(types),
                limits.STATUS_CATCH_UP_S,
                seq=self._log.contended_seq,  # devices ask often: nothing is taken in for that in vain
            )
        except Overloaded:
            return None

    async def watermarks(self, caller: Caller) -> WatermarksAnswer:
        require(caller, "hub_or_admin")
        return WatermarksAnswer(
            received=self._log.settled(),
            cloud=self._upstream.marks(),
            cloud_epoch=self._upstream.cloud_epoch(),
        )
