"""Many power cuts: one hub for so many of them, then a new one, and what came of all."""

from __future__ import annotations

import math
import statistics
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

import httpx

from tests.disk.memory import in_memory
from tests.powercut.life import MOMENTS, Cut, Life, a_life

CUTS_A_HUB: Final = 20
_TOLD_CHARS_MAX: Final = 600
_LOG_LINES_TOLD: Final = 12


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    cuts: int
    plant: str | None = None
    stop_at_loss: bool = False
    keep: Path | None = None


@dataclass(slots=True)
class Outcome:
    """`losses`: what did not hold, and after which cut."""

    plan: Plan
    cuts: int = 0
    moments: Counter[str] = field(default_factory=Counter)
    killed_before: int = 0
    acknowledged: int = 0
    decisions: int = 0
    entries: int = 0
    epochs_begun: int = 0
    serves_after_s: list[float] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        return {
            "seed": self.plan.seed,
            "cuts": self.cuts,
            "moments": dict(self.moments),
            "kills_before_a_cut": self.killed_before,
            "ops_acknowledged": self.acknowledged,
            "decisions_acknowledged": self.decisions,
            "epochs_begun": self.epochs_begun,
            "changes_seen": self.entries,
            "losses": self.losses,
            "serves_again_s": {
                name: round(value, 2) for name, value in self._times().items()
            },
        }  # fmt: skip

    def _times(self) -> dict[str, float]:
        times = sorted(self.serves_after_s)
        if not times:
            return {}
        p99 = times[math.ceil(0.99 * len(times)) - 1]
        return {"median": statistics.median(times), "p99": p99, "max": times[-1]}


async def cut_often(plan: Plan, say: Callable[[str], None]) -> Outcome:
    """All cuts of a plan; the first loss of a hub ends its life."""
    outcome, chance = Outcome(plan), Random(plan.seed)
    with tempfile.TemporaryDirectory(dir=in_memory()) as folder:
        number = 0
        while outcome.cuts < plan.cuts and not (plan.stop_at_loss and outcome.losses):
            number += 1
            # of its own, so that a life is the same whatever came before it
            seed = chance.randrange(2**32)
            await _one_life(Path(folder) / str(number), Random(seed), outcome, say)
    return outcome


async def _one_life(folder: Path, chance: Random, outcome: Outcome, say: Callable[[str], None]) -> None:
    last = min(outcome.cuts + CUTS_A_HUB, outcome.plan.cuts)
    async with a_life(folder, chance, outcome.plan.plant) as life:
        try:
            while outcome.cuts < last:
                cut = await _one_cut(life, outcome)
                say(_line(cut, life, outcome))
            await life.end()
        except (AssertionError, httpx.HTTPError) as error:
            loss = f"cut {outcome.cuts}: {str(error) or type(error).__name__}"[:_TOLD_CHARS_MAX]
            outcome.losses.append(loss)
            say(f"LOST: {loss}")
            if outcome.plan.keep is not None:
                life.box.keep(outcome.plan.keep / f"seed-{outcome.plan.seed}-cut-{outcome.cuts}")
            for line in life.box.hub.log.read_text().splitlines()[-_LOG_LINES_TOLD:]:
                say(f"  the hub's log: {line[:_TOLD_CHARS_MAX]}")
        finally:
            outcome.acknowledged += len(life.ledger.seqs)
            outcome.decisions += life.operator.acknowledged if life.operator is not None else 0
            outcome.epochs_begun += life.epochs_begun
            outcome.entries += life.box.entries
            outcome.serves_after_s += life.served


async def _one_cut(life: Life, outcome: Outcome) -> Cut:
    outcome.cuts += 1
    moment = life.chance.choice(MOMENTS)
    cut = await life.cut(moment)
    outcome.moments[moment] += 1
    outcome.killed_before += cut.was_killed_before
    return cut


def _line(cut: Cut, life: Life, outcome: Outcome) -> str:
    before = ", killed before" if cut.was_killed_before else ""
    served = f"; it served again after {life.served[-1]:.2f} s" if life.served else ""
    total = (life.box.hub.data / "hub.db").stat().st_size // 1_024
    return (
        f"cut {outcome.cuts}/{outcome.plan.cuts} ({cut.moment}{before}):"
        f" {cut.acknowledged} ops acknowledged, hub.db {total} KiB{served}"
    )
