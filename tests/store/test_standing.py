"""How a log stood: what a snapshot says of itself is what the ops up to its position say."""

from __future__ import annotations

import random

import pytest

from medxz.have import Have, Numbers
from medxz.limits import BLOCK_OPS
from medxz.op import Operation
from medxz.scope import FRONT_DESK_TYPES, Scope
from medxz.store.base import BEGINNING, DeadLetter
from tests.making import DEVICE, OTHER_DEVICE, batch, fixed_id, make_op, run_of
from tests.store.conftest import AnyBackend, Backend


def held_by(ops: list[Operation], scope: Scope) -> Have:
    have: Have = {}
    for op in ops:
        if scope == "full" or op.entity_type in FRONT_DESK_TYPES:
            have.setdefault(op.device_id, Numbers()).add(op.device_seq)
    return have


@pytest.mark.parametrize("scope", ["full", "front_desk"])
async def test_a_log_says_how_it_stood(backend: AnyBackend, scope: Scope) -> None:
    """At any place: the numbers of each device up to there, those of the scope alone, and the position that pulls know."""
    log = await backend.open()
    rng = random.Random(11)
    ops: list[Operation] = []
    for _ in range(12):
        device, first = fixed_id(0xD0 + rng.randrange(3)), len(ops) * 2 + 1
        ops += [
            make_op(first + at, device_id=device, entity_type=rng.choice(("Patient", "Observation")))
            for at in range(rng.randrange(100, 300))
        ]
    for first in range(0, len(ops), 500):
        await log.append(batch(*ops[first : first + 500]))
    for through in (0, 1, BLOCK_OPS - 1, BLOCK_OPS, BLOCK_OPS + 77, log.last_seq):
        standing = await log.standing(scope, through)
        assert standing.have == held_by(ops[:through], scope)
        following = await log.page(standing.position, 1_000, scope)
        assert (await log.locate(standing.have, scope)).seq >= standing.position.seq
        lacking = [op for op in ops[through:] if scope == "full" or op.entity_type in FRONT_DESK_TYPES]
        assert following.count == min(1_000, len(lacking))
    assert (await log.standing(scope, 0)).position == BEGINNING


async def test_what_somebody_lacks_is_counted_by_numbers(file_backend: Backend) -> None:
    """Settled numbers that are not in a have-vector count once each: gaps, dead letters and shared numbers too."""
    log = await file_backend.open()
    await log.append(batch(*run_of(1, 10), *run_of(3, 6, OTHER_DEVICE)))
    await log.append(batch(make_op(10), lenient=True))
    await log.append(batch(dead_letters=[DeadLetter(OTHER_DEVICE, 9, None, "invalid", "no", settles=True)]))
    assert await log.lacking({}) == (15, 15)
    have = {DEVICE: Numbers([(1, 3), (5, 5), (9, 40)]), OTHER_DEVICE: Numbers([(1, 4)])}
    assert await log.lacking(have) == (7, 15)
    assert log.shared == {(DEVICE, 10)}
