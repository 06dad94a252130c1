"""Six checkers: pure functions of what was promised (the ledger) and of what the parties hold after a healing.

A world gathers the holdings of all its parties and calls `judge`, or has `check` do both. Each checker owns one file.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from tests.simulation.checkers.acknowledged import check_acknowledged
from tests.simulation.checkers.agreeing import check_agreeing
from tests.simulation.checkers.apart import check_apart
from tests.simulation.checkers.audits import check_audits
from tests.simulation.checkers.edits import check_edits
from tests.simulation.checkers.holding import Holding
from tests.simulation.checkers.reading import check_reading
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


CHECKERS: Final[tuple[Checker, ...]] = (
    check_acknowledged,
    check_agreeing,
    check_reading,
    check_apart,
    check_edits,
    check_audits,
)


def judge(ledger: Ledger, holdings: Sequence[Holding]) -> None:
    """All six, in order; the first that does not hold raises its Violation."""
    for checker in CHECKERS:
        checker(ledger, holdings)


async def check(world: Checked) -> None:
    """After a healing."""
    judge(world.ledger, await world.holdings())
