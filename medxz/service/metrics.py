"""Figures for Prometheus: requests as they are answered, and what the server holds at the moment it is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from medxz.clock import parse_time
from medxz.service.pull import Pull
from medxz.service.snapshot import Snapshot
from medxz.service.upstream import Link
from medxz.store.base import LogStore
from medxz.store.views.follower import Follower

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)


def no_results() -> dict[str, int]:
    """Nothing was pushed yet: each status that an op can be answered with, and none of them."""
    return dict.fromkeys(("accepted", "duplicate", "conflict", "retry", "rejected"), 0)


class Gauges:
    """Plain numbers that the use cases keep anyway, read when somebody asks."""

    def __init__(
        self,
        gauges: Mapping[str, tuple[str, Callable[[], float]]],
        ops: Mapping[str, int],
        commits: Callable[[], int],
        families: Callable[[], Iterable[Metric]] = tuple,
    ) -> None:
        """`families`: what has labels of its own."""
        self._gauges: Final = gauges
        self._ops: Final = ops
        self._commits: Final = commits
        self._families: Final = families

    def collect(self) -> Iterator[Metric]:
        for name, (about, read) in self._gauges.items():
            yield GaugeMetricFamily(f"medxz_{name}", about, value=read())
        pushed = CounterMetricFamily("medxz_pushed_ops", "Ops answered, by result.", labels=["status"])
        for status, count in self._ops.items():
            pushed.add_metric([status], count)
        yield pushed
        yield CounterMetricFamily(
            "medxz_transactions", "Transactions of the log's writer.", value=self._commits()
        )
        yield from self._families()


def gauges_of(
    log: LogStore,
    follower: Follower,
    pull: Pull,
    snapshot: Snapshot,
    results: Mapping[str, int],
    link: Callable[[], Link] = Link,
    *,
    more: Mapping[str, tuple[str, Callable[[], float]]] = MappingProxyType({}),
) -> Gauges:
    """For a server of one clinic. `results` are those of all pushes, by status; `link` is how its uplink is."""
    return Gauges(
        {
            "last_server_seq": ("The greatest server_seq.", lambda: log.last_seq),
            "waiting_ops": ("Ops that wait for the writer.", lambda: log.waiting_ops),
            "views_through": ("The server_seq up to which lists know the log.", lambda: follower.through),
            "open_streams": ("Streams being read.", lambda: pull.streams_open),
            "open_snapshots": ("Snapshots being read.", lambda: snapshot.being_read),
            "upstream_online": ("Whether the cloud can be reached.", lambda: link().is_online),
            "upstream_backlog": ("Numbers that the cloud lacks.", lambda: link().backlog or 0),
            "upstream_last_ok_seconds": (
                "When the cloud last answered.",
                lambda: _seconds(link().last_ok_at),
            ),
            **more,
        },
        results,
        lambda: log.transactions,
    )


def _seconds(moment: str | None) -> float:
    return parse_time(moment) / 1_000 if moment is not None else 0.0


class Metrics:
    """One server's figures."""

    def __init__(self, gauges: Gauges) -> None:
        self._registry: Final = CollectorRegistry()
        self._registry.register(gauges)
        ProcessCollector(registry=self._registry)
        self._requests: Final = Histogram(
            "medxz_request_seconds",
            "Time to answer, by endpoint and status.",
            ["endpoint", "status"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._children: dict[tuple[str, int], Histogram] = {}

    def observe(self, endpoint: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        child = self._children.get((endpoint, status))
        if child is None:
            child = self._children[endpoint, status] = self._requests.labels(endpoint, str(status))
        child.observe(seconds)

    def render(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self._registry)
