"""State, heads and conflicts, held against the naive reading over generated histories."""

from itertools import permutations

import pytest

from medxz.merge.change import Change
from medxz.merge.entity import Entity
from medxz.merge.history import history_of
from medxz.merge.line import line_of
from medxz.merge.view import View, resolved_of, view_of
from tests.unit.merge.naive import Ops, contender_view, naive_id, naive_view
from tests.unit.merge.worlds import ENTITIES, World, change, plain

by_policy = pytest.mark.parametrize("entity", ENTITIES, ids=["merge", "manual", "append"])
PATIENT, CONDITION, _ = ENTITIES


@by_policy
def test_it_is_what_the_words_say(entity: Entity) -> None:
    """The engine and the naive reading agree over every generated history."""
    for seed in range(3_000):
        world = World(seed, entity, 2 + seed % 12)
        assert plain(view_of(entity, world.shuffled())) == naive_view(entity, world.changes), seed


@by_policy
def test_every_order_is_the_same(entity: Entity) -> None:
    """Every permutation of a small set gives the same bytes: state, heads, conflicts and their ids."""
    for seed in range(60):
        world = World(seed, entity, 2 + seed % 4)
        once = view_of(entity, world.changes)
        told = once.to_wire_json(), line_of(entity, world.changes), resolved_of(entity, world.changes)
        for order in permutations(world.changes):
            view = view_of(entity, order)
            assert view == once, seed
            assert (view.to_wire_json(), line_of(entity, order), resolved_of(entity, order)) == told, seed


@by_policy
def test_parents_may_come_late(entity: Entity) -> None:
    """Any part of a history is read as the words say, its missing parents named, and the whole is the same after."""
    for seed in range(400):
        world = World(seed, entity, 6 + seed % 6)
        order = world.shuffled()
        for count in range(1, len(order) + 1):
            view = view_of(entity, order[:count])
            assert plain(view) == naive_view(entity, order[:count]), seed
            assert all(conflict.provisional == bool(view.missing_parents) for conflict in view.conflicts)
        assert view_of(entity, [*order, *order[:3]]) == view_of(entity, world.changes), seed


@by_policy
def test_no_edit_disappears(entity: Entity) -> None:
    """Each value that was written, each removal and each retract is shown, superseded by a descendant, or in conflict."""
    for seed in range(2_000):
        world = World(seed, entity, 3 + seed % 12)
        view, ops = view_of(entity, world.shuffled()), Ops(world.changes)
        for one in world.changes:
            after = [later for later in world.changes if one.op_id in ops.ancestors[later.op_id]]
            for name, value in one.fields.items():
                assert is_shown(view, name, value) or any(overwrites(later, name) for later in after), seed
            if one.op_type == "retract" and not any(one.op_type in ("amend", "resolve") for one in after):
                kept = view.retracted or [c for c in view.conflicts if c.kind == "retract"]
                assert kept, seed


def is_shown(view: View, name: str, value: bytes | None) -> bool:
    told = [
        side.values[name]
        for conflict in view.conflicts
        for side in conflict.sides
        if name in side.values and (name in conflict.fields or conflict.fields == ("*",))
    ]
    # under `*` a field that no side has is not told
    return view.state.get(name) == value or value in told


def overwrites(change: Change, name: str) -> bool:
    return name in change.fields or change.op_type in ("amend", "create")


@pytest.mark.parametrize("entity", ENTITIES[1:], ids=["manual", "append"])
def test_whole_sides_contend(entity: Entity) -> None:
    """Where each resolve names every field, reading field by field is the same as comparing whole states."""
    for seed in range(1_500):
        world = World(seed, entity, 2 + seed % 12, broken=False, resolve_all=True)
        view = plain(view_of(entity, world.shuffled()))
        conflicts = [(one["id"], one["fields"], set(one["sides"])) for one in view["conflicts"]]
        assert (view["state"], view["retracted"], conflicts) == contender_view(entity, world.changes), seed


@by_policy
def test_what_is_resolved_was_in_conflict(entity: Entity) -> None:
    """Resolved by an op is what is in conflict among its ancestors, is not with the op itself, and is not open."""
    for seed in range(600):
        world = World(seed, entity, 3 + seed % 10)
        ops = Ops(world.changes)
        now = {conflict["id"] for conflict in naive_view(entity, world.changes)["conflicts"]}
        expected: dict[str, set[str]] = {}
        for op_id in ops.all:
            before = naive_view(entity, world.changes, ops.ancestors[op_id])["conflicts"]
            after = naive_view(entity, world.changes, ops.closure(op_id))["conflicts"]
            gone = {conflict["id"] for conflict in before} - {conflict["id"] for conflict in after}
            for conflict_id in gone - now:
                expected.setdefault(conflict_id, set()).add(op_id)
        order = [entry.change.op_id for entry in history_of(entity, world.changes).entries]
        resolved = {
            (one.conflict.kind, one.conflict.conflict_id): one.by
            for one in resolved_of(entity, world.shuffled())
        }
        assert {conflict_id for _, conflict_id in resolved} == expected.keys(), seed
        firsts = {conflict_id: min(ops, key=order.index) for conflict_id, ops in expected.items()}
        for conflict_id, first in firsts.items():
            assert first in {by for (_, told), by in resolved.items() if told == conflict_id}, seed
        assert all(by in expected[conflict_id] for (_, conflict_id), by in resolved.items()), seed


