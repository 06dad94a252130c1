"""Checker 5: no edit disappeared: what an op wrote is in the state, was written anew by a descendant, or is in a conflict.

It reads the graph by itself, from the parents and payloads of the ops that a party holds, and shares nothing with medxz.merge,
so that it can disagree with it. It does not know policies: which side a state shows is checker 2's to compare; that no value
goes missing without somebody having seen it is the same promise under all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from medxz.op import Operation
from tests.simulation.checkers.holding import EntityKey, HeldEntity, Holding
from tests.simulation.checkers.violation import Violation
from tests.simulation.ledger import Ledger

CHECKER = 5
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NULL = b"null"
_NO_FIELDS = frozenset({"_resolve"})
_MARK = "retracted"


def check_edits(ledger: Ledger, holdings: Sequence[Holding]) -> None:
    for holding in holdings:
        if holding.whole and holding.in_touch:
            entities: dict[EntityKey, list[Operation]] = defaultdict(list)
            for op in holding.ops:
                if op.op_id not in holding.parked and holding.sees(op.entity_type):
                    entities[op.entity_type, op.entity_id].append(op)
            for key, ops in entities.items():
                _entity(holding, key, ops)


def _entity(holding: Holding, key: EntityKey, ops: Sequence[Operation]) -> None:
    shown = holding.entities.get(key)
    ids = [op.op_id for op in ops]
    if shown is None:
        raise Violation(
            CHECKER, f"{holding.party} holds ops of {'/'.join(key)} and shows no such entity", ids
        )
    written = {op.op_id: _written(op) for op in ops}
    behind = _ancestors(written)
    heads = tuple(sorted(written.keys() - set().union(*behind.values())))
    if tuple(sorted(shown.heads)) != heads:
        raise Violation(
            CHECKER, f"{holding.party} has the heads {shown.heads} of {'/'.join(key)}, not {heads}", ids
        )
    followers: dict[str, list[_Written]] = defaultdict(list)
    for op_id, ancestors in behind.items():
        for ancestor in ancestors:
            followers[ancestor].append(written[op_id])
    for op in written.values():
        _is_accounted_for(holding.party, key, op, followers[op.op_id], shown)


@dataclass(frozen=True, slots=True)
class _Written:
    """What an op says: JSON text by field, None where it removes one."""

    op_id: str
    op_type: str
    parents: tuple[str, ...]
    fields: Mapping[str, bytes | None]

    def writes(self, name: str) -> bool:
        """An amend is the whole resource: it writes what it leaves out, too."""
        return self.op_type in {"amend", "create"} or name in self.fields


def _written(op: Operation) -> _Written:
    members = {
        name: bytes(raw) for name, raw in _MEMBERS.decode(op.payload).items() if name not in _NO_FIELDS
    }
    fields = {name: None if value == _NULL else value for name, value in members.items()}
    return _Written(op.op_id, op.op_type, op.parents, {} if op.op_type == "retract" else fields)


def _ancestors(ops: Mapping[str, _Written]) -> dict[str, set[str]]:
    """To each op those that are behind it. Two that are each behind the other are beside each other."""
    reached = {op_id: _reach(op_id, ops) for op_id in ops}
    return {
        op_id: {other for other in some if op_id not in reached[other]} for op_id, some in reached.items()
    }


def _reach(op_id: str, ops: Mapping[str, _Written]) -> set[str]:
    found: set[str] = set()
    ahead = [op_id]
    while ahead:
        for parent in ops[ahead.pop()].parents:
            if parent in ops and parent not in found:
                found.add(parent)
                ahead.append(parent)
    return found


def _is_accounted_for(
    party: str, key: EntityKey, op: _Written, followers: Sequence[_Written], shown: HeldEntity
) -> None:
    name = "/".join(key)
    if op.op_type == "retract":
        taken_back = any(one.op_type in {"amend", "resolve", "retract"} for one in followers)
        if not taken_back and _MARK not in shown.state and not _contends(shown, "retract"):
            raise Violation(
                CHECKER, f"{party}: a retract of {name} has no effect, and nobody was told", [op.op_id]
            )
        return
    for field, value in op.fields.items():
        if any(one.writes(field) for one in followers) or (field == _MARK and _MARK in shown.state):
            continue
        if shown.state.get(field) != value and value not in _sides(shown, field):
            raise Violation(
                CHECKER,
                f"{party}: what an op wrote into {field} of {name} is nowhere: {_text(value)};"
                f" the state has {_text(shown.state.get(field))}",
                [op.op_id],
            )


def _contends(shown: HeldEntity, kind: str) -> bool:
    return any(conflict.kind == kind for conflict in shown.conflicts)


def _sides(shown: HeldEntity, field: str) -> Iterable[bytes | None]:
    return [
        side.values[field] for conflict in shown.conflicts for side in conflict.sides if field in side.values
    ]


def _text(value: bytes | None) -> str:
    return "nothing" if value is None else value.decode()
