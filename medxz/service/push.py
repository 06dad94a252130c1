"""Push: what a device, or a hub for its devices, offers is read, judged, stored and answered op by op.

A long push goes in parts: while the writer writes one, the next is examined. All of them are in one transaction, or
in as few as it takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final

import msgspec

from medxz import limits
from medxz.errors import Forbidden
from medxz.op import Operation
from medxz.service.gate import Caller, require
from medxz.service.judge import Judge
from medxz.service.plan import Plan
from medxz.service.push_body import PushBody, examine, read_push
from medxz.service.seen import Seen
from medxz.service.throttle import Throttle
from medxz.service.upstream import Upstream
from medxz.store.base import LogStore
from medxz.store.registry import SqliteRegistry
from medxz.wire import PushAnswer, PushResult, WireDeadLetter
from medxz.work import Worker

_ENCODE: Final = msgspec.json.Encoder().encode


class Push:
    """The use case. One instance a server."""

    def __init__(
        self,
        log: LogStore,
        registry: SqliteRegistry,
        upstream: Upstream,
        throttle: Throttle,
        seen: Seen,
        worker: Worker,
        *,
        require_signed_ops: bool,
    ) -> None:
        self._log: Final = log
        self._registry: Final = registry
        self._upstream: Final = upstream
        self._throttle: Final = throttle
        self._seen: Final = seen
        self._worker: Final = worker
        self._require_signed_ops: Final = require_signed_ops
        self.counts: dict[str, int] = dict.fromkeys(("accepted", "duplicate", "retry", "rejected"), 0)

    async def push(self, caller: Caller, text: bytes) -> bytes:
        """Answer a push with JSON. Everything that the answer calls stored is durable."""
        require(caller, "device_or_hub")
        if len(text) > limits.INLINE_PARSE_BYTES_MAX:
            body = await self._worker.run(read_push, text)
        else:
            body = read_push(text)
        if body.dead_letters and caller.hub_id is None:
            raise Forbidden(
                "only a hub reports dead letters; a device's rejections are kept where they happen"
            )
        self._throttle.take_ops(caller, len(body.offered))
        judge = Judge(caller, self._registry.directory, require_signed_ops=self._require_signed_ops)
        if len(text) > limits.INLINE_PARSE_BYTES_MAX:
            results, devices = await self._in_parts(caller, judge, body)
        else:
            plan = Plan(caller, judge, examine(body.offered), body.dead_letters)
            results, devices = await self._store(plan), plan.devices
        for result in results:
            self.counts[result.status] += 1
        self._seen.pushed(caller.name)
        return self._answer(caller, devices, results)

    async def _store(self, plan: Plan) -> list[PushResult]:
        return plan.finish(await self._log.append(plan.append) if plan.has_work else [])

    async def _in_parts(
        self, caller: Caller, judge: Judge, body: PushBody
    ) -> tuple[list[PushResult], set[str]]:
        stored: list[asyncio.Task[list[PushResult]]] = []
        devices: set[str] = set()
        reported = body.dead_letters
        with self._log.expecting():
            for first in range(0, max(1, len(body.offered)), limits.PUSH_PART_OPS):
                part = body.offered[first : first + limits.PUSH_PART_OPS]
                plan = await self._worker.run(_plan, caller, judge, part, reported)
                stored.append(asyncio.create_task(self._store(plan)))
                devices |= plan.devices
                reported = ()
        return list(chain.from_iterable(await asyncio.gather(*stored))), devices

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


def _plan(
    caller: Caller,
    judge: Judge,
    offered: Sequence[Operation] | Sequence[msgspec.Raw],
    reported: Sequence[WireDeadLetter],
) -> Plan:
    return Plan(caller, judge, examine(offered), reported)
