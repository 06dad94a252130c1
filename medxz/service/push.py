"""Push: what a device, or a hub for its devices, offers is read, judged, stored and answered op by op."""

from __future__ import annotations

from typing import Final

import msgspec

from medxz import limits
from medxz.errors import Forbidden
from medxz.op import Operation
from medxz.service.gate import Caller, require
from medxz.service.judge import Judge, Verdict
from medxz.service.push_body import Broken, PushBody, read_push
from medxz.service.seen import Seen
from medxz.service.throttle import Throttle
from medxz.service.upstream import Upstream
from medxz.store.base import Append, DeadLetter, LogStore, Outcome, OutcomeKind
from medxz.store.registry import SqliteRegistry
from medxz.wire import REFUSED_FROM_HUBS, PushAnswer, PushResult, ResultStatus, WireDeadLetter
from medxz.work import Worker

_STATUS: Final[dict[OutcomeKind, ResultStatus]] = {"stored": "accepted", "duplicate": "duplicate"}
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

    async def push(self, caller: Caller, body: bytes) -> bytes:
        """Answer a push with JSON. Everything that the answer calls stored is durable."""
        require(caller, "device_or_hub")
        if len(body) > limits.INLINE_PARSE_BYTES_MAX:
            plan = await self._worker.run(self._plan, caller, body)
        else:
            plan = self._plan(caller, body)
        self._throttle.take_ops(caller, len(plan.results))
        outcomes = await self._log.append(plan.append) if plan.has_work else []
        results = plan.finish(outcomes)
        self._seen.pushed(caller.name)
        for result in results:
            self.counts[result.status] += 1
        devices = {op.device_id for op in plan.append.ops} if caller.hub_id else set()
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

    def _plan(self, caller: Caller, body: bytes) -> _Plan:
        judge = Judge(caller, self._registry.directory, require_signed_ops=self._require_signed_ops)
        return _Plan(caller, judge, read_push(body))


class _Plan:
    """What a push asks the log to keep, and the results that are certain already."""

    def __init__(self, caller: Caller, judge: Judge, body: PushBody) -> None:
        self._caller = caller
        self._ops: list[Operation] = []
        self._texts: list[bytes] = []
        self._reviews: list[tuple[int, str]] = []
        self._dead: list[DeadLetter] = []
        self.results: list[PushResult | None] = []
        if body.dead_letters and caller.hub_id is None:
            raise Forbidden(
                "only a hub reports dead letters; a device's rejections are kept where they happen"
            )
        self._dead += map(_reported, body.dead_letters)
        for item, text in zip(body.items, body.texts, strict=True):
            if isinstance(item, Broken):
                self._reject(item)
                continue
            verdict = judge.judge(item)
            if verdict is None or self._is_kept_anyway(verdict):
                self._ops.append(item)
                self._texts.append(text)
                self.results.append(None)
            else:
                self._refuse(item, verdict)
        self.append = Append(
            self._ops, self._texts, self._dead, self._reviews, lenient=caller.hub_id is not None
        )

    @property
    def has_work(self) -> bool:
        return bool(self._ops or self._dead)

    def finish(self, outcomes: list[Outcome]) -> list[PushResult]:
        """The results in the order of the request, now that the log has decided the rest."""
        decided = iter(zip(self._ops, outcomes, strict=True))
        return [result if result is not None else _result(*next(decided)) for result in self.results]

    def _is_kept_anyway(self, verdict: Verdict) -> bool:
        """What a hub has acknowledged is kept; a person looks at it."""
        if self._caller.hub_id is None or verdict.code in REFUSED_FROM_HUBS:
            return False
        self._reviews.append((len(self._ops), verdict.code))
        return True

    def _refuse(self, op: Operation, verdict: Verdict) -> None:
        if verdict.final:
            self._reject(Broken(op.op_id, op.device_id, op.device_seq, verdict.code, None, verdict.message))
        else:
            self.results.append(
                PushResult(op_id=op.op_id, status="retry", code=verdict.code, message=verdict.message)
            )

    def _reject(self, broken: Broken) -> None:
        """Keep a dead letter. It settles the number of the pusher's own device, or of a hub's in its clinic."""
        own = broken.device_id == self._caller.device_id
        settles = own or (self._caller.hub_id is not None and broken.code != "wrong_clinic")
        sender = broken.device_id if settles else self._caller.name
        self._dead.append(
            DeadLetter(
                sender or self._caller.name, broken.device_seq, broken.op_id, broken.code, broken.message,
                broken.field, settles=settles and broken.device_id is not None and broken.device_seq is not None,
            )
        )  # fmt: skip
        self.results.append(
            PushResult(
                op_id=broken.op_id,
                status="rejected",
                code=broken.code,
                field=broken.field,
                message=broken.message,
            )
        )


def _reported(letter: WireDeadLetter) -> DeadLetter:
    return DeadLetter(
        letter.device_id,
        letter.device_seq,
        letter.op_id,
        letter.code,
        "rejected by the hub that took it",
        settles=True,
    )


def _result(op: Operation, outcome: Outcome) -> PushResult:
    dead = outcome.dead
    if dead is not None:
        return PushResult(
            op_id=op.op_id, status="rejected", code=dead.code, field=dead.field, message=dead.message
        )
    return PushResult(op_id=op.op_id, status=_STATUS[outcome.kind], server_seq=outcome.seq)
