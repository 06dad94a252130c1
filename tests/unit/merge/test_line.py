"""A line of a snapshot holds all that merging needs."""

import json

import pytest

from medxz.merge.entity import Entity
from medxz.merge.line import changes_of_line, line_of
from medxz.merge.view import view_of
from tests.unit.merge.worlds import ENTITIES, World, change

by_policy = pytest.mark.parametrize("entity", ENTITIES, ids=["merge", "manual", "append"])


@by_policy
def test_there_and_back(entity: Entity) -> None:
    """What was put into a line comes out of it, each change as it was, and gives the same line again."""
    for seed in range(1_000):
        world = World(seed, entity, 1 + seed % 12)
        line = line_of(entity, world.shuffled())
        assert b"\n" not in line
        named, changes = changes_of_line(entity.clinic_id, line)
        assert named == entity
        assert {one.op_id: one for one in changes} == {one.op_id: one for one in world.changes}, seed
        assert line_of(entity, changes) == line


@by_policy
def test_what_comes_later_merges_as_upon_the_whole_log(entity: Entity) -> None:
    """A line and the ops after it make what all the ops make, forks from old ancestors included."""
    for seed in range(500):
        world = World(seed, entity, 4 + seed % 12)
        order = world.shuffled() if seed % 2 else world.changes
        for cut in range(1, len(order)):
            _, changes = changes_of_line(entity.clinic_id, line_of(entity, order[:cut]))
            assert view_of(entity, [*changes, *order[cut:]]) == view_of(entity, order), seed
    old = [change(f"{n:03}", "amend" if n else "create", [f"{n - 1:03}"] if n else []) for n in range(100)]
    fork = change("fork", "amend", ["001"], fields={"a": b"1"})
    _, changes = changes_of_line(entity.clinic_id, line_of(entity, old))
    assert view_of(entity, [*changes, fork]) == view_of(entity, [*old, fork])


@by_policy
def test_a_line_tells_the_view(entity: Entity) -> None:
    """A line's heads, state, conflicts, missing parents and version are those of the view."""
    for seed in range(300):
        world = World(seed, entity, 1 + seed % 8)
        told = json.loads(line_of(entity, world.changes))
        graph = told.pop("graph")
        assert told == json.loads(view_of(entity, world.changes).to_wire_json())
        assert [one["fields"] for one in graph if one["op_type"] == "retract"] == [[]] * sum(
            one.op_type == "retract" for one in world.changes
        )


def test_no_value_is_told_twice() -> None:
    """The values that the state shows do not stand in the graph; a field named as the mark of a retract always does."""
    first = change("1", "create", fields={"a": b"1.10", "b": b"2", "retracted": b"3"})
    second = change("2", "update", ["1"], fields={"a": b"1.1", "c": None})
    third = change("3", "retract", ["2"], reason=b'"x"')
    line = line_of(ENTITIES[0], [first, second, third])
    assert [one.get("values") for one in json.loads(line)["graph"]] == [
        {"a": 1.1, "retracted": 3},
        None,
        None,
    ]
    assert b'"values":{"a":1.10,"retracted":3}' in line
    assert changes_of_line(ENTITIES[0].clinic_id, line)[1] == [first, second, third]
