"""What /metrics tells of the fleet: counts, by names of which there can't be many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, get_args

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from medxz.wire import Progress, RolloutAnswer

VERSIONS_MAX: Final = 16
"""Told by name; a hub may say of itself that it runs whatever it likes."""
OTHER: Final = "other"
_STATES: Final = ("running", "paused")


@dataclass(frozen=True, slots=True)
class Counts:
    """At one moment. `hubs`: ring, health, version, how many; `rollout`: the one that is not over."""

    hubs: Sequence[tuple[str, str, str | None, int]]
    rollout: RolloutAnswer | None


def figures(counts: Counts) -> Iterator[Metric]:
    by_standing, by_version = Counter[tuple[str, str]](), Counter[str]()
    for ring, health, version, hubs in counts.hubs:
        by_standing[ring, health] += hubs
        by_version[version or "unknown"] += hubs
    standing = GaugeMetricFamily("medxz_fleet_hubs", "Hubs, by ring and health.", labels=["ring", "health"])
    for (ring, health), hubs in sorted(by_standing.items()):
        standing.add_metric([ring, health], hubs)
    yield standing
    versions = GaugeMetricFamily("medxz_fleet_version_hubs", "Hubs, by what they run.", labels=["version"])
    named = by_version.most_common(VERSIONS_MAX)
    for version, hubs in named:
        versions.add_metric([version], hubs)
    versions.add_metric([OTHER], by_version.total() - sum(hubs for _, hubs in named))
    yield versions
    yield from _of_rollout(counts.rollout)


def _of_rollout(rollout: RolloutAnswer | None) -> Iterator[Metric]:
    """All that there can be, most of it 0, so that an alarm has something to look at beforehand."""
    states = GaugeMetricFamily(
        "medxz_fleet_rollouts", "Rollouts that are not over, by state.", labels=["state"]
    )
    for state in _STATES:
        states.add_metric([state], int(rollout is not None and rollout.state == state))
    yield states
    progress = GaugeMetricFamily(
        "medxz_fleet_rollout_hubs", "Its hubs, by how far it is there.", labels=["state"]
    )
    told = {} if rollout is None else rollout.hubs.model_dump()
    for name in get_args(Progress):
        progress.add_metric([name], told.get(name, 0))
    yield progress
