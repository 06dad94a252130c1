"""Every kind of step, and how often it is drawn.

Each seed draws which faults its world has, and how many: a world with all of them at once would seldom get far, and one
that has few is where a failure is easiest to read.
"""

from __future__ import annotations

import random
from typing import Final

from tests.simulation.steps import clocks, identity, machines, network, work
from tests.simulation.steps.heal import Heal
from tests.simulation.steps.step import Step
from tests.simulation.steps.stories import STORIES

WORK: Final[dict[type[Step], int]] = {
    work.Create: 12, work.Edit: 26, work.EditTogether: 8, work.Retract: 4, work.Resolve: 8, work.RecordNewer: 3, work.Sync: 6,
    work.Read: 10, work.Push: 8, work.Forget: 4,
}  # fmt: skip
FAULTS: Final[dict[type[Step], int]] = {
    network.Lose: 6, network.Duplicate: 6, network.Slow: 6, network.Cut: 6, network.Isolate: 4,
    network.Partition: 4, network.Internet: 4, network.Mend: 5,
    machines.Crash: 8, machines.CrashInCommit: 8, machines.PowerOn: 6, machines.Restart: 4,
    machines.TakeCopy: 5, machines.PutBack: 5, machines.FillDisk: 4, machines.FreeDisk: 3, machines.FailSyncs: 5,
    clocks.JumpClock: 5, clocks.WrongClock: 3, clocks.DriftClock: 3, clocks.RunBackwards: 3, clocks.WeeksPass: 1,
    identity.MoveTablet: 5, identity.MoveLaptop: 4, identity.ReplaceHub: 2, identity.RevokeTablet: 2, identity.LockOut: 3,
    identity.RotateKeys: 2, identity.CopyCard: 2, identity.CloneTablet: 3, identity.Adopt: 3,
}  # fmt: skip
KINDS: Final = (*WORK, *FAULTS, Heal)

_STORIES_SHARE: Final = 0.03
_FAULTS_SHARE_MIN, _FAULTS_SHARE_MAX = 0.15, 0.45
_BETWEEN_HEALINGS_MIN, _BETWEEN_HEALINGS_MAX = 18, 45


def draw_steps(chance: random.Random, parties: int, count: int) -> list[Step]:
    """So many steps, for a world of so many parties."""
    share = chance.uniform(_FAULTS_SHARE_MIN, _FAULTS_SHARE_MAX)
    faults = chance.sample(list(FAULTS), chance.randint(8, len(FAULTS)))
    steps: list[Step] = []
    until_healing = chance.randint(_BETWEEN_HEALINGS_MIN, _BETWEEN_HEALINGS_MAX)
    while len(steps) < count:
        if until_healing == 0:
            steps.append(Heal.draw(chance, parties))
            until_healing = chance.randint(_BETWEEN_HEALINGS_MIN, _BETWEEN_HEALINGS_MAX)
            continue
        if chance.random() < _STORIES_SHARE:
            story = chance.choice(STORIES)(chance, parties)
            steps += story
            until_healing = max(0, until_healing - len(story))
            continue
        until_healing -= 1
        table = {kind: FAULTS[kind] for kind in faults} if chance.random() < share else WORK
        (kind,) = chance.choices(list(table), list(table.values()))
        steps.append(kind.draw(chance, parties))
    return steps[:count]
