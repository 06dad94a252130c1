"""Checker 1: no acknowledged op is missing where its level said it was.

What binds is a promise whose party still has the storage that it was given for; docs/decisions/0071 says what follows where
it has not. Servers give each other what they have, and a device its own ops, so after a healing a server that went back has
again what any of these survived with.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from tests.simulation.checkers.holding import Holding
from tests.simulation.checkers.violation import Violation
from tests.simulation.ledger import THE_CLOUD, Ack, Forgotten, Ledger

CHECKER = 1


def check_acknowledged(ledger: Ledger, holdings: Sequence[Holding]) -> None:
    clinics: dict[str, list[Holding]] = defaultdict(list)
    for holding in holdings:
        clinics[holding.clinic_id].append(holding)
    for line in ledger.forgotten:
        _was_safe_to_forget(ledger, line)
    for clinic_id, some in clinics.items():
        _Clinic(ledger, clinic_id, some).check()


class _Clinic:
    """The promises of one clinic's ops, held against what its parties have."""

    def __init__(self, ledger: Ledger, clinic_id: str, holdings: Sequence[Holding]) -> None:
        self._ledger = ledger
        self._holdings = {holding.party: holding for holding in holdings}
        self._has = {holding.party: holding.op_ids() for holding in holdings}
        self._op_ids = sorted(
            op_id
            for op_id in ledger.acks
            if op_id in ledger.authors and ledger.authors[op_id].op.clinic_id == clinic_id
        )

    def check(self) -> None:
        self._where_it_was_promised()
        self._wherever_it_can_come_from()

    def _where_it_was_promised(self) -> None:
        """A promise that still binds is kept to the letter: at that party, whoever else has the op."""
        missing: dict[tuple[str, str], list[str]] = defaultdict(list)
        for op_id in self._op_ids:
            for ack in self._ledger.acks[op_id]:
                holding = self._holdings.get(ack.party)
                if holding is not None and self._binds(ack, holding) and not self._is_at(op_id, holding):
                    missing[ack.party, ack.level].append(op_id)
        for (party, level), op_ids in sorted(missing.items()):
            raise Violation(CHECKER, f"acknowledged as safe at level {level}, and not there: {party}", op_ids)

    def _wherever_it_can_come_from(self) -> None:
        """What was acknowledged anywhere, and somebody has, is at every server that this somebody can reach."""
        servers = [held for held in self._holdings.values() if held.is_server and held.in_touch]
        coming = {op.op_id for held in self._holdings.values() for op in held.ops if held.brings(op)}
        for server in servers:
            missing = [
                op_id
                for op_id in self._op_ids
                if op_id in coming and not self._counts_as(op_id, server.party)
            ]
            if missing:
                raise Violation(
                    CHECKER, f"acknowledged, still held by others, and not come to {server.party}", missing
                )

    def _binds(self, ack: Ack, holding: Holding) -> bool:
        if not self._ledger.kept(ack.party, ack.at):
            return False
        # what was said of a log that went back, by somebody who had not heard of that yet, binds nobody
        is_of_this_log = ack.epoch is None or ack.epoch == holding.epoch
        return is_of_this_log or not self._ledger.losses.get(ack.party)

    def _is_at(self, op_id: str, holding: Holding) -> bool:
        if self._counts_as(op_id, holding.party):
            return True
        if holding.kind != "tablet":
            return False
        gone = self._ledger.lets_go(holding.party)
        return op_id in gone or holding.renamed.get(op_id) in gone

    def _counts_as(self, op_id: str, party: str) -> bool:
        """It is there, or the op is that its author made of it under a new identity."""
        has = self._has[party]
        return op_id in has or any(
            renamed in has for renamed in (held.renamed.get(op_id) for held in self._holdings.values())
        )


def _was_safe_to_forget(ledger: Ledger, line: Forgotten) -> None:
    """A device lets go of nothing that the cloud has not got."""
    if line.in_cloud is None:
        return
    unsafe = [
        op_id
        for op_id in line.op_ids - line.in_cloud
        if not any(ack.party == THE_CLOUD and ack.at <= line.at for ack in ledger.acks.get(op_id, ()))
    ]
    if unsafe:
        raise Violation(CHECKER, f"{line.party} forgot what the cloud never had", unsafe)
