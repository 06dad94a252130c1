"""How many ops of this hub's log came from its neighbours, who hand them to the cloud themselves.

The uplink leaves them a moment for that: what went up from one hub comes down at the other, and need not go up twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Lent:
    """Counted before they are stored, so that whoever sees the log grow finds them counted."""

    def __init__(self) -> None:
        self.ops = 0

    @contextmanager
    def lending(self, most: int) -> Iterator[Lending]:
        """So many may come, before it is known how many of them are new."""
        lending = Lending()
        self.ops += most
        try:
            yield lending
        finally:
            self.ops -= most - lending.count


class Lending:
    """Some ops on their way into the log."""

    def __init__(self) -> None:
        self.count = 0

    def came(self, count: int) -> None:
        self.count = count
