"""What a server tells of the cloud: how far it has a device's numbers, and what it refused.

The cloud counts its own log. A hub passes on what the cloud said last, which the directory keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

from medxz import wire
from medxz.service.gate import Caller
from medxz.store.base import LogStore
from medxz.store.directory import Known

ServerKind = Literal["hub", "cloud"]


@dataclass(frozen=True, slots=True)
class Link:
    """How a hub's connection to its cloud is now. One that was never claimed has none.

    `backlog` is how many settled numbers the cloud lacks, where that is known better than by the watermarks.
    """

    is_online: bool = False
    last_ok_at: str | None = None
    last_error: str | None = None
    backlog: int | None = None


class Upstream:
    """The third level of safe, as this server knows it."""

    def __init__(
        self, kind: ServerKind, log: LogStore, known: Known, link: Callable[[], Link] = Link
    ) -> None:
        self.kind: Final = kind
        self._log: Final = log
        self._known: Final = known
        self._link: Final = link

    def cloud_epoch(self) -> str | None:
        return self._log.epoch if self.kind == "cloud" else self._known.directory.cloud_epoch

    def through(self, device_id: str) -> int:
        """The highest n such that the device's 1 … n are all settled in the cloud's epoch."""
        if self.kind == "cloud":
            return self._log.settled_through(device_id)
        return self._known.directory.cloud_marks.get(device_id, 0)

    def cloud_through(self, caller: Caller, devices: Iterable[str]) -> int | dict[str, int]:
        """For a device its own; for a hub, those of the devices in its push."""
        if caller.device_id is not None:
            return self.through(caller.device_id)
        return {device_id: self.through(device_id) for device_id in sorted(devices)}

    def marks(self) -> dict[str, int]:
        return self._log.settled() if self.kind == "cloud" else dict(self._known.directory.cloud_marks)

    def refused(self, caller: Caller) -> list[wire.RefusedUpstream]:
        """What the cloud would not store of this device's ops."""
        refusals = self._known.directory.cloud_refusals.get(caller.device_id or "", ())
        return [wire.RefusedUpstream(op_id=op_id, code=code) for op_id, code in refusals]

    def describe(self) -> wire.Upstream | None:
        """How a hub stands with its cloud. Without one, everything waits."""
        if self.kind == "cloud":
            return None
        link = self._link()
        return wire.Upstream(
            state="online" if link.is_online else "offline",
            backlog=self.backlog(),
            last_ok_at=link.last_ok_at,
            last_error=link.last_error,
        )

    def backlog(self) -> int:
        """How many settled numbers the cloud is not known to have."""
        known = self._link().backlog
        if known is not None:
            return known
        return sum(max(0, here - self.through(device_id)) for device_id, here in self._log.settled().items())
