"""No set of ops, however broken, makes the engine loop, recurse or refuse."""

import random
import time
from itertools import product

import pytest

from medxz.merge.entity import Entity
from medxz.merge.graph import graph_of
from medxz.merge.growing import Growing
from medxz.merge.history import history_of
from medxz.merge.line import changes_of_line, line_of
from medxz.merge.view import resolved_of, view_of
from tests.unit.merge.naive import Ops, naive_view
from tests.unit.merge.worlds import ENTITIES, change, plain

by_policy = pytest.mark.parametrize("entity", ENTITIES, ids=["merge", "manual", "append"])


@by_policy
def test_all_shapes_of_three(entity: Entity) -> None:
    """Every way in which three ops can name each other, themselves too, is read as the words say."""
    ids = ("a", "b", "c")
    sets = [[name for bit, name in enumerate(ids) if mask >> bit & 1] for mask in range(8)]
    for parents in product(sets, repeat=3):
        ops = [
            change(op_id, op_type, some, fields={"f": b'"%s"' % op_id.encode(), op_id: b"1"})
            for op_id, op_type, some in zip(ids, ("create", "update", "amend"), parents, strict=True)
        ]
        assert plain(view_of(entity, ops)) == naive_view(entity, ops), parents


@by_policy
def test_random_tangles(entity: Entity) -> None:
    """Ops that name each other at random have an order in which the edges that count lead back."""
    rng = random.Random("tangles")
    for _ in range(300):
        ids = [f"{rng.getrandbits(32):08x}" for _ in range(rng.randint(2, 12))]
        ops = [
            change(
                op_id,
                rng.choice(("create", "update", "amend", "resolve", "retract")),
                rng.sample([*ids, "gone"], rng.randint(0, min(3, len(ids)))),
                fields={"f": b'"%s"' % op_id.encode()},
            )
            for op_id in ids
        ]
        graph, words = graph_of(ops), Ops(ops)
        for place, one in enumerate(graph.changes):
            assert all(parent < place for parent in graph.parents[place])
            assert {graph.changes[parent].op_id for parent in graph.parents[place]} == words.parents[
                one.op_id
            ]
        assert plain(view_of(entity, ops)) == naive_view(entity, ops)
        assert changes_of_line("c", line_of(entity, ops))[1] == graph.changes
        assert Growing.of(entity, ops).conflict == next(
            ((one.conflict_id, one.fields) for one in view_of(entity, ops).conflicts), None
        )


@by_policy
@pytest.mark.parametrize("shape", ["chain", "ring", "star", "braid", "all to all"])
def test_large_ones_end(entity: Entity, shape: str) -> None:
    """Thousands of ops in a row, in a ring, from one root or interwoven are read, told and taken in."""
    count = {"chain": 10_000, "ring": 4_000, "star": 2_000, "braid": 2_000, "all to all": 300}[shape]
    ids = [f"{number:05}" for number in range(count)]
    parents = {
        "chain": lambda n: ids[n - 1 : n],
        "ring": lambda n: [ids[n - 1]],
        "star": lambda n: ids[:1] if n else [],
        "braid": lambda n: ids[max(0, n - 3) : n : 2],
        "all to all": lambda n: ids,
    }[shape]
    ops = [
        change(op_id, "resolve" if n % 3 else "amend", parents(n), fields={f"f{n % 7}": b"%d" % (n % 11)})
        for n, op_id in enumerate(ids)
    ]
    view = view_of(entity, ops)
    assert view.version == count
    assert len(history_of(entity, ops).entries) == count
    assert len(changes_of_line("c", line_of(entity, ops))[1]) == count
    assert isinstance(resolved_of(entity, ops), tuple)
    conflicts = [(one.conflict_id, one.fields) for one in view.conflicts]
    assert Growing.of(entity, ops).conflict == (conflicts[0] if conflicts else None)


@by_policy
def test_partial_resolves_do_not_multiply(entity: Entity) -> None:
    """Pairs of concurrent resolves of one field each, layer upon layer, cost no more than their number."""
    heads = ["a", "b"]
    ops = [change(op_id, "create", fields={"x": op_id.encode()}) for op_id in heads]
    for layer in range(100):
        two = [
            change(f"{layer:03}{side}", "resolve", heads, fields={f"f{layer}": b"%d" % side})
            for side in (1, 2)
        ]
        ops += two
        heads = [one.op_id for one in two]
    start = time.monotonic()
    (conflict,) = view_of(entity, ops).conflicts
    assert len(conflict.fields) == 101
    assert len(conflict.sides) == 202
    assert time.monotonic() - start < 10
