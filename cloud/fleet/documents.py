"""Rollouts and hubs between the store and the state machine: what is written of a rollout, what a hub's report says."""

from __future__ import annotations

from typing import Any, Final

from pydantic import ValidationError

from cloud.fleet.rollout import Member, Plan, Rollout, Share, Step
from medxz.store.authority.fleet import FactsRow, StepRow
from medxz.wire import ReportRequest

Json = dict[str, Any]

_UNKNOWN: Final = "it has not told how it is"
_OPEN: Final = frozenset({"offered", "settling", "away"})
# of a hub's checks, those that another version of it could break; a backup that nobody made keeps nothing from going on
VITAL: Final = frozenset({"writer", "integrity", "views", "parts", "recovery"})


def document_of(rollout: Rollout) -> Json:
    """A rollout as it is written."""
    plan = rollout.plan
    return {
        "rollout_id": rollout.rollout_id,
        "version": plan.version,
        "rings": list(plan.rings),
        "kinds": sorted(plan.kinds),
        "serial": plan.serial.told(),
        "max_failures": plan.max_failures.told(),
        "wait_for_away_ms": plan.wait_for_away_ms,
        "take_within_ms": plan.take_within_ms,
        "settle_within_ms": plan.settle_within_ms,
        "state": rollout.state,
        "begun_at_ms": rollout.begun_at_ms,
        "changed_at_ms": rollout.changed_at_ms,
        "before": dict(rollout.before),
        "at": rollout.at,
        "why": rollout.why,
        "forgiven": dict(rollout.forgiven),
    }


def rollout_of(document: Json) -> Rollout:
    """What was written, read again."""
    plan = Plan(
        version=document["version"],
        rings=tuple(document["rings"]),
        kinds=frozenset(document["kinds"]),
        serial=Share.read(document["serial"]),
        max_failures=Share.read(document["max_failures"]),
        wait_for_away_ms=document["wait_for_away_ms"],
        take_within_ms=document["take_within_ms"],
        settle_within_ms=document["settle_within_ms"],
    )
    return Rollout(
        rollout_id=document["rollout_id"],
        plan=plan,
        state=document["state"],
        begun_at_ms=document["begun_at_ms"],
        changed_at_ms=document["changed_at_ms"],
        before=document["before"],
        at=document["at"],
        why=document["why"],
        forgiven=document["forgiven"],
    )


def member_of(row: FactsRow, rollout_id: str, silent_before_ms: int) -> Member:
    """A hub, as that rollout sees it. What it reported is read where something may follow from it."""
    step = step_of(row.step) if row.step is not None and row.step.rollout_id == rollout_id else None
    report = read_report(row.report) if step is not None and step.progress in _OPEN else None
    update = None if report is None else report.update
    failed = None
    if update is not None and update.state == "failed":
        failed = update.version, update.why or "it gave it back"
    return Member(
        key=(row.clinic_id, row.hub_id),
        ring=row.ring,
        version=row.version,
        kind=row.compatible,
        is_silent=row.version is None or row.heard_ms < silent_before_ms,
        unwell=_unwell(report, row.version),
        backlog=None if report is None else report.backlog,
        failed=failed,
        step=step,
    )


def read_report(text: str | None) -> ReportRequest | None:
    """What a hub told last; None also where that was told to another version of the cloud."""
    if text is None:
        return None
    try:
        return ReportRequest.model_validate_json(text)
    except ValidationError:
        return None


def _unwell(report: ReportRequest | None, runs: str | None) -> str | None:
    if report is None or report.version != runs:  # it asked for an update since, as what it runs now
        return _UNKNOWN
    if broken := VITAL.intersection(report.health.failing):
        return f"it is not well: {', '.join(sorted(broken))}"
    if report.update is not None and report.update.state in {"installing", "installed"}:
        return "it is being tried still"
    return None


def step_of(row: StepRow) -> Step:
    return Step(row.progress, row.since_ms, row.before, row.why)  # type: ignore[arg-type]  # the state machine wrote it


def step_row(rollout_id: str, step: Step) -> StepRow:
    return StepRow(rollout_id, step.progress, step.since_ms, step.before, step.why)
