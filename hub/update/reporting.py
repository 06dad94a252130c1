"""How this hub is, told to its cloud now and then, and at once when something has changed; and what the cloud answers.

What is told are versions, names of checks and counts: nothing of a patient, nothing that somebody typed. The settings that
the cloud answers with are kept for the next start (hub/update/remote.py). A cloud that is away, or older than these
requests, is asked again later; nothing else of the hub waits for it.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from hub.update.remote import Remote, keep_remote
from medxz import limits
from medxz.errors import MedxzError
from medxz.program.errors import CommandFailed
from medxz.wire import HealthAnswer, ReportAnswer, ReportedHealth, ReportedUpdate, ReportRequest

if TYPE_CHECKING:
    from pathlib import Path

    from hub.update.machine import Machine
    from medxz.clock import Clock
    from medxz.service import Link

LOOK_EVERY_S: Final = 10.0
NOT_CONNECTED_S: Final = 2.0
REFUSED_S: Final = 600.0
_FAILING_MAX: Final = 32


class Cloud(Protocol):
    """Who is told."""

    async def report(self, request: ReportRequest) -> ReportAnswer: ...


@dataclass(frozen=True, slots=True)
class Told:
    """What of a hub is told. `version` is that of this program, where the machine's image says no other."""

    machine: Machine
    version: str
    health: Callable[[], Awaitable[HealthAnswer]]
    link: Callable[[], Link]
    settings_revision: int

    async def now(self) -> ReportRequest:
        health, link = await self.health(), self.link()
        failing = tuple(sorted(check.name for check in health.checks if not check.ok))[:_FAILING_MAX]
        version, compatible = self.version, None
        try:
            image = self.machine.image()
            version, compatible = image.version, image.compatible
        except CommandFailed:
            pass  # it runs from somebody's own folder, and says no more than its own version
        return ReportRequest(
            version=version,
            compatible=compatible,
            health=ReportedHealth(ok=health.ok, failing=failing),
            backlog=link.backlog or 0,
            update=self._update(),
            settings_revision=self.settings_revision,
        )

    def _update(self) -> ReportedUpdate | None:
        """How the last one stands; one that was refused has failed, as far as the cloud goes."""
        if (refusal := self.machine.refusal()) is not None:
            return ReportedUpdate(
                state="failed",
                version=refusal.version,
                before=refusal.runs,
                why=refusal.why[: limits.REPORTED_WHY_CHARS_MAX],
                began_at=refusal.at,
            )
        trial = self.machine.trial()
        if trial is None:
            return None
        why = None if trial.why is None else trial.why[: limits.REPORTED_WHY_CHARS_MAX]
        return ReportedUpdate(
            state=trial.state, version=trial.version, before=trial.before, why=why, began_at=trial.began_at
        )


class Reporting:
    """One hub's. `run` it beside the serving."""

    def __init__(
        self,
        cloud: Cloud,
        told: Told,
        file: Path,
        clock: Clock,
        random_unit: Callable[[], float] = random.random,
    ) -> None:
        """`file` is where the settings are kept for the next start."""
        self._cloud: Final = cloud
        self._told: Final = told
        self._file: Final = file
        self._clock: Final = clock
        self._random_unit: Final = random_unit

    async def run(self) -> None:
        """Until it is cancelled."""
        last: ReportRequest | None = None
        again_at = 0.0
        while True:
            if not self._told.link().is_online:
                await self._clock.sleep(NOT_CONNECTED_S)
                continue
            report = await self._told.now()
            if self._clock.monotonic() >= again_at or _has_changed(last, report):
                again_at = self._clock.monotonic() + await self._report(report)
                last = report
            await self._clock.sleep(LOOK_EVERY_S)

    async def _report(self, report: ReportRequest) -> float:
        """In how many seconds the next one is due."""
        try:
            answer = await self._cloud.report(report)
            keep_remote(self._file, Remote(revision=answer.settings_revision, settings=answer.settings))
        except (MedxzError, OSError):
            return REFUSED_S * (0.5 + self._random_unit() / 2)
        # hubs that came back together do not stay together
        return max(1, answer.report_every_s) * (0.75 + self._random_unit() / 4)


def _has_changed(last: ReportRequest | None, report: ReportRequest) -> bool:
    """Whether somebody waits to hear it: not that a backlog has grown, but that it is gone."""
    if last is None:
        return True
    same = {"backlog": None}
    is_empty_now = bool(last.backlog) and not report.backlog
    return is_empty_now or last.model_copy(update=same) != report.model_copy(update=same)
