"""Histories made from a seed: devices that see some of each other's ops, and now and then one that is broken."""

import random
from typing import Any

from medxz.merge.change import Change
from medxz.merge.entity import Entity
from medxz.merge.view import View

ENTITIES = [
    Entity("019a8c00-0000-7000-8000-00000000c111", entity_type, "019a8c5e-7d0f-7b11-8d55-6f0e2c4b8a77")
    for entity_type in ("Patient", "Condition", "Observation")
]
FIELDS = ("name", "phone", "note", "x-unknown")
VALUES = (b"1", b"2", b"120.50", b"12345678901234567890123", b'{"a": [1.0]}', None)
OP_TYPES = ("update",) * 5 + ("amend", "retract", "resolve", "resolve")


def change(
    op_id: str, op_type: str, parents: Any = (), *, reason: bytes | None = None, **more: Any
) -> Change:
    """A change; what is not told is the same for all."""
    fields = more.pop("fields", {})
    told: dict[str, Any] = {
        "user_id": "u",
        "device_id": "d",
        "device_time": "2025-11-21T08:30:15.250Z",
        "schema_version": 1,
    }
    return Change(
        op_id=op_id, op_type=op_type, parents=tuple(parents), fields=fields, reason=reason, **(told | more)
    )


class World:
    """One entity, written by several devices that meet now and then."""

    def __init__(
        self, seed: int, entity: Entity, count: int, *, broken: bool = True, resolve_all: bool = False
    ) -> None:
        self.random = random.Random(f"{seed}")
        self.entity = entity
        self.resolve_all = resolve_all
        self.broken = broken and self.random.random() < 0.4
        self.ids = [f"{self.random.getrandbits(32):08x}" for _ in range(count)]
        self.known: list[dict[str, Change]] = [{} for _ in range(self.random.randint(2, 5))]
        self.changes: list[Change] = []
        for number, op_id in enumerate(self.ids):
            self.write(number, op_id)

    def write(self, number: int, op_id: str) -> None:
        rng = self.random
        device = rng.randrange(len(self.known))
        known = self.known[device]
        heads = sorted(known.keys() - {parent for one in known.values() for parent in one.parents})
        heads = heads or sorted(known)  # all in a cycle
        op_type = rng.choice(OP_TYPES) if known and rng.random() > 0.05 else "create"
        parents = [] if op_type == "create" else heads
        if self.entity.entity_type != "Patient" and op_type not in ("create", "resolve"):
            parents = [rng.choice(heads)]
        elif rng.random() < 0.15 and parents:  # it missed a head
            parents = rng.sample(heads, rng.randint(1, len(heads)))
        if self.broken and rng.random() < 0.3:  # old ops, later ops, itself, ops that nobody has
            parents = rng.sample([*self.ids, "gone"], rng.randint(0, min(3, number + 1)))
        made = change(
            op_id,
            op_type,
            sorted(set(parents)),
            fields=self.fields(op_type),
            reason=rng.choice((None, b'"mistaken"')) if op_type in ("retract", "resolve") else None,
            user_id=f"user-{device}",
            device_id=f"device-{device}",
            schema_version=rng.choice((1, 2)),
            server_seq=number + 1 if rng.random() < 0.8 else None,
        )
        self.changes.append(made)
        known[op_id] = made
        while rng.random() < 0.45:  # two devices meet
            one, other = rng.sample(self.known, 2)
            one |= other

    def fields(self, op_type: str) -> dict[str, bytes | None]:
        rng = self.random
        if op_type == "retract":
            return {}
        if self.resolve_all and op_type == "resolve":
            return {name: rng.choice(VALUES) for name in FIELDS}
        count = rng.randint(2, 4) if op_type in ("create", "amend") else rng.randint(0, 2)
        values = VALUES[:-1] if op_type in ("create", "amend") and rng.random() < 0.9 else VALUES
        return {name: rng.choice(values[: rng.choice((2, 6))]) for name in rng.sample(FIELDS, count)}

    def shuffled(self) -> list[Change]:
        return self.random.sample(self.changes, len(self.changes))


def plain(view: View) -> dict[str, Any]:
    """A view in the form of the naive one."""

    def mark(one: Any) -> Any:
        return None if one is None else (one.op_id, one.reason)

    assert list(view.state) == sorted(view.state)
    assert list(view.heads) == sorted(view.heads)
    for conflict in view.conflicts:
        assert (
            conflict.op_ids == tuple(side.op_id for side in conflict.sides) == tuple(sorted(conflict.op_ids))
        )
        assert conflict.provisional is bool(view.missing_parents)
    return {
        "state": dict(view.state),
        "retracted": mark(view.retracted),
        "heads": list(view.heads),
        "missing": list(view.missing_parents),
        "version": view.version,
        "conflicts": [
            {
                "id": conflict.conflict_id,
                "kind": conflict.kind,
                "fields": list(conflict.fields),
                "sides": {side.op_id: (dict(side.values), mark(side.retracted)) for side in conflict.sides},
            }
            for conflict in view.conflicts
        ],
    }
