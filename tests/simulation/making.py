"""Small worlds made by hand: ops, holdings and entities as they are when nothing went wrong, to be broken one by one."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from medxz.op import Operation
from tests.simulation.checkers.holding import Audit, HeldEntity, Holding, PartyKind
from tests.simulation.checkers.violation import Violation
from tests.simulation.ledger import Ledger

CLINIC = "01900000-0000-7000-8000-00000000c111"
OTHER_CLINIC = "01900000-0000-7000-8000-00000000c222"
TABLET_ID = "01900000-0000-7000-8000-0000000de71c"
USER = "01900000-0000-7000-8000-00000000005e"
CLOUD_ID = "01900000-0000-7000-8000-00000000c10d"
HUB_ID = "01900000-0000-7000-8000-0000000004b1"
EPOCH = "01900000-0000-7000-8000-0000000e70c4"

Check = Callable[[Ledger, Sequence[Holding]], None]

_count = iter(range(1, 1_000_000))


def new_id() -> str:
    return str(uuid.UUID(int=(0x01900000 << 96) | (7 << 76) | (2 << 62) | next(_count)))


def made(payload: str = '{"status":"final"}', **members: Any) -> Operation:
    """A lawful op, of the clinic's one tablet."""
    return Operation(
        **{
            "op_id": new_id(),
            "clinic_id": CLINIC,
            "device_id": TABLET_ID,
            "user_id": USER,
            "entity_type": "Patient",
            "entity_id": new_id(),
            "op_type": "create",
            "parents": (),
            "device_time": "2026-11-22T10:00:00.000Z",
            "device_seq": next(_count),
            "schema_version": 1,
            "payload": msgspec.Raw(payload.encode()),
            **members,
        }
    )


def followed(
    op: Operation, payload: str, *, op_type: str = "update", also: Sequence[Operation] = ()
) -> Operation:
    """An op upon that one, and upon others beside it."""
    parents = tuple(sorted(one.op_id for one in (op, *also)))
    return made(payload, op_type=op_type, parents=parents, entity_type=op.entity_type, entity_id=op.entity_id)


def alone(op: Operation) -> HeldEntity:
    """The entity that one op makes."""
    members = msgspec.json.decode(op.payload, type=dict[str, msgspec.Raw])
    return HeldEntity({name: bytes(value) for name, value in members.items()}, (op.op_id,))


def shown(state: dict[str, str], *heads: Operation, **more: Any) -> HeldEntity:
    """An entity with this state, JSON text by field."""
    ids = tuple(sorted(op.op_id for op in heads))
    return HeldEntity({name: value.encode() for name, value in state.items()}, ids, **more)


def stands(
    party: str,
    ops: Sequence[Operation],
    entities: Sequence[tuple[Operation, HeldEntity]] | None = None,
    **more: Any,
) -> Holding:
    """A party that has these ops, each an entity of its own where nothing else is said; its kind is in its name."""
    kind: PartyKind = "cloud" if party == "cloud" else "hub" if party.startswith("hub") else "tablet"
    told = [(op, alone(op)) for op in ops] if entities is None else entities
    server_id = {"cloud": CLOUD_ID, "hub": HUB_ID}.get(kind)
    mine: dict[str, Any] = {
        "clinic_id": CLINIC,
        "entities": {(op.entity_type, op.entity_id): entity for op, entity in told},
        "audit": Audit(len(ops), None, b" ".join(op.op_id.encode() for op in ops)),
        "server_id": server_id,
        "epoch": EPOCH if server_id else None,
        "device_id": None if server_id else TABLET_ID,
    }
    placed = [
        msgspec.structs.replace(op, server_seq=seq) if server_id else op for seq, op in enumerate(ops, 1)
    ]
    return Holding(party=party, kind=kind, ops=placed, **{**mine, **more})


def safe(*ops: Operation, at: float = 1.0) -> Ledger:
    """Each was recorded by the tablet, then taken by the hub, then by the cloud."""
    ledger = Ledger()
    for seq, op in enumerate(ops, 1):
        ledger.authored(op, "tablet", at)
        ledger.acked(op.op_id, "here", "tablet", at=at, told="a person")
        ledger.acked(op.op_id, "hub", "hub", HUB_ID, EPOCH, at + 1, seq=seq, told="tablet")
        ledger.acked(op.op_id, "cloud", "cloud", CLOUD_ID, EPOCH, at + 2, seq=seq, told="hub")
    return ledger


def refused(check: Check, ledger: Ledger, holdings: Sequence[Holding], *words: str) -> Violation:
    """The violation that this check finds; its words say what it is about."""
    with pytest.raises(Violation) as found:
        check(ledger, holdings)
    for word in words:
        assert word in found.value.what
    return found.value
