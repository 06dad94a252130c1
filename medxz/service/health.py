"""Whether the server lives, serves, and is well: check by check, in words that say what to do.

What is checked differs between a hub and a cloud, so a program puts its checks together out of those that stand below
and its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from medxz import limits
from medxz.service.upstream import Upstream
from medxz.store.base import LogStore
from medxz.store.room import room_of
from medxz.store.views.follower import Follower
from medxz.wire import Check, HealthAnswer

Checking = Callable[[], Awaitable[Check]]


class Health:
    """The use case. One instance a server."""

    def __init__(self, ready: Sequence[Checking], full: Sequence[Checking]) -> None:
        """`ready` are the checks without which devices are not to be sent here, `full` all that there are."""
        self._ready: Final = ready
        self._full: Final = full
        self.is_stopping = False

    async def live(self) -> HealthAnswer:
        """The process answers: that is all this says."""
        return HealthAnswer(ok=True, checks=[])

    async def ready(self) -> HealthAnswer:
        """Whether devices may be sent here."""
        serving = Check(name="serving", ok=not self.is_stopping, detail=self._serving())
        return _sum([serving, *[await check() for check in self._ready]])

    async def full(self) -> HealthAnswer:
        """Every check. A clinic can work while `cloud` is not ok."""
        return _sum([await check() for check in self._full])

    def _serving(self) -> str:
        return "the server is stopping" if self.is_stopping else "serves"


def health_of(
    log: LogStore, follower: Follower, upstream: Upstream, folder: Path, more: Sequence[Checking] = ()
) -> Health:
    """For a server of one clinic, whose files lie in a folder; with `more` that are told in full alone."""
    writer = partial(check_writer, log)
    disk, integrity = partial(check_disk, folder), partial(check_integrity, log)
    views, cloud = partial(check_views, follower), partial(check_cloud, upstream)
    return Health([writer], [writer, disk, integrity, views, cloud, *more])


async def check_writer(log: LogStore) -> Check:
    waiting = log.waiting_ops
    return Check(
        name="writer",
        ok=waiting < limits.WRITER_QUEUE_OPS_MAX // 2,
        detail=f"{log.last_seq} ops stored, {waiting} waiting",
    )


async def check_disk(folder: Path) -> Check:
    room = room_of(folder)
    free_mib, least_mib = room.free // limits.MIB, limits.DISK_FREE_BYTES_MIN // limits.MIB
    if room.is_full:
        detail = f"{free_mib} MiB free: nothing is stored until there is room, reading goes on"
    else:
        detail = f"{free_mib} MiB free; below {least_mib} MiB make room: at {room.reserved // limits.MIB} MiB nothing is stored any more"
    return Check(name="disk", ok=room.free >= limits.DISK_FREE_BYTES_MIN, detail=detail)


async def check_integrity(log: LogStore) -> Check:
    check = log.verification
    if check is None:
        return Check(name="integrity", ok=True, detail="the log was stopped well: no check was needed")
    if check.damaged:
        detail = (
            f"{len(check.damaged)} damaged rows, first server_seq {check.damaged[0]}: see docs/recovery.md"
        )
        return Check(name="integrity", ok=False, detail=detail)
    state = "checked" if check.done else "being checked"
    return Check(
        name="integrity", ok=True, detail=f"{state}: {check.checked} of {check.total} rows, all sound"
    )


async def check_views(follower: Follower) -> Check:
    left_out = follower.left_out
    detail = f"lists know the log up to {follower.through}"
    if left_out:
        detail = (
            f"{left_out} entities are missing in lists and searches, synced all the same: report this fault"
        )
    return Check(name="views", ok=not left_out, detail=detail)


async def check_cloud(upstream: Upstream) -> Check:
    """Never a reason to be unwell: a clinic works without its cloud."""
    told = upstream.describe()
    if told is None:
        return Check(name="cloud", ok=True, detail="this is the cloud")
    error = f", last error: {told.last_error}" if told.last_error else ""
    return Check(
        name="cloud", ok=True, detail=f"{told.state}, {told.backlog} ops not known to be there{error}"
    )


def _sum(checks: list[Check]) -> HealthAnswer:
    return HealthAnswer(ok=all(check.ok for check in checks), checks=checks)
