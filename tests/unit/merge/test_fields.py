"""The map that shares what is not changed, held against plain dicts."""

import random

import pytest

from medxz.merge import fields
from medxz.merge.fields import Fields, differing


@pytest.mark.parametrize("leaf_max", [1, 32])
def test_it_is_a_dict(leaf_max: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is put, it holds what a dict would, and what it was made from is as it was."""
    monkeypatch.setattr(fields, "LEAF_MAX", leaf_max)
    rng = random.Random("fields")
    known: list[tuple[Fields[object], dict[str, object]]] = [(Fields({}), {})]
    for number in range(400):
        one, plain = rng.choice(known)
        new = {f"f{rng.randrange(300)}": object() for _ in range(rng.choice((0, 1, 3, 80)))}
        made = one.put(new), {**plain, **new}
        if number % 7 == 0:
            value = object()
            made = made[0].filled(value), dict.fromkeys(made[1], value)
        known.append(made)
    for one, plain in known:
        assert dict(one.items()) == plain
        assert len(one) == len(plain)
        assert all(one.get(f"f{number}") is plain.get(f"f{number}") for number in range(300))
    for _ in range(200):
        several = rng.sample(known, rng.randint(1, 5))
        found = {name: dict(some) for name, some in differing([one for one, _ in several])}
        names = {name for _, plain in several for name in plain}
        expected = {}
        for name in names:
            held: dict[object, int] = {}
            for place, (_, plain) in enumerate(several):
                held[plain.get(name)] = held.get(plain.get(name), 0) | 1 << place
            if len(held) > 1:
                expected[name] = held
        assert found == expected


def test_what_is_shared_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of a hundred thousand names are found by looking at few of them, and are cheap to put."""
    base = Fields.of({f"f{number}": b"1" for number in range(100_000)})
    sides = [base.put({f"f{number}": b"2"}) for number in range(2)]
    compared = 0
    grouped = fields._grouped

    def counted(held: list[tuple[object, int]]) -> list[tuple[object, int]]:
        nonlocal compared
        compared += len(held)
        return grouped(held)

    monkeypatch.setattr(fields, "_grouped", counted)
    assert {name for name, _ in differing([base, *sides])} == {"f0", "f1"}
    assert compared < 2_000
