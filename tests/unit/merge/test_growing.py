"""An entity that grows op by op answers like one that is read as a whole."""

import random
from collections.abc import Iterator, Sequence

import pytest

from medxz.merge import contending, growing, heads, merging
from medxz.merge.change import Change
from medxz.merge.entity import Entity
from medxz.merge.fields import Fields, Groups, differing
from medxz.merge.growing import Growing
from medxz.merge.view import view_of
from tests.unit.merge.worlds import ENTITIES, World, change

by_policy = pytest.mark.parametrize("entity", ENTITIES, ids=["merge", "manual", "append"])


def conflict_of(entity: Entity, changes: list[Change]) -> tuple[str, tuple[str, ...]] | None:
    conflicts = view_of(entity, changes).conflicts
    return (conflicts[0].conflict_id, conflicts[0].fields) if conflicts else None


@by_policy
@pytest.mark.parametrize("kept_max", [2, 64])
def test_it_agrees_after_each_op(entity: Entity, kept_max: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In any order, through any number of bases, the conflict is the view's after each op."""
    monkeypatch.setattr(growing, "KEPT_MAX", kept_max)
    taken = based = 0
    for seed in range(500):
        world = World(seed, entity, 4 + seed % 16, broken=seed % 2 == 0)
        order = world.changes if seed % 3 else world.shuffled()
        rng = random.Random(f"{seed}")
        one = Growing(entity)
        for count, newest in enumerate(order, start=1):
            if not one.add(newest):
                one = Growing.of(entity, rng.sample(order[:count], count))
            else:
                taken += 1
            assert one.conflict == conflict_of(entity, order[:count]), (seed, count)
            base = one.base()
            view = view_of(entity, order[:count])
            assert one.add(next(c for c in order if c.op_id in view.heads))  # a second time changes nothing
            assert one.base() == base
            assert (base is None) == bool(len(view.heads) > 1 or view.conflicts)
            if base is not None and rng.random() < 0.5:
                based += 1
                one = Growing.from_base(entity, base)
                assert one.base() == base
                assert one.conflict is None
    assert min(taken, based) > 200


@by_policy
def test_a_refused_op_changes_nothing(entity: Entity) -> None:
    """An op that reaches back behind the base is not taken in, and what follows is answered as if it had not come."""
    base = Growing.of(entity, [change("1", "create"), change("2", "amend", ["1"], fields={"a": b"1"})]).base()
    assert base is not None
    one = Growing.from_base(entity, base)
    assert not one.add(change("3", "amend", ["1"], fields={"a": b"2"}))
    assert one.base() == base
    assert one.conflict is None
    assert one.add(change("4", "amend", ["2"], fields={"a": b"3"}))
    assert one.conflict is None


@by_policy
def test_a_parent_that_came_late_is_not_taken(entity: Entity) -> None:
    """An op that others named as their parent changes what they stand on: the entity is built again."""
    one = Growing(entity)
    assert one.add(change("2", "amend", ["1"], fields={"a": b"1"}))
    base = one.base()
    assert base is not None  # which may never come: what stands without it is a base, that tells of it
    for grown in (one, Growing.from_base(entity, base)):
        assert not grown.add(change("1", "create", fields={"a": b"2"}))
        assert grown.add(
            change("3", "amend", ["1", "2"], fields={"a": b"1"})
        )  # it is not here: nothing is read
        assert not grown.add(change("1", "create", fields={"a": b"2"}))


def test_a_long_entity_stays_small() -> None:
    """However many ops came one after the other, what is kept is bounded."""
    entity = ENTITIES[0]
    one = Growing(entity)
    sizes = []
    for number in range(3_000):
        parents = [f"{number - 1:05}"] if number else []
        assert one.add(change(f"{number:05}", "update", parents, fields={f"f{number % 9}": b"1" * 50}))
        sizes.append(one.size)
    assert max(sizes[200:]) <= max(sizes[:200]) + 1_000
    base = one.base()
    assert base is not None
    assert len(base) < 2_000


def test_an_old_conflict_keeps_no_long_entity_in_memory() -> None:
    """Beside a head that nobody joins, a long entity grows and answers, and lets go of what is far behind."""
    entity = ENTITIES[1]
    ops = [change("a", "create"), change("b", "amend", ["a"], fields={"a": b"-1"})]
    one = Growing.of(entity, ops)
    for number in range(1_000):
        ops.append(
            change(
                f"c{number:04}", "update", [ops[-1].op_id if number else "a"], fields={"a": b"%d" % number}
            )
        )
        assert one.add(ops[-1])
    for grown in (one, Growing.of(entity, ops)):
        assert grown.size < 300_000
        assert grown.conflict == conflict_of(entity, ops)
        assert not grown.add(change("late", "update", [ops[9].op_id]))
        assert grown.add(change("soon", "update", [ops[-9].op_id]))


@pytest.mark.parametrize("entity", ENTITIES[:2], ids=["merge", "manual"])
def test_a_head_more_costs_what_it_writes(entity: Entity, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside two hundred heads of an entity with thousands of fields, one more looks at its own fields."""
    looked = joined = 0

    def counted(several: Sequence[Fields[object]]) -> Iterator[tuple[str, Groups[object]]]:
        nonlocal looked, joined
        joined += len(several)
        for found in differing(several):
            looked += 1
            yield found

    for module in (merging, contending, heads):
        if hasattr(module, "differing"):
            monkeypatch.setattr(module, "differing", counted)
    ops = [change("a", "create", fields={f"f{number}": b"1" for number in range(15_000)})]
    one = Growing.of(entity, ops)
    for number in range(200):
        ops.append(change(f"h{number:03}", "update", ["a"], fields={"phone": b"%d" % number}))
        assert one.add(ops[-1])
        assert one.conflict is None or one.conflict[1] == ("phone",)
    assert (looked, joined) <= (400, 800)
    assert one.conflict == conflict_of(entity, ops)
    assert one.size < 10_000_000


@by_policy
@pytest.mark.parametrize("kept_max", [2, 64])
@pytest.mark.parametrize("points_min", [2, 512])
def test_a_push_takes_one_walk(
    entity: Entity, kept_max: int, points_min: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Built whole and told what comes, it takes late forks, and answers each as the view does; also after it settled."""
    monkeypatch.setattr(growing, "KEPT_MAX", kept_max)
    monkeypatch.setattr(growing, "POINTS_MIN", points_min)
    monkeypatch.setattr(growing, "POINTS_BYTES_MAX", 0)
    for seed in range(150):
        world = World(seed, entity, 20, broken=seed % 2 == 0)
        stored, pushed = world.changes[:8], world.changes[8:]
        settled_at = seed % 12
        one = Growing.whole(entity, stored, [parent for op in pushed for parent in op.parents])
        for place, newest in enumerate(pushed):
            here = [*stored, *pushed[: place + 1]]
            if place == settled_at:
                one.settle()
            if not one.add(newest):
                one = Growing.whole(entity, here, [p for op in pushed[place + 1 :] for p in op.parents])
            assert one.conflict == conflict_of(entity, here), (seed, place)


def test_late_forks_in_one_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand forks of a long entity are one walk, and little is kept for them, while they last and after."""
    entity = ENTITIES[0]
    ops = [
        change(f"{n:05}", "update" if n else "create", [f"{n - 1:05}"] if n else [], fields={"a": b"%d" % n})
        for n in range(10_000)
    ]
    forks = [
        change(f"fork{n:04}", "update", [f"{n * 7:05}", f"gone{n}"], fields={"b": b"1"}) for n in range(1_000)
    ]
    one = Growing.whole(entity, ops, [parent for fork in forks for parent in fork.parents])
    assert one.size < 5_000_000
    monkeypatch.setattr(growing, "graph_of", None)  # no other walk
    assert all(map(one.add, forks))
    assert one.conflict is None
    one.settle()
    assert one.size < 6_000_000
    assert not one.add(change("later", "update", ["00001"]))
    assert one.add(change("soon", "update", [forks[-1].op_id], fields={"b": b"2"}))
    assert one.conflict is not None


def test_too_many_parents_that_never_come_make_no_base(monkeypatch: pytest.MonkeyPatch) -> None:
    """A base stays small, however many parents a broken device makes up."""
    monkeypatch.setattr(growing, "MISSING_MAX", 3)
    one = Growing(ENTITIES[0])
    for number in range(5):
        assert one.add(change(f"{number}", "update", [f"{number - 1}", f"gone{number}"]))
        assert (one.base() is None) == (number > 1)
