"""One part of a push, judged: what the log is asked to keep, and what each op is answered.

Where the verdict is final a dead letter is kept; where a hub has acknowledged an op, it is kept anyway and marked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from medxz.op import Operation
from medxz.service.gate import Caller
from medxz.service.judge import Judge, Verdict
from medxz.service.push_body import Broken, Examined, are_ops
from medxz.store.base import Append, DeadLetter, Outcome, OutcomeKind
from medxz.wire import REFUSED_FROM_HUBS, PushResult, ResultStatus, WireDeadLetter

# What was decided about an author or a signature after an op was stored does not undo that it is.
_UNLESS_STORED: Final = frozenset({"forbidden", "bad_signature"})
_STATUS: Final[dict[OutcomeKind, ResultStatus]] = {"stored": "accepted", "duplicate": "duplicate"}


class Plan:
    """What one part of a push asks the log to keep, and the results that are certain already."""

    def __init__(
        self, caller: Caller, judge: Judge, examined: Examined, reported: Sequence[WireDeadLetter] = ()
    ) -> None:
        self._caller = caller
        self._ops: list[Operation] = []
        self._texts: list[bytes] = []
        self._reviews: list[tuple[int, str]] = []
        self._refused: dict[int, DeadLetter] = {}
        self._dead: list[DeadLetter] = [_reported(letter) for letter in reported]
        self.devices = {letter.device_id for letter in reported}
        self.results: list[PushResult | None] = []
        items, texts = examined
        if len(items) > 1 and are_ops(items) and judge.passes_all(items):  # nearly every long push
            self._ops, self._texts, self.results = items, texts, [None] * len(items)
            self.devices.update({op.device_id for op in items})
        else:
            self._judge_each(judge, examined)
        self.append = Append(
            self._ops,
            self._texts,
            self._dead,
            self._reviews,
            self._refused,
            lenient=caller.hub_id is not None,
        )

    def _judge_each(self, judge: Judge, examined: Examined) -> None:
        for item, text in zip(*examined, strict=True):
            if item.device_id is not None:
                self.devices.add(item.device_id)
            if isinstance(item, Broken):
                self._reject(item)
                continue
            verdict = judge.judge(item)
            if verdict is not None and not self._is_kept_anyway(verdict):
                if verdict.code not in _UNLESS_STORED:
                    self._refuse(item, verdict)
                    continue
                self._refused[len(self._ops)] = self._letter(_broken(item, verdict))
            self._ops.append(item)
            self._texts.append(text)
            self.results.append(None)

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
            self._reject(_broken(op, verdict))
        else:
            self.results.append(
                PushResult(op_id=op.op_id, status="retry", code=verdict.code, message=verdict.message)
            )

    def _letter(self, broken: Broken) -> DeadLetter:
        """A dead letter. It settles the number of the pusher's own device, or of a hub's in its clinic."""
        own = broken.device_id == self._caller.device_id
        settles = own or (self._caller.hub_id is not None and broken.code != "wrong_clinic")
        sender = broken.device_id if settles else self._caller.name
        return DeadLetter(
            sender or self._caller.name, broken.device_seq, broken.op_id, broken.code, broken.message,
            broken.field, settles=settles and broken.device_id is not None and broken.device_seq is not None,
        )  # fmt: skip

    def _reject(self, broken: Broken) -> None:
        self._dead.append(self._letter(broken))
        self.results.append(
            PushResult(
                op_id=broken.op_id,
                status="rejected",
                code=broken.code,
                field=broken.field,
                message=broken.message,
            )
        )


def _broken(op: Operation, verdict: Verdict) -> Broken:
    return Broken(op.op_id, op.device_id, op.device_seq, verdict.code, None, verdict.message)


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
    conflict = outcome.conflict
    if conflict is not None:
        return PushResult(
            op_id=op.op_id, status="conflict", server_seq=outcome.seq, conflict_id=conflict.conflict_id,
            fields=conflict.fields,
        )  # fmt: skip
    return PushResult(op_id=op.op_id, status=_STATUS[outcome.kind], server_seq=outcome.seq)
