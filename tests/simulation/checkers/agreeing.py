"""Checker 2: all within a clinic agree on log content, state, heads and conflicts; sequences are each server's own.

Servers agree on everything. A device agrees with them on what its scope is told; one whose log is not whole has at least
nothing of its own making in it. A device may be the last that holds an op of somebody else: nothing brings that back, so
such ops, and the entities that they are of, are left out for that device.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import reduce

import msgspec

from medxz.op import Operation
from tests.simulation.checkers.holding import EntityKey, HeldEntity, Holding
from tests.simulation.checkers.violation import Violation
from tests.simulation.ledger import Ledger

CHECKER = 2


class _Listed(msgspec.Struct):
    kind: str
    state: str


_listed = msgspec.json.Decoder(_Listed).decode


def check_agreeing(ledger: Ledger, holdings: Sequence[Holding]) -> None:
    clinics: dict[str, list[Holding]] = defaultdict(list)
    for holding in holdings:
        if holding.in_touch:
            clinics[holding.clinic_id].append(holding)
    for some in clinics.values():
        servers = [holding for holding in some if holding.is_server]
        if servers:
            for server in servers:
                _is_once(server)
                _lists_what_it_shows(server)
            first, *others = servers
            for other in others:
                _servers_agree(first, other)
            brought = {op.op_id for holding in some for op in holding.ops if holding.brings(op)}
            for holding in some:
                if not holding.is_server:
                    _device_agrees(ledger, first, holding, brought)


# ------------------------------------------------------------------------------------------------ servers


def _servers_agree(first: Holding, other: Holding) -> None:
    names = f"{first.party} and {other.party}"
    a, b = _digests(first.ops), _digests(other.ops)
    _same_keys(f"{names} do not hold the same ops", a, b)
    _same(f"{names} hold different ops under one id", a, b)
    _same_entities(names, first.entities, other.entities)
    _same_keys(f"{names} do not list the same conflicts", first.conflicts, other.conflicts)
    _same(f"{names} tell a conflict differently", first.conflicts, other.conflicts)


def _is_once(holding: Holding) -> None:
    seen: set[str] = set()
    twice = [op.op_id for op in holding.ops if op.op_id in seen or seen.add(op.op_id)]  # type: ignore[func-returns-value]
    if twice:
        raise Violation(CHECKER, f"{holding.party} holds an op twice", twice)


def _lists_what_it_shows(holding: Holding) -> None:
    """What is derived says the same as what it is derived from: a conflict that no list has is seen by nobody."""
    told = {conflict_id: _listed(body) for conflict_id, body in holding.conflicts.items()}
    listed = {
        conflict_id for conflict_id, one in told.items() if one.state == "open" and one.kind != "duplicate"
    }
    shown = {one.conflict_id for entity in holding.entities.values() for one in entity.conflicts}
    if apart := listed ^ shown:
        raise Violation(CHECKER, f"{holding.party} does not list the conflicts that its entities show", apart)


# ------------------------------------------------------------------------------------------------ devices


def _device_agrees(ledger: Ledger, server: Holding, device: Holding, brought: AbstractSet[str]) -> None:
    names = f"{server.party} and {device.party}"
    held = _digests(op for op in device.ops if op.op_id not in device.parked)
    known = _digests(server.ops)
    if surplus := {op_id for op_id in held.keys() - known.keys() if not _is_lost(ledger, op_id, brought)}:
        raise Violation(CHECKER, f"{device.party} holds ops that {server.party} has not", surplus)
    _same(f"{names} hold different ops under one id", held, known, held.keys() & known.keys())
    if device.whole:
        wanted = {op.op_id for op in server.ops if device.sees(op.entity_type)}
        if missing := wanted - held.keys() - ledger.lets_go(device.party):
            raise Violation(CHECKER, f"{device.party} lacks ops that {server.party} has", missing)
    apart = {_key(op) for op in device.ops if op.op_id not in known}
    if not device.whole:  # an op that is not in its log may be in its entities
        apart |= {
            _key(authored.op)
            for op_id, authored in ledger.authors.items()
            if op_id not in known and _is_lost(ledger, op_id, brought)
        }
    _same_entities(
        names,
        {key: entity for key, entity in server.entities.items() if device.sees(key[0]) and key not in apart},
        {key: entity for key, entity in device.entities.items() if device.sees(key[0]) and key not in apart},
    )


def _is_lost(ledger: Ledger, op_id: str, brought: AbstractSet[str]) -> bool:
    """An op that no server has, because storage was lost, and that nobody who has it can bring again."""
    authored = ledger.authors.get(op_id)
    since = authored.at if authored is not None else 0.0
    return op_id not in brought and any(not ledger.kept(party, since) for party in ledger.losses)


# ------------------------------------------------------------------------------------------------- shared


def _digests(ops: Iterable[Operation]) -> dict[str, bytes]:
    return {op.op_id: op.digest() for op in ops}


def _key(op: Operation) -> EntityKey:
    return op.entity_type, op.entity_id


def _same_entities(
    names: str, one: Mapping[EntityKey, HeldEntity], other: Mapping[EntityKey, HeldEntity]
) -> None:
    if apart := one.keys() ^ other.keys():
        raise Violation(CHECKER, f"{names} do not have the same entities: {_some(apart)}")
    for part in ("heads", "state", "conflicts", "missing_parents"):
        if apart := {
            key for key, entity in one.items() if getattr(entity, part) != getattr(other[key], part)
        }:
            key = min(apart)
            a, b = getattr(one[key], part), getattr(other[key], part)
            raise Violation(CHECKER, f"{names} do not agree on {part} of {_some(apart)}: {a!r} and {b!r}")


def _same_keys(what: str, one: Mapping[str, bytes], other: Mapping[str, bytes]) -> None:
    if apart := one.keys() ^ other.keys():
        raise Violation(CHECKER, what, apart)


def _same(
    what: str, one: Mapping[str, bytes], other: Mapping[str, bytes], keys: Iterable[str] | None = None
) -> None:
    if apart := [key for key in (one if keys is None else keys) if one[key] != other[key]]:
        raise Violation(CHECKER, what, apart)


def _some(keys: Iterable[EntityKey]) -> str:
    return reduce(lambda text, key: f"{text} {'/'.join(key)}", sorted(keys)[:3], "").strip()
