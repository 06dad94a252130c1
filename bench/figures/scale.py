"""Whether a log grows old well: the works of the other figures on a long log and on a short one, in turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Final

from bench import works
from bench.context import Context, Sizes
from bench.figure import Bound, Figure, Series, ratio
from bench.figures import footprint
from bench.stage import MEASURERS, Prepared, Subject

TOLERANCE: Final = 0.10


@dataclass(frozen=True, slots=True)
class Place:
    """A hub, and where in its log readers begin."""

    subject: Subject
    start: bytes | None


@dataclass(frozen=True, slots=True)
class Row:
    """What is compared, and whether more of it is better."""

    name: str
    label: str
    unit: str
    more_is_better: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """A row, and how a place does on it."""

    row: Row
    measure: Callable[[Context, Place], float]


def push(clients: int) -> Callable[[Context, Place], float]:
    def measure(context: Context, place: Place) -> float:
        requests = context.sizes.batches // clients
        work = works.push(place.subject, clients=clients, requests=requests, ops_each=works.BATCH_OPS)
        return context.loop.run(work).ops_a_second

    return measure


def singles(context: Context, place: Place) -> float:
    work = works.push(place.subject, clients=MEASURERS, requests=context.sizes.singles, ops_each=1)
    return context.loop.run(work).ops_a_second


def _replay(context: Context, place: Place) -> float:
    subject, requests = place.subject, context.sizes.batches
    pushed = context.loop.run(works.push(subject, clients=1, requests=requests, ops_each=works.BATCH_OPS))
    return context.loop.run(works.replay(subject, pushed, works.BATCH_OPS)).ops_a_second


def _pull(readers: int) -> Callable[[Context, Place], float]:
    def measure(context: Context, place: Place) -> float:
        pages = max(works.DISTINCT_PAGES, context.sizes.pages // readers)
        run = context.loop.run(works.pull(place.subject, readers=readers, pages=pages, start=place.start))
        return len(run.latencies) * works.PAGE_OPS / run.seconds

    return measure


def _mixed(context: Context, place: Place) -> float:
    requests = context.sizes.mixed_singles // 4
    both = context.loop.run(works.push_and_pull(place.subject, requests=requests, start=place.start))
    return both.pages.percentile(0.99) * 1_000


def _streamed(context: Context, place: Place) -> float:
    return median(context.loop.run(works.until_streamed(place.subject, context.sizes.streamed))) * 1_000


WORKS: Final = (
    Work(Row("push.1", "push, 500 a request, 1 client", "ops/s", True), push(1)),
    Work(Row("push.4", "push, 500 a request, 4 clients", "ops/s", True), push(4)),
    Work(Row("singles", "push, 1 a request, 32 clients", "requests/s", True), singles),
    Work(Row("replay", "replay of pushed batches", "ops/s", True), _replay),
    Work(Row("pull.1", "pull, pages of 500, 1 reader", "ops/s", True), _pull(1)),
    Work(Row("pull.8", "pull, pages of 500, 8 readers", "ops/s", True), _pull(8)),
    Work(Row("mixed", "32 pushers and a puller: page p99", "ms"), _mixed),
    Work(Row("stream", "op pushed by A until on B's stream", "ms"), _streamed),
)
BATCH_WRITTEN: Final = Row("disk.batch", "bytes written, 500 a request", "× JSON")
SINGLE_WRITTEN: Final = Row("disk.single", "bytes written, 1 a request", "× JSON")
STORED: Final = Row("disk.stored", "bytes stored", "× JSON")
SYNCS: Final = Row("syncs", "fdatasync calls per op", "calls")


def longer_log(context: Context) -> list[Figure]:
    """Everything once more on the long log, in turns with the short one."""
    with context.big.itself() as big, context.base.copied() as small:
        places = (Place(big, context.loop.run(big.cursor_behind(0.5))), Place(small, None))
        figures = [compared(context, work.row, *in_turns(context, work, places)) for work in WORKS]
    return figures + _kept(context)


def in_turns(context: Context, work: Work, places: tuple[Place, Place]) -> tuple[list[float], list[float]]:
    """One warming up each, then pairs; who goes first changes from pair to pair."""
    values: tuple[list[float], list[float]] = ([], [])
    for place in places:
        work.measure(context, place)
    for number in context.samples(f"at {context.big_label}: {work.row.label}", context.sizes.scale_pairs):
        for which in (0, 1) if number % 2 else (1, 0):
            values[which].append(work.measure(context, places[which]))
    return values


def _kept(context: Context) -> list[Figure]:
    """What is written, stored and synced; the long log is copied for it."""
    sizes: Sizes = context.sizes
    logs: tuple[Prepared, Prepared] = (context.big, context.base)
    batch, single, called = [], [], []
    for log in logs:
        [_] = context.samples("bytes written and fdatasync calls", 1)
        batch.append(
            footprint.keep(context, log, clients=1, requests=sizes.written_batches, ops_each=works.BATCH_OPS)
        )
        single.append(
            footprint.keep(context, log, clients=MEASURERS, requests=sizes.written_singles, ops_each=1)
        )
        called.append(footprint.syncs_per_op(context, log))
    rows = (
        (BATCH_WRITTEN, [kept.written for kept in batch]),
        (SINGLE_WRITTEN, [kept.written for kept in single]),
        (STORED, [kept.stored for kept in batch]),
        (SYNCS, called),
    )
    return [compared(context, row, [values[0]], [values[1]]) for row, values in rows]


def compared(context: Context, row: Row, big: list[float], small: list[float]) -> Figure:
    bound = Bound("at least", 1 - TOLERANCE) if row.more_is_better else Bound("at most", 1 + TOLERANCE)
    short = f"{context.sizes.base_ops // 1_000} k"
    return ratio(
        f"scale.{row.name}",
        f"{row.label}, with {context.big_label} ops stored",
        f"the same with {short}",
        bound,
        Series(context.big_label, row.unit, big),
        Series(short, row.unit, small),
    )
