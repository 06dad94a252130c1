"""Push: what a device, or a hub for its devices, offers is read, judged, stored and answered op by op."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from medxz import limits
from medxz.errors import Forbidden
from medxz.service.gate import Caller, require
from medxz.service.judge import Judge
from medxz.service.plan import Plan
from medxz.service.push_body import check_members, examine, read_push
from medxz.service.seen import Seen
from medxz.service.throttle import Throttle
from medxz.service.upstream import Upstream
from medxz.store.base import LogStore
from medxz.store.directory import Known
from medxz.wire import PushAnswer, PushResult
from medxz.work import Worker

_ENCODE: Final = msgspec.json.Encoder().encode


class Push:
    """The use case. One instance a server."""

    def __init__(
        self,
        log: LogStore,
        known: Known,
        upstream: Upstream,
        throttle: Throttle,
        seen: Seen,
        worker: Worker,
        *,
        counts: dict[str, int],
        hubs_push: bool = True,
    ) -> None:
        """`counts` has the results of all pushes, by status; servers of many clinics share it among them.

        `hubs_push`: whether a hub may, whose word on other devices' ops is taken.
        """
        self._log: Final = log
        self._known: Final = known
        self._upstream: Final = upstream
        self._throttle: Final = throttle
        self._seen: Final = seen
        self._worker: Final = worker
        self._counts: Final = counts
        self._hubs_push: Final = hubs_push

    async def push(self, caller: Caller, text: bytes) -> bytes:
        """Answer a push with JSON. Everything that the answer calls stored is durable."""
        require(caller, "device_or_hub")
        if caller.hub_id is not None and not self._hubs_push:
            raise Forbidden("a hub reads here, and hands up to the cloud alone")
        known = self._known
        judge = Judge(caller, known.directory, require_signed_ops=known.config.require_signed_ops)
        if len(text) > limits.INLINE_PARSE_BYTES_MAX:
            plan = await self._worker.run(_plan, caller, judge, text)
        else:
            plan = _plan(caller, judge, text)
        self._throttle.take_ops(caller, len(plan.results))
        results = plan.finish(await self._log.append(plan.append) if plan.has_work else [])
        for result in results:
            self._counts[result.status] += 1
        self._seen.pushed(caller.name)
        return self._answer(caller, plan.devices, results)

    def _answer(self, caller: Caller, devices: Iterable[str], results: list[PushResult]) -> bytes:
        return _ENCODE(
            PushAnswer(
                server_id=self._log.server_id,
                epoch=self._log.epoch,
                cloud_epoch=self._upstream.cloud_epoch(),
                results=results,
                cloud_through=self._upstream.cloud_through(caller, devices),
                refused_upstream=self._upstream.refused(caller),
            )
        )


def _plan(caller: Caller, judge: Judge, text: bytes) -> Plan:
    body = read_push(text)
    if body.dead_letters and caller.hub_id is None:
        raise Forbidden("only a hub reports dead letters; a device's rejections are kept where they happen")
    examined = examine(body.offered)
    check_members(text, examined[1])
    return Plan(caller, judge, examined, body.dead_letters)