@by_policy
def test_a_conflict_that_many_resolve_is_told_once(entity: Entity) -> None:
    """However many ops resolve it beside each other, its sides are put together once, for the first."""
    heads = [change(f"h{n}", "amend", ["a"], fields={"note": b"%d" % n}) for n in range(20)]
    ids = [head.op_id for head in heads]
    resolves = [change(f"r{n:02}", "resolve", ids, fields={"note": b"0"}) for n in range(60)]
    [once] = resolved_of(entity, [change("a", "create"), *heads, *resolves])
    assert (once.by, len(once.conflict.sides)) == ("r00", 20)


def test_the_id_of_a_conflict() -> None:
    """It is the UUIDv5 of the contract, in whatever order the ops are named."""
    ids = ["b", "a", "c"]
    assert PATIENT.conflict_id(ids) == PATIENT.conflict_id(sorted(ids)) == naive_id(PATIENT, ids)
    assert PATIENT.conflict_id(ids) != CONDITION.conflict_id(ids)


def test_bytes_stay_as_they_were_written() -> None:
    """Zeros, long numbers, spaces and unknown fields go from the payload into state and sides as they stand."""
    odd = {"b": b"120.50", "a": b"12345678901234567890123", "x-\u00e9": b'{"k" :  [1.0, "\\u00e9"]}'}
    first = change("1", "create", fields=odd)
    second = change("2", "update", ["1"], fields={"b": b"120.5"})
    third = change("3", "update", ["1"], fields={"b": b"1.205e2"})
    assert view_of(PATIENT, [first]).state_json() == (
        '{"a":12345678901234567890123,"b":120.50,"x-é":{"k" :  [1.0, "\\u00e9"]}}'.encode()
    )
    view = view_of(PATIENT, [third, first, second])
    assert b'"values":{"b":120.5}' in view.to_wire_json()
    assert b'"values":{"b":1.205e2}' in view.to_wire_json()
    assert view.state["a"] == odd["a"]


def test_a_conflict_as_it_is_sent() -> None:
    """A conflict is sent with who, when and where of each side, null for a removal, and the mark of a retract."""
    ops = [
        change("1", "create", fields={"name": b'"A"', "phone": b'"1"'}),
        change("2", "retract", ["1"], reason=b'"twice"', user_id="u2", device_id="d2"),
        change("3", "update", ["1"], fields={"phone": None}, user_id="u3", device_id="d3"),
    ]
    (conflict,) = view_of(CONDITION, ops).conflicts
    who = '"user_id":"u%d","device_id":"d%d","device_time":"2025-11-21T08:30:15.250Z"'
    assert conflict.to_wire_json().decode() == (
        f'{{"conflict_id":"{naive_id(CONDITION, ["2", "3"])}","kind":"retract","entity_type":"Condition",'
        f'"entity_id":"{CONDITION.entity_id}","fields":["*"],"heads":["2","3"],"sides":['
        f'{{"op_id":"2","op_type":"retract",{who % (2, 2)},"values":{{"name":"A","phone":"1"}},'
        '"retracted":{"op_id":"2","reason":"twice"}},'
        f'{{"op_id":"3","op_type":"update",{who % (3, 3)},"values":{{"name":"A","phone":null}}}}],'
        '"provisional":false}'
    )


def test_a_retracted_state_as_it_is_sent() -> None:
    """A retracted entity keeps its values, and the mark stands among them by its name."""
    ops = [change("1", "create", fields={"z": b"1", "a": b"2"}), change("2", "retract", ["1"], reason=b'"x"')]
    assert view_of(PATIENT, ops).state_json() == b'{"a":2,"retracted":{"op_id":"2","reason":"x"},"z":1}'
    assert view_of(PATIENT, ops[1:]).state_json() == b'{"retracted":{"op_id":"2","reason":"x"}}'
    assert (
        view_of(PATIENT, [])
        .to_wire_json()
        .endswith(b'"heads":[],"version":0,"conflicts":[],"missing_parents":[]}')
    )
