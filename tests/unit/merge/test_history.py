"""The history of an entity: what each op found, what it left, and what had merged by itself."""

import json

import pytest

from medxz.merge.entity import Entity
from medxz.merge.history import history_of
from medxz.merge.standing import Merge
from tests.unit.merge.naive import MERGED, Ops, naive_view
from tests.unit.merge.worlds import ENTITIES, World, change

by_policy = pytest.mark.parametrize("entity", ENTITIES, ids=["merge", "manual", "append"])


@by_policy
def test_before_and_after(entity: Entity) -> None:
    """Before is what the ancestors amount to, after is that with the op; each field that differs is told."""
    for seed in range(400):
        world = World(seed, entity, 3 + seed % 8)
        ops = Ops(world.changes)
        history = history_of(entity, world.shuffled())
        assert history == history_of(entity, world.changes)
        seen: set[str] = set()
        for entry in history.entries:
            op_id = entry.change.op_id
            assert ops.parents[op_id] <= seen
            seen.add(op_id)
            before = naive_view(entity, world.changes, ops.ancestors[op_id])
            after = naive_view(entity, world.changes, ops.closure(op_id))
            names = {*before["state"], *after["state"]}
            changed = {n for n in names if before["state"].get(n) != after["state"].get(n)}
            settled = set(entry.change.fields) if entry.change.op_type == "resolve" else set()
            assert entry.fields == {
                name: (before["state"].get(name), after["state"].get(name))
                for name in sorted(changed | settled)
            }, seed
            assert entry.retracted == (after["retracted"] is not None), seed
            gone = {one["id"] for one in before["conflicts"]} - {one["id"] for one in after["conflicts"]}
            assert set(entry.resolves) == gone, seed
        assert seen == set(ops.all)


@by_policy
def test_each_automatic_merge_is_told(entity: Entity) -> None:
    """Where heads lie beside each other, each field that is not said alike by all is told as merged or in conflict."""
    told = 0
    for seed in range(600):
        world = World(seed, entity, 4 + seed % 8)
        ops = Ops(world.changes)
        history = history_of(entity, world.shuffled())
        places = [(entry.merged, ops.ancestors[entry.change.op_id]) for entry in history.entries]
        for merged, some in [*places, (history.merged, set(ops.all))]:
            heads = ops.heads(some)
            together = naive_view(entity, world.changes, some)
            sides = [naive_view(entity, world.changes, ops.closure(head))["state"] for head in heads]
            if len(heads) < 2:
                assert merged is None
                continue
            in_conflict = {name for one in together["conflicts"] for name in one["fields"]}
            fields = merged.fields if merged else {}
            for name in {name for side in sides for name in side}:
                values = {side.get(name) for side in sides}
                if len(values) > 1 and "*" not in in_conflict:
                    assert (name in fields) != (name in in_conflict), seed
            assert merged is not None or in_conflict, seed
            if merged:
                assert merged.heads == tuple(sorted(heads))
                told += len(fields)
                for name, (value, op_ids) in fields.items():
                    assert value == together["state"].get(name), seed
                    assert all(ops.writes(op_id)[name] == value for op_id in op_ids), seed
    assert (told > 500) == (entity.entity_type in MERGED)


def test_a_history_as_it_is_sent() -> None:
    """An entry tells who and when, each field before and after, the reason, and what had merged."""
    ops = [
        change("1", "create", fields={"name": b'"A"', "phone": b'"1"'}, server_seq=7),
        change("2", "update", ["1"], fields={"name": b'"B"'}),
        change("3", "update", ["1"], fields={"phone": None}),
        change("4", "resolve", ["2", "3"], fields={"note": b"120.50"}, reason=b'"seen"'),
    ]
    history = history_of(ENTITIES[0], reversed(ops))
    assert history.merged is None
    assert history_of(ENTITIES[0], ops[:3]).merged == Merge(
        ("2", "3"), {"name": (b'"B"', ("2",)), "phone": (None, ("3",))}
    )
    first, _, third, fourth = [entry.to_wire_json() for entry in history.entries]
    assert json.loads(first)["server_seq"] == 7
    assert json.loads(third)["fields"] == {"phone": {"before": "1", "after": None}}
    assert b'"fields":{"note":{"before":null,"after":120.50}}' in fourth
    assert json.loads(fourth) | {"fields": None} == {
        "op_id": "4",
        "op_type": "resolve",
        "parents": ["2", "3"],
        "user_id": "u",
        "device_id": "d",
        "device_time": "2025-11-21T08:30:15.250Z",
        "schema_version": 1,
        "reason": "seen",
        "fields": None,
        "retracted": False,
        "resolves": [],
        "merged": {
            "heads": ["2", "3"],
            "fields": {
                "name": {"value": "B", "op_ids": ["2"]},
                "phone": {"value": None, "op_ids": ["3"]},
            },
        },
    }
