"""Checker 6: the audit chains verify on every party, and none of them has lost what it must say.

A device notes each op in the transaction that records it: whoever has the op and made it has the note, too.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.simulation.checkers.holding import Holding
from tests.simulation.checkers.violation import Violation
from tests.simulation.ledger import Ledger

CHECKER = 6


def check_audits(ledger: Ledger, holdings: Sequence[Holding]) -> None:
    for holding in holdings:
        audit = holding.audit
        if audit is None:
            raise Violation(CHECKER, f"nobody asked for the audit of {holding.party}")
        if audit.broken is not None:
            raise Violation(CHECKER, f"the audit of {holding.party} does not verify: {audit.broken}")
        if holding.kind == "tablet":
            unsaid = [
                op.op_id
                for op in holding.ops
                if op.device_id == holding.device_id
                and _made_here(ledger, holding, op.op_id)
                and op.op_id.encode() not in audit.text
            ]
            if unsaid:
                raise Violation(
                    CHECKER, f"the audit of {holding.party} does not say that it recorded", unsaid
                )


def _made_here(ledger: Ledger, holding: Holding, op_id: str) -> bool:
    authored = ledger.authors.get(op_id)
    return (
        authored is not None and authored.party == holding.party and ledger.kept(holding.party, authored.at)
    )
