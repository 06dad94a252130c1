"""Whether the server lives, serves, and is well: check by check, in words that say what to do."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from medxz import limits
from medxz.service.upstream import Upstream
from medxz.store.sqlite import SqliteLog
from medxz.store.views.follower import Follower
from medxz.wire import Check, HealthAnswer


class Health:
    """The use case. One instance a server."""

    def __init__(self, log: SqliteLog, upstream: Upstream, folder: Path, follower: Follower) -> None:
        self._log: Final = log
        self._upstream: Final = upstream
        self._folder: Final = folder
        self._follower: Final = follower
        self.is_stopping = False

    async def live(self) -> HealthAnswer:
        """The process answers: that is all this says."""
        return HealthAnswer(ok=True, checks=[])

    async def ready(self) -> HealthAnswer:
        """Whether devices may be sent here."""
        return _sum([Check(name="serving", ok=not self.is_stopping, detail=self._serving()), self._writer()])

    async def full(self) -> HealthAnswer:
        """Every check. A clinic can work while `cloud` is not ok."""
        return _sum([self._writer(), self._disk(), self._integrity(), self._views(), self._cloud()])

    def _serving(self) -> str:
        return "the server is stopping" if self.is_stopping else "serves"

    def _writer(self) -> Check:
        waiting = self._log.waiting_ops
        return Check(
            name="writer",
            ok=waiting < limits.WRITER_QUEUE_OPS_MAX // 2,
            detail=f"{self._log.last_seq} ops stored, {waiting} waiting",
        )

    def _disk(self) -> Check:
        usage = shutil.disk_usage(self._folder)
        free_mib = usage.free // limits.MIB
        return Check(
            name="disk",
            ok=usage.free >= limits.DISK_FREE_BYTES_MIN,
            detail=f"{free_mib} MiB free; below {limits.DISK_FREE_BYTES_MIN // limits.MIB} MiB make room",
        )

    def _integrity(self) -> Check:
        check = self._log.verification
        if check is None:
            return Check(name="integrity", ok=True, detail="the log was stopped well: no check was needed")
        if check.damaged:
            detail = f"{len(check.damaged)} damaged rows, first server_seq {check.damaged[0]}: restore or replace this hub"
            return Check(name="integrity", ok=False, detail=detail)
        state = "checked" if check.done else "being checked"
        return Check(
            name="integrity", ok=True, detail=f"{state}: {check.checked} of {check.total} rows, all sound"
        )

    def _views(self) -> Check:
        left_out = self._follower.left_out
        detail = f"lists know the log up to {self._follower.through}"
        if left_out:
            detail = f"{left_out} entities are missing in lists and searches, synced all the same: report this fault"
        return Check(name="views", ok=not left_out, detail=detail)

    def _cloud(self) -> Check:
        upstream = self._upstream.describe()
        if upstream is None:
            return Check(name="cloud", ok=True, detail="this is the cloud")
        return Check(
            name="cloud", ok=True, detail=f"{upstream.state}, {upstream.backlog} ops not known to be there"
        )


def _sum(checks: list[Check]) -> HealthAnswer:
    return HealthAnswer(ok=all(check.ok for check in checks), checks=checks)
