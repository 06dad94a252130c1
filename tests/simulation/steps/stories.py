"""Steps that belong together: what is dangerous only in this order, and to the same one, is seldom drawn by chance.

A story is a list of steps like any others: a plan may be cut in the middle of one, and each does nothing where it can't.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import Final

from tests.simulation.steps import clocks, identity, machines, network, work
from tests.simulation.steps.heal import Heal
from tests.simulation.steps.step import Step

_CUT_OFF_SHARE: Final = 0.5

Story = Callable[[random.Random, int], list[Step]]


def goes_back_and_on(chance: random.Random, parties: int) -> list[Step]:
    """A server is put back to its copy after others have read what came later, and grows again past where they stand.

    Now and then its site has no internet meanwhile: then what it took is nowhere else but with who gave it.
    """
    who = chance.randrange(parties)
    steps = [_of(machines.TakeCopy, who, chance, parties)]
    if chance.random() < _CUT_OFF_SHARE:
        steps.append(_of(network.Internet, who, chance, parties))
    back = _of(machines.PutBack, who, chance, parties)
    return [*steps, *_busy(chance, parties, 5), back, *_busy(chance, parties, 6)]


def power_fails_while_reading(chance: random.Random, parties: int) -> list[Step]:
    """The power of a machine that is being told of many ops fails a few writes later."""
    who = chance.randrange(parties)
    steps: list[Step] = [_of(machines.Crash, who, chance, parties), *_busy(chance, parties, 4)]
    steps.append(_of(machines.PowerOn, who, chance, parties))
    crash = _of(machines.CrashInCommit, who, chance, parties)
    assert isinstance(crash, machines.CrashInCommit)
    steps.append(dataclasses.replace(crash, share=crash.share / 4))
    return [*steps, _of(work.Sync, who, chance, parties), *_busy(chance, parties, 2)]


def sent_away_unheard(chance: random.Random, parties: int) -> list[Step]:
    """A site without internet goes on with a tablet that is revoked meanwhile."""
    who = chance.randrange(parties)
    return [
        _of(network.Internet, who, chance, parties),
        _of(work.Create, who, chance, parties),
        _of(work.Sync, who, chance, parties),
        _of(identity.RevokeTablet, who, chance, parties),
        _of(work.Edit, who, chance, parties),
        _of(work.Create, who, chance, parties),
        _of(work.Sync, who, chance, parties),
        *_busy(chance, parties, 3),
    ]


def carried_on_elsewhere(chance: random.Random, parties: int) -> list[Step]:
    """A device pushes to two servers that can't hear each other, so that each has gaps; then one of them is lost, or goes back."""
    who, laptop = chance.randrange(parties), chance.randrange(parties)
    moved = [
        _of(kind, laptop, chance, parties)
        for kind in (identity.MoveLaptop, work.Push, identity.MoveLaptop, work.Push)
    ]
    copied = _of(machines.TakeCopy, who, chance, parties)
    lost = chance.choice((identity.ReplaceHub, machines.PutBack))
    cut_off = _of(network.Internet, who, chance, parties)
    return [copied, cut_off, *moved, *_busy(chance, parties, 2), _of(lost, who, chance, parties)]


def lets_go_weeks_later(chance: random.Random, parties: int) -> list[Step]:
    """A tablet lets go of what is old; now and then while its site has no internet, and loses its hub then."""
    who = chance.randrange(parties)
    created = [_of(work.Create, who, chance, parties), _of(work.Sync, who, chance, parties)]
    first: list[Step] = [Heal.draw(chance, parties)]
    if chance.random() < _CUT_OFF_SHARE:
        first.append(network.Internet.draw(chance, parties))
    weeks, forgotten = clocks.WeeksPass.draw(chance, parties), _of(work.Forget, who, chance, parties)
    last = _of(identity.ReplaceHub, who, chance, parties)
    return [*created, *first, *_busy(chance, parties, 3), *created, weeks, created[1], forgotten, last]


STORIES: Final[tuple[Story, ...]] = (
    goes_back_and_on,
    power_fails_while_reading,
    sent_away_unheard,
    carried_on_elsewhere,
    lets_go_weeks_later,
)


def _of(kind: type[Step], who: int, chance: random.Random, parties: int) -> Step:
    """One of its kind, about this one: of those from the beginning, whichever steps of a story mean the same."""
    drawn = kind.draw(chance, parties)
    return dataclasses.replace(drawn, who=who, salt=drawn.salt | 1)  # type: ignore[call-arg]


def _busy(chance: random.Random, parties: int, count: int) -> list[Step]:
    kinds = (work.Create, work.Edit, work.Push, work.Push, work.Sync, work.Read)
    return [chance.choice(kinds).draw(chance, parties) for _ in range(count)]
