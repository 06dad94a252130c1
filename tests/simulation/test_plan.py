"""Plans are data: the same for the same seed, and any part of one is one."""

from __future__ import annotations

from collections import Counter

from tests.simulation.plan import make_plan
from tests.simulation.steps.catalogue import KINDS
from tests.simulation.steps.heal import Heal

SEEDS = range(1, 101)


def test_a_seed_has_one_plan() -> None:
    """The plan of a seed is equal whenever it is made, and another seed's is another."""
    assert [make_plan(seed) for seed in SEEDS] == [make_plan(seed) for seed in SEEDS]
    assert len({make_plan(seed).steps for seed in SEEDS}) == len(SEEDS)


def test_any_part_of_a_plan_is_a_plan() -> None:
    """What is left when steps are left out keeps its numbers, its pauses and its shape."""
    plan = make_plan(7)
    part = plan.keeping([3, 5, 30])
    assert [one.number for one in part.steps] == [3, 5, 30]
    assert set(part.steps) <= set(plan.steps)
    assert part.shape == plan.shape


def test_every_kind_of_step_is_planned() -> None:
    """In a hundred plans each kind of step stands at least ten times, and every world heals before its end."""
    planned = Counter(type(one.step) for seed in SEEDS for one in make_plan(seed).steps)
    assert min(planned[kind] for kind in KINDS) >= 10, planned
    assert all(any(isinstance(one.step, Heal) for one in make_plan(seed).steps) for seed in SEEDS)


def test_shapes_are_as_they_are_meant() -> None:
    """A clinic has one or two sites, one to three hubs, two to four tablets; every site has a hub and a tablet."""
    clinics = [clinic for seed in SEEDS for clinic in make_plan(seed).shape.clinics]
    for clinic in clinics:
        assert 1 <= len(clinic.sites) <= 2
        assert 1 <= sum(site.hubs for site in clinic.sites) <= 3
        assert 2 <= sum(site.tablets for site in clinic.sites) <= 4
        assert all(site.hubs and site.tablets for site in clinic.sites)
    assert any(clinic.is_alone for clinic in clinics)
    assert any(len(clinic.sites) == 2 for clinic in clinics)
