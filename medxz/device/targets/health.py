"""Whether a server that the device has left may be taken again. Pure: the time is an argument.

Left at once, taken again slowly: it has to have answered for a while without a failure in between. One that was left
again soon after it was taken has to answer for twice as long, up to a bound; one that kept for long begins anew. So a
hub that comes and goes costs a move now and then, and not one with each of its turns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

HOLD_S: Final = 3.0
"""How long it has to have answered."""
HOLD_S_MAX: Final = 300.0
KEPT_S: Final = 120.0
"""Who was stayed with for so long is no longer held to what was before."""


@dataclass(slots=True)
class Health:
    """Of one server, by a clock that only goes forwards."""

    hold_s: float = HOLD_S
    answers_since: float | None = None
    taken_at: float | None = None

    def answered(self, now: float) -> None:
        """It was asked, and answered."""
        if self.answers_since is None:
            self.answers_since = now

    def failed(self) -> None:
        """It was asked, and did not answer as it must."""
        self.answers_since = None

    def may_be_taken(self, now: float) -> bool:
        """Whether it has answered for long enough."""
        return self.answers_since is not None and now - self.answers_since >= self.hold_s

    def taken(self, now: float) -> None:
        """The device is in step with it."""
        self.answered(now)
        if self.taken_at is None:
            self.taken_at = now

    def left(self, now: float) -> None:
        """It failed while the device was with it, or was given up for a better one."""
        if self.taken_at is not None:
            kept = now - self.taken_at >= KEPT_S
            self.hold_s = HOLD_S if kept else min(HOLD_S_MAX, self.hold_s * 2)
        self.taken_at = None
        self.answers_since = None
