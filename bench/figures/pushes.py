"""Pushing: batches against raw inserts, singles against the echo, and replays against the push itself."""

from __future__ import annotations

from collections.abc import Callable

from bench import load, works
from bench.context import Context
from bench.figure import Bound, Figure, Series, ratio
from bench.limits import RawInsert, best_rates
from bench.measured_ops import MeasuredFamily
from bench.ops import Family, Scene
from bench.programs import store_key
from bench.stage import MEASURERS

MakeFamily = Callable[[Scene], Family]

RAW = "one process inserting the same rows through sqlcipher3, 500 a transaction, FULL"
ECHO = "aiohttp on uvloop answering the same requests with no work behind"


def batches(context: Context) -> list[Figure]:
    """Durable push, 500 ops a request."""
    return [against_raw(context, 1, 0.65), against_raw(context, 4, 0.50)]


def against_raw(
    context: Context,
    clients: int,
    least: float,
    *,
    family: MakeFamily = MeasuredFamily,
    name: str = "push",
    of: str = "",
) -> Figure:
    """A push of 500 ops as this family writes them, against the insert of the same rows."""
    ours, limit = [], []
    requests = context.sizes.batches // clients
    with context.base.copied() as subject:
        subject.fleet.turn(family)
        raw = RawInsert(context.folder, subject.hub.store, store_key(subject.hub.data))
        try:
            context.loop.run(works.push(subject, clients=clients, requests=2, ops_each=works.BATCH_OPS))
            for _ in context.samples(f"push, 500 a request, {clients} client(s)", context.sizes.pairs):
                before = raw.last_seq()
                pushed = context.loop.run(
                    works.push(subject, clients=clients, requests=requests, ops_each=works.BATCH_OPS)
                )
                rows = raw.rows_after(before)
                assert len(rows) == pushed.ops
                ours.append(pushed.ops_a_second)
                limit.append(raw.rows_a_second(rows))
        finally:
            raw.close()
    return ratio(
        f"{name}.{clients}",
        f"durable push, 500 ops a request, {clients} client{'s' if clients > 1 else ''}{of}",
        RAW,
        Bound("at least", least),
        Series("push", "ops/s", ours),
        Series("raw insert", "rows/s", best_rates(limit)),
    )


def singles(context: Context) -> list[Figure]:
    """Durable push, 1 op a request, 32 clients."""
    return against_echo(context, 0.50)


def against_echo(
    context: Context,
    least: float,
    *,
    family: MakeFamily = MeasuredFamily,
    name: str = "singles",
    of: str = "",
) -> list[Figure]:
    """Pushes of one op as this family writes them, against the echo; and how late the latest are."""
    ours, limit, late, middle, echo_late = [], [], [], [], []
    count = context.sizes.singles
    with context.base.copied() as subject:
        subject.fleet.turn(family)
        warm = context.loop.run(works.push(subject, clients=MEASURERS, requests=10, ops_each=1))
        context.put_answer("push", warm.answers[0][0])
        for _ in context.samples("push, 1 a request, 32 clients", context.sizes.pairs):
            pushed = context.loop.run(works.push(subject, clients=MEASURERS, requests=count, ops_each=1))
            echoed = context.loop.run(
                load.run(context.echo.port, [load.Sends(own) for own in pushed.requests])
            )
            ours.append(pushed.ops_a_second)
            limit.append(pushed.ops / echoed.seconds)
            late.append(pushed.run.percentile(0.99) * 1_000)
            middle.append(pushed.run.percentile(0.5) * 1_000)
            echo_late.append(echoed.percentile(0.99) * 1_000)
    rate = ratio(
        f"{name}.rate",
        f"durable push, 1 op a request, 32 clients{of}",
        ECHO,
        Bound("at least", least),
        Series("push", "requests/s", ours),
        Series("echo", "requests/s", limit),
    )
    p99 = Figure(
        f"{name}.p99",
        "the same, 99 % of the answers within",
        "absolute",
        Bound("at most", 20),
        "ms",
        late,
        (Series("p50", "ms", middle), Series("echo p99", "ms", echo_late)),
    )
    return [rate, p99]


def replays(context: Context) -> list[Figure]:
    """The same batches once more."""
    first, again = [], []
    requests = context.sizes.batches
    with context.base.copied() as subject:
        context.loop.run(works.push(subject, clients=1, requests=2, ops_each=works.BATCH_OPS))
        for _ in context.samples("replay of pushed batches", context.sizes.pairs):
            pushed = context.loop.run(
                works.push(subject, clients=1, requests=requests, ops_each=works.BATCH_OPS)
            )
            replayed = context.loop.run(works.replay(subject, pushed, works.BATCH_OPS))
            first.append(pushed.ops_a_second)
            again.append(replayed.ops_a_second)
    return [
        ratio(
            "replay",
            "replay of pushed batches of 500",
            "the push of the same",
            Bound("at least", 1.2),
            Series("replay", "ops/s", again),
            Series("push", "ops/s", first),
        )
    ]
