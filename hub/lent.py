"""How many ops of this hub's log came from the site's other hubs, who hand them to the cloud themselves.

The uplink leaves them a moment for that: what went up from one hub comes down at the other, and need not go up twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from medxz.store.base import Outcome


class Lent:
    """Counted before they are stored, so that whoever sees the log grow finds them counted."""

    def __init__(self) -> None:
        self.ops = 0

    async def storing(self, count: int, stored: Awaitable[Sequence[Outcome]]) -> Sequence[Outcome]:
        """So many may be new; in the end, those that are."""
        self.ops += count
        new = 0
        try:
            outcomes = await stored
            new = sum(outcome.kind == "stored" for outcome in outcomes)
        finally:
            self.ops -= count - new
        return outcomes
