"""What every party of a world holds, read from its real store, in the words of the checkers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from medxz.wire import AuditVerifyAnswer
from tests.simulation.checkers.holding import Audit, EntityKey, HeldConflict, HeldEntity, HeldSide, Holding
from tests.simulation.parties.cloud import CloudParty
from tests.simulation.parties.device import TabletParty
from tests.simulation.parties.hub import HubParty
from tests.simulation.parties.party import States

if TYPE_CHECKING:
    from tests.simulation.world import World


class _Side(msgspec.Struct):
    op_id: str
    values: dict[str, msgspec.Raw]
    retracted: Any = None


class _Conflict(msgspec.Struct):
    conflict_id: str
    kind: str
    fields: tuple[str, ...]
    heads: tuple[str, ...]
    sides: tuple[_Side, ...]


class _Entity(msgspec.Struct):
    state: dict[str, msgspec.Raw]
    heads: tuple[str, ...]
    conflicts: tuple[_Conflict, ...]
    missing_parents: tuple[str, ...]


_entity = msgspec.json.Decoder(_Entity).decode
_NULL = b"null"


async def gather(world: World) -> list[Holding]:
    """Of everybody who runs; the cloud's once for each clinic that it has."""
    found: list[Holding] = []
    for resident in world.present():
        party, clinic = resident.party, resident.clinic
        match party:
            case CloudParty():
                of_it = [one.clinic_id for one in world.clinics if not one.is_alone]
                found += [await _of_cloud(party, clinic_id) for clinic_id in of_it]
            case HubParty():
                found.append(await _of_hub(party))
            case TabletParty():
                assert clinic is not None
                found.append(await _of_tablet(party))
    return found


async def _of_cloud(cloud: CloudParty, clinic_id: str) -> Holding:
    return Holding(
        cloud.name, "cloud", clinic_id, await cloud.ops(clinic_id),
        entities=_entities(await cloud.states(clinic_id)), conflicts=await cloud.conflicts(clinic_id),
        audit=_audit(await cloud.audit_verify(clinic_id)),
        directory=msgspec.json.encode((await cloud.running.parts.directories.of(clinic_id)).directory),
        server_id=cloud.server_id, epoch=await cloud.epoch(clinic_id),
    )  # fmt: skip


async def _of_hub(hub: HubParty) -> Holding:
    return Holding(
        hub.name, "hub", hub.clinic_id, await hub.ops(),
        entities=_entities(await hub.states()), conflicts=await hub.conflicts(),
        audit=_audit(await hub.audit_verify()), server_id=hub.server_id, epoch=hub.epoch,
        directory=msgspec.json.encode(hub.running.storage.registry.directory), in_touch=not hub.is_revoked,
    )  # fmt: skip


async def _of_tablet(tablet: TabletParty) -> Holding:
    ops, status = await tablet.ops(), await tablet.status()
    have = await tablet.have()
    there = {(op.device_id, op.device_seq) for op in ops}
    is_whole = all(
        (device_id, number) in there
        for device_id, numbers in have.items()
        for first, last in numbers
        for number in range(first, last + 1)
    )
    return Holding(
        tablet.name, "tablet", tablet.clinic_id, ops,
        entities=_entities(await tablet.states()), conflicts=await tablet.conflicts(),
        audit=await _audit_of(tablet), device_id=status.device_id, scope=tablet.scope, whole=is_whole,
        in_touch=not tablet.is_revoked, parked=frozenset(await tablet.parked()),
        renamed=_renamed(await tablet.recorded_again()),
    )  # fmt: skip


def _renamed(again: dict[str, str]) -> dict[str, str]:
    """From an op to what it is called now: a tablet may have got a new identity more than once."""
    after = {before: op_id for op_id, before in again.items()}
    found: dict[str, str] = {}
    for before, op_id in after.items():
        while op_id in after:
            op_id = after[op_id]  # noqa: PLW2901  on to the last one
        found[before] = op_id
    return found


async def _audit_of(tablet: TabletParty) -> Audit:
    with tablet.device._store._file.reading() as connection:
        details = [text for (text,) in connection.execute("SELECT detail FROM audit").fetchall()]
    holds = await tablet.audit_verify()
    return Audit(len(details), None if holds else "its chain does not hold", "\n".join(details).encode())


def _audit(told: AuditVerifyAnswer) -> Audit:
    broken = [f"{chain.chain_id} at {chain.first_broken}" for chain in told.chains if not chain.ok]
    if not told.ok and not broken:
        broken = ["a chain is not what was proven of it before"]
    return Audit(sum(chain.entries for chain in told.chains), ", ".join(broken) or None)


def _entities(states: States) -> dict[EntityKey, HeldEntity]:
    found: dict[EntityKey, HeldEntity] = {}
    for key, text in states.items():
        told = _entity(text)
        found[key] = HeldEntity(
            {name: bytes(value) for name, value in told.state.items()},
            told.heads,
            tuple(
                HeldConflict(
                    conflict.conflict_id, conflict.kind, conflict.fields, conflict.heads,
                    tuple(
                        HeldSide(side.op_id, {n: _value(v) for n, v in side.values.items()}, side.retracted is not None)
                        for side in conflict.sides
                    ),
                )
                for conflict in sorted(told.conflicts, key=lambda conflict: conflict.conflict_id)
            ),
            told.missing_parents,
        )  # fmt: skip
    return found


def _value(raw: msgspec.Raw) -> bytes | None:
    text = bytes(raw)
    return None if text == _NULL else text
