"""Checker 4: nothing of one clinic is at another: no op, entity, person, device or word of it.

Whatever belongs to one clinic alone is known by ids: of its ops, entities, devices, authors, and its own. None of them may
stand anywhere in what a party holds of another clinic: its log, its states, its conflicts, its directory, its audit. Payloads name their
clinic's id (a marker), so that a payload that went astray is known by it too.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from medxz.op import Operation
from tests.simulation.checkers.holding import HeldEntity, Holding
from tests.simulation.checkers.violation import Violation
from tests.simulation.ledger import Ledger

CHECKER = 4
_UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def check_apart(ledger: Ledger, holdings: Sequence[Holding]) -> None:
    owner = _owners(ledger, holdings)
    for holding in holdings:
        for place, text in _texts(holding):
            found = {id_ for id_ in _ids(text) if owner.get(id_, holding.clinic_id) != holding.clinic_id}
            if found:
                raise Violation(CHECKER, f"another clinic's is in the {place} of {holding.party}", found)
    _readers(ledger, owner)


def _owners(ledger: Ledger, holdings: Sequence[Holding]) -> dict[str, str]:
    """To each id the one clinic that it is of; what several may name belongs to nobody."""
    clinics: dict[str, set[str]] = defaultdict(set)
    for authored in ledger.authors.values():
        for id_ in _own_ids(authored.op):
            clinics[id_].add(authored.op.clinic_id)
    for holding in holdings:
        clinics[holding.clinic_id].add(holding.clinic_id)
        if holding.kind != "cloud" and holding.server_id:
            clinics[holding.server_id].add(holding.clinic_id)
    return {id_: next(iter(some)) for id_, some in clinics.items() if len(some) == 1}


def _own_ids(op: Operation) -> Iterable[str]:
    return op.op_id, op.entity_id, op.device_id, op.user_id, op.clinic_id


def _texts(holding: Holding) -> Iterator[tuple[str, bytes]]:
    for op in holding.ops:
        yield "log", op.head().encode() + bytes(op.payload)
    for (entity_type, entity_id), entity in holding.entities.items():
        yield "states", f"{entity_type} {entity_id} ".encode() + _entity_text(entity)
    for body in holding.conflicts.values():
        yield "conflicts", body
    yield "directory", holding.directory
    if holding.audit is not None:
        yield "audit", holding.audit.text


def _entity_text(entity: HeldEntity) -> bytes:
    values = [
        value for conflict in entity.conflicts for side in conflict.sides for value in side.values.values()
    ]
    ids = [*entity.heads, *entity.missing_parents, *(c.conflict_id for c in entity.conflicts)]
    return b" ".join([*entity.state.values(), *filter(None, values), *(id_.encode() for id_ in ids)])


def _ids(text: bytes) -> set[str]:
    return {found.decode() for found in _UUID.findall(text)}


def _readers(ledger: Ledger, owner: dict[str, str]) -> None:
    """A reader, whoever its server is, is given ops of one clinic."""
    given: dict[str, tuple[str, str]] = {}
    for page in ledger.pages:
        for op_id, _ in page.ops:
            clinic_id = owner.get(op_id)
            if clinic_id is not None:
                first = given.setdefault(page.reader, (clinic_id, op_id))
                if first[0] != clinic_id:
                    raise Violation(CHECKER, f"{page.reader} was given ops of two clinics", [first[1], op_id])
