"""A relay on PostgreSQL: what it takes from many hubs at once, how late it answers, what a hub that waits costs it, and
whether more clinics and longer logs change that.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from bench import load
from bench.context import Context
from bench.figure import Bound, Figure, Series, ratio
from bench.limits import Ways, best_rates
from bench.raw_postgres import RawRows
from bench.relay import Database, Relay, relay, stored

RAW: Final = "asyncpg inserting the same rows, 500 a transaction, each with its clinic's counter"
CLINICS: Final = 50
HUBS_EACH: Final = 4
BATCH_OPS: Final = 500
LIVE_OPS: Final = 5
FEW_CLINICS: Final = 10
_FILES_MAX: Final = 65_536


@dataclass(frozen=True, slots=True)
class _Sample:
    ops_a_second: float
    run: load.Run


def pushes(context: Context) -> list[Figure]:
    """Pushes from 200 hubs at once, against the raw rows; and how late small ones are answered meanwhile."""
    ours: list[float] = []
    limit: list[Ways] = []
    late: list[float] = []
    sizes = context.sizes
    with (
        Database() as database,
        relay(context.folder, database.url, clinic_count=CLINICS, hubs_each=HUBS_EACH) as subject,
    ):
        raw = RawRows(database.url)
        _push(context, subject, requests=1, ops_each=20)  # every log open
        for _ in context.samples("pushes from 200 hubs", sizes.relay_pairs):
            context.loop.run(raw.mark())
            ours.append(_push(context, subject, requests=1, ops_each=BATCH_OPS).ops_a_second)
            limit.append(context.loop.run(raw.rows_a_second(context.loop.run(raw.taken()))))
            live = _push(context, subject, requests=4, ops_each=LIVE_OPS)
            late.append(live.run.percentile(0.99) * 1_000)
        kept = Series("an op in the database, with its indexes", "B", [context.loop.run(raw.bytes_an_op())])
    return [
        ratio(
            "relay.push", f"durable pushes of {BATCH_OPS} ops from {CLINICS * HUBS_EACH} hubs of {CLINICS} clinics at once",
            RAW, Bound("at least", 0.5), Series("pushes", "ops/s", ours), Series("raw", "rows/s", best_rates(limit)),
        ),
        Figure(
            "relay.p99", f"pushes of {LIVE_OPS} ops from {CLINICS * HUBS_EACH} hubs at once, each waiting for its answer: p99",
            "absolute", Bound("at most", 1_000), "ms", late, (kept,),
        ),
    ]  # fmt: skip


def second(context: Context) -> list[Figure]:
    """What a second relay on the same database adds, each of the two serving half of the clinics."""
    one: list[float] = []
    two: list[float] = []
    with (
        Database() as database,
        relay(context.folder, database.url, clinic_count=2 * CLINICS, hubs_each=HUBS_EACH) as first,
        first.beside() as other,
    ):
        half = CLINICS + CLINICS // 2
        alone = [first.of(first.clinics[:CLINICS])]
        shared = [first.of(first.clinics[CLINICS:half]), other.of(other.clinics[half:])]
        for relays in (alone, shared):
            _push(context, *relays, requests=1, ops_each=20)  # every log open
        for _ in context.samples("one relay, and two", context.sizes.relay_pairs):
            for relays, into in ((alone, one), (shared, two)):
                into.append(_push(context, *relays, requests=1, ops_each=BATCH_OPS).ops_a_second)
    return [
        ratio(
            "relay.second", "the same pushes to two relays on one database, each with half of the clinics",
            "one relay", Bound("at least", 1.2), Series("two", "ops/s", two), Series("one", "ops/s", one),
        )
    ]  # fmt: skip


def idle(context: Context) -> list[Figure]:
    """The memory of a relay that holds the streams of hubs which have nothing to say."""
    count = context.sizes.idle_hubs
    with (
        Database() as database,
        relay(context.folder, database.url, clinic_count=max(1, count // 100), hubs_each=100) as subject,
        _many_files(),
    ):
        before, after, before_any = context.loop.run(_hold(context, subject, count))
    each = (after - before) / count / 1_000
    return [
        Figure(
            "relay.idle", f"memory (PSS) a hub's stream, {count:,} of them idle on one relay", "absolute",
            Bound("at most", 100), "kB", [each],
            (
                Series("all of the relay", "MB", [after / 1e6]),
                Series("before the streams, clinics open", "MB", [before / 1e6]),
                Series("before any request", "MB", [before_any / 1e6]),
            ),
        )
    ]  # fmt: skip


def scale(context: Context) -> list[Figure]:
    """The same pushes with ten times the clinics, and on logs ten times as long."""
    few: list[float] = []
    many: list[float] = []
    long: list[float] = []
    sizes = context.sizes
    with (
        Database() as one,
        Database() as two,
        Database() as three,
        relay(context.folder / "few", one.url, clinic_count=FEW_CLINICS, hubs_each=HUBS_EACH) as base,
        relay(context.folder / "many", two.url, clinic_count=10 * FEW_CLINICS, hubs_each=HUBS_EACH) as wide,
        relay(context.folder / "long", three.url, clinic_count=FEW_CLINICS, hubs_each=HUBS_EACH) as deep,
    ):
        for subject, times in ((base, 1), (wide, 1), (deep, 10)):
            everyone = subject.clinics
            for first in [
                *range(0, len(everyone), FEW_CLINICS)
            ] * times:  # all at once would be too many bodies
                some = subject.of(everyone[first : first + FEW_CLINICS])
                _push(context, some, requests=sizes.relay_fill, ops_each=BATCH_OPS)
        for _ in context.samples("ten times the clinics, ten times the log", sizes.relay_pairs):
            for subject, into in ((base, few), (wide, many), (deep, long)):
                some = subject.of(subject.clinics[:FEW_CLINICS])  # the others are there, and as full
                into.append(_push(context, some, requests=2, ops_each=BATCH_OPS).ops_a_second)
    ops = FEW_CLINICS * HUBS_EACH * sizes.relay_fill * BATCH_OPS
    return [
        ratio(
            "relay.clinics", f"the same pushes with {10 * FEW_CLINICS} clinics stored, of {FEW_CLINICS}",
            f"{FEW_CLINICS} clinics", Bound("at least", 0.9), Series("many", "ops/s", many), Series("few", "ops/s", few),
        ),
        ratio(
            "relay.log", f"the same pushes with {10 * ops:,} ops stored, of {ops:,}",
            f"{ops:,} ops", Bound("at least", 0.9), Series("long", "ops/s", long), Series("short", "ops/s", few),
        ),
    ]  # fmt: skip


def _push(context: Context, *relays: Relay, requests: int, ops_each: int) -> _Sample:
    """So many requests by every hub of these relays' clinics, all at once; every op must be stored."""
    scripts = [
        (relay.cloud.port, [load.Sends(own) for own in relay.pushes(requests, ops_each)]) for relay in relays
    ]
    runs = context.loop.run(_together([load.run(port, own) for port, own in scripts]))
    sent = [script for _, own in scripts for script in own]
    for script in sent:
        stored(script.answers, ops_each)
    run = load.Run(max(run.seconds for run in runs), [one for run in runs for one in run.latencies])
    return _Sample(len(sent) * requests * ops_each / run.seconds, run)


async def _together(runs: Sequence[Awaitable[load.Run]]) -> list[load.Run]:
    return await asyncio.gather(*runs)


async def _hold(context: Context, subject: Relay, count: int) -> tuple[float, float, float]:
    """Memory with every clinic open, with all streams beside, and before either."""
    before_any = subject.cloud.memory_bytes()["Pss"]
    await load.run(
        subject.cloud.port,
        [load.Sends([load.get("/v1/sync/pull", clinic.tokens[0])]) for clinic in subject.clinics],
    )
    before = subject.cloud.memory_bytes()["Pss"]
    streams: list[load.Stream] = []
    try:
        tokens = [token for clinic in subject.clinics for token in clinic.tokens][:count]
        for first in context.samples("opening idle streams", -(-count // 100)):
            part = tokens[100 * first : 100 * (first + 1)]
            streams += await asyncio.gather(
                *(load.Stream.open(subject.cloud.port, token, None) for token in part)
            )
        after = subject.cloud.memory_bytes()["Pss"]
        assert all(stream.received for stream in streams)
        return before, after, before_any
    finally:
        for stream in streams:
            stream.close()


@contextmanager
def _many_files() -> Iterator[None]:
    """Each stream is a file of this process too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, _FILES_MAX), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
