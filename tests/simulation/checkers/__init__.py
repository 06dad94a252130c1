"""Six checkers: pure functions of what was promised (the ledger) and of what the parties hold after a healing.

A world gathers the holdings of all its parties and calls `judge`, or has `check` do both. Each checker owns one file.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from tests.simulation.checkers.holding import Holding
from tests.simulation.checkers.violation import Violation
from tests.simulation.ledger import Ledger

__all__ = ["CHECKERS", "Checker", "Holding", "Violation", "check", "judge"]

Checker = Callable[[Ledger, Sequence[Holding]], None]


class Checked(Protocol):
    """What of a world is asked."""

    @property
    def ledger(self) -> Ledger: ...

    def holdings(self) -> Awaitable[Sequence[Holding]]:
        """Of every party that still exists, read from its real store; the cloud's once for each clinic."""
        ...


CHECKERS: Final[tuple[Checker, ...]] = ()


def judge(ledger: Ledger, holdings: Sequence[Holding]) -> None:
    """All six, in order; the first that does not hold raises its Violation."""
    for checker in CHECKERS:
        checker(ledger, holdings)


async def check(world: Checked) -> None:
    """After a healing."""
    judge(world.ledger, await world.holdings())
