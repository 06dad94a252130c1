"""The names under which a server tells its figures: whoever watches a clinic has written them down."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from medxz.service.metrics import Metrics, gauges_of, no_results
from medxz.service.upstream import Link


def test_what_a_server_tells() -> None:
    """Each figure under its name, an op's results by status, and nothing of a cloud that it has not."""
    log = cast("Any", SimpleNamespace(last_seq=7, waiting_ops=1, transactions=3))
    follower, pull, snapshot = (
        cast("Any", SimpleNamespace(**{name: value}))
        for name, value in (("through", 5), ("streams_open", 2), ("being_read", 4))
    )
    results = no_results() | {"accepted": 6}
    link = Link(is_online=True, backlog=9, last_ok_at="1970-01-01T00:00:02.000Z")
    gauges = gauges_of(
        log, follower, pull, snapshot, results, lambda: link, more={"extra": ("More.", lambda: 8)}
    )
    metrics = Metrics(gauges)
    metrics.observe("pull", 200, 0.003)
    metrics.observe("pull", 200, 40)
    told = metrics.render().decode().splitlines()
    assert {
        "medxz_last_server_seq 7.0", "medxz_waiting_ops 1.0", "medxz_views_through 5.0", "medxz_open_streams 2.0",
        "medxz_open_snapshots 4.0", "medxz_upstream_online 1.0", "medxz_upstream_backlog 9.0",
        "medxz_upstream_last_ok_seconds 2.0", "medxz_extra 8.0", "medxz_transactions_total 3.0",
        'medxz_pushed_ops_total{status="accepted"} 6.0', 'medxz_pushed_ops_total{status="duplicate"} 0.0',
        'medxz_pushed_ops_total{status="conflict"} 0.0', 'medxz_pushed_ops_total{status="retry"} 0.0',
        'medxz_pushed_ops_total{status="rejected"} 0.0',
        'medxz_request_seconds_bucket{endpoint="pull",le="0.0025",status="200"} 0.0',
        'medxz_request_seconds_bucket{endpoint="pull",le="0.005",status="200"} 1.0',
        'medxz_request_seconds_bucket{endpoint="pull",le="30.0",status="200"} 1.0',
        'medxz_request_seconds_count{endpoint="pull",status="200"} 2.0',
    } <= set(told)  # fmt: skip
    assert any(line.startswith("process_resident_memory_bytes ") for line in told)


def test_a_server_without_a_cloud() -> None:
    """It tells that it reaches none, and that it was never answered."""
    nothing = cast(
        "Any",
        SimpleNamespace(last_seq=0, waiting_ops=0, transactions=0, through=0, streams_open=0, being_read=0),
    )
    told = Metrics(gauges_of(nothing, nothing, nothing, nothing, no_results())).render().decode().splitlines()
    assert {
        "medxz_upstream_online 0.0",
        "medxz_upstream_backlog 0.0",
        "medxz_upstream_last_ok_seconds 0.0",
    } <= set(told)
