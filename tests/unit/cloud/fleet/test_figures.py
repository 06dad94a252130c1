"""What /metrics tells of a fleet: every hub counted once, under no more names than there may be."""

from __future__ import annotations

from prometheus_client.metrics_core import Metric

from cloud.fleet.figures import OTHER, VERSIONS_MAX, Counts, figures


def told(counts: Counts) -> dict[str, dict[tuple[str, ...], float]]:
    """name of a figure -> its labels' values -> how many."""
    return {family.name: values(family) for family in figures(counts)}


def values(family: Metric) -> dict[tuple[str, ...], float]:
    return {tuple(sample.labels.values()): sample.value for sample in family.samples}


def test_versions_are_bounded() -> None:
    """The versions that most hubs run are named; whatever else hubs say of themselves is one figure."""
    hubs = [("all", "ok", f"0.{number}.0", number + 1) for number in range(VERSIONS_MAX + 4)]
    found = told(Counts([*hubs, ("canary", "away", None, 100)], None))
    versions = found["medxz_fleet_version_hubs"]
    assert len(versions) == VERSIONS_MAX + 1
    assert (versions["unknown",], versions["0.19.0",], versions[OTHER,]) == (100, 20, 1 + 2 + 3 + 4 + 5)
    assert sum(versions.values()) == sum(found["medxz_fleet_hubs"].values())
    assert found["medxz_fleet_hubs"]["canary", "away"] == 100


def test_no_rollout_is_told_too() -> None:
    """Without a rollout each of its figures is there and is 0."""
    found = told(Counts([], None))
    assert found["medxz_fleet_rollouts"] == {("running",): 0, ("paused",): 0}
    assert set(found["medxz_fleet_rollout_hubs"].values()) == {0}
