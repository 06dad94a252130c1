"""How a soak is paced: how much is done, how often something breaks, how often is looked. All of it by name.

An hour at a clinic of fifty tablets is some hundreds of ops; here an hour is worth about a day of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ACTION_EVERY_S: Final = 12.0
"""Somebody at a tablet does something this often, on average: about every third time it is an op."""
NEWCOMERS_AN_HOUR: Final = 30.0
FAULT_EVERY_S: Final = 90.0
FAULTS_AT_LEAST: Final = 12
"""A short run has its faults closer together."""
SAMPLE_S: Final = 5.0
SAMPLES_AT_LEAST: Final = 120
PROGRESS_S: Final = 60.0
WARM_UP_S: Final = 300.0
WARM_UP_SHARE: Final = 0.15
"""What a process has at its start is its own business for a while: caches fill, code is loaded."""
HEAL_S_MAX: Final = 600.0


@dataclass(frozen=True, slots=True)
class Pace:
    """One run's, by how long it is."""

    run_s: float

    @property
    def fault_every_s(self) -> float:
        return min(FAULT_EVERY_S, self.run_s / FAULTS_AT_LEAST)

    @property
    def sample_s(self) -> float:
        return min(SAMPLE_S, self.run_s / SAMPLES_AT_LEAST)

    @property
    def newcomer_every_s(self) -> float:
        return min(3_600 / NEWCOMERS_AN_HOUR, self.run_s / 4)

    @property
    def warm_up_s(self) -> float:
        return min(WARM_UP_S, WARM_UP_SHARE * self.run_s)
