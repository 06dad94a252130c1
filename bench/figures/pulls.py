"""Reading: pages against raw reads and sends, pages beside pushers, and the way from a push to another's stream."""

from __future__ import annotations

from dataclasses import replace
from statistics import median

from bench import load, works
from bench.context import TOKEN_OF_THE_ECHO, Context
from bench.figure import Bound, Figure, Series, ratio
from bench.limits import RawPages, best_times, fdatasync_seconds
from bench.ops import push_body
from bench.programs import store_key
from bench.stage import Subject

RAW = "reading the same pages by raw sqlcipher3, then sending the same bytes from memory by aiohttp on uvloop"


def pages(context: Context) -> list[Figure]:
    """Pages of 500, by one reader and by eight."""
    with context.base.copied() as subject:
        kept = context.loop.run(works.pages(subject, None))
        for cursor, page in zip(kept.cursors, kept.answers, strict=True):
            context.put_answer("first" if cursor is None else cursor.decode(), page)
        return [_pages(context, subject, readers) for readers in (1, 8)]


def _pages(context: Context, subject: Subject, readers: int) -> Figure:
    ours, reads, sends = [], [], []
    count = max(works.DISTINCT_PAGES, context.sizes.pages // (1 if readers == 1 else 4))
    firsts = [works.PAGE_OPS * (number % works.DISTINCT_PAGES) for number in range(count)] * readers
    raw = RawPages(subject.hub.store, store_key(subject.hub.data))
    try:
        context.loop.run(works.pull(subject, readers=readers, pages=works.DISTINCT_PAGES, start=None))
        for _ in context.samples(f"pull, pages of 500, {readers} reader(s)", context.sizes.pairs):
            pulled = context.loop.run(works.pull(subject, readers=readers, pages=count, start=None))
            scripts = [
                load.Pulls(TOKEN_OF_THE_ECHO, works.PAGE_OPS, pages=count, lap=works.DISTINCT_PAGES)
                for _ in range(readers)
            ]
            sent = context.loop.run(load.run(context.echo.port, scripts))
            ours.append(len(firsts) * works.PAGE_OPS / pulled.seconds)
            reads.append(raw.seconds(firsts, works.PAGE_OPS))
            sends.append(sent.seconds)
    finally:
        raw.close()
    read = best_times(reads)
    limit = [len(firsts) * works.PAGE_OPS / (one + other) for one, other in zip(read, sends, strict=True)]
    parts = (
        Series("of which reading", "ms a page", [seconds / len(firsts) * 1_000 for seconds in read]),
        Series("sending", "ms a page", [seconds / len(firsts) * 1_000 for seconds in sends]),
    )
    figure = ratio(
        f"pull.{readers}",
        f"pull, pages of 500, {readers} reader{'s' if readers > 1 else ''}",
        RAW,
        Bound("at least", 0.60),
        Series("pull", "ops/s", ours),
        Series("raw read and send", "ops/s", limit),
    )
    return replace(figure, series=(*figure.series, *parts))


def mixed(context: Context) -> list[Figure]:
    """32 pushers and a puller at once."""
    late, middle, pushed, counted = [], [], [], []
    with context.base.copied() as subject:
        context.loop.run(works.push_and_pull(subject, requests=20, start=None))
        for _ in context.samples("32 pushers and a puller", context.sizes.mixed_samples):
            both = context.loop.run(
                works.push_and_pull(subject, requests=context.sizes.mixed_singles, start=None)
            )
            late.append(both.pages.percentile(0.99) * 1_000)
            middle.append(both.pages.percentile(0.5) * 1_000)
            pushed.append(len(both.pushes.latencies) / both.pushes.seconds)
            counted.append(len(both.pages.latencies))
    series = (
        Series("page p50", "ms", middle),
        Series("pushes", "requests/s", pushed),
        Series("pages in a sample", "", counted),
    )
    work = "32 pushers of singles and a puller at once: 99 % of the pages within"
    return [Figure("mixed", work, "absolute", Bound("at most", 15), "ms", late, series)]


def stream(context: Context) -> list[Figure]:
    """From a push by A until the op is on B's stream."""
    ours, trips, syncs = [], [], []
    count = context.sizes.streamed
    with context.base.copied() as subject:
        warm = context.loop.run(works.push(subject, clients=1, requests=5, ops_each=1))
        context.put_answer("push", warm.answers[0][0])
        context.loop.run(works.until_streamed(subject, 10))
        for _ in context.samples("op pushed by A until on B's stream", context.sizes.pairs):
            ours.append(median(context.loop.run(works.until_streamed(subject, count))) * 1_000)
            body = push_body(subject.fleet.take(0, 1))
            echo = load.Sends([load.post("/v1/sync/push", TOKEN_OF_THE_ECHO, body)] * count)
            trips.append(median(context.loop.run(load.run(context.echo.port, [echo])).latencies) * 1_000)
            syncs.append(median(fdatasync_seconds(context.folder, count)) * 1_000)
    limit = [trip + sync for trip, sync in zip(trips, syncs, strict=True)]
    figure = ratio(
        "stream",
        "op pushed by A until it is on B's stream, median",
        "one echo round trip plus one fdatasync of 4 KiB",
        Bound("at most", 3),
        Series("push to stream", "ms", ours),
        Series("echo plus fdatasync", "ms", limit),
    )
    return [figure]
