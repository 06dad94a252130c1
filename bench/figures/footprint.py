"""What a hub costs the machine: bytes written, bytes kept, fsyncs, memory, and the time until it serves."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import works
from bench.context import Context
from bench.figure import RATIO, Bound, Figure, Series
from bench.programs import ProgramFailed
from bench.stage import MEASURERS, Prepared, Subject

SETTLE_OPS: Final = 2_000
_SYNC: Final = re.compile(r"^\d+ +(\d+\.\d+) (?:fdatasync|fsync|sync_file_range)\(")


@dataclass(frozen=True, slots=True)
class Kept:
    """What pushing so many ops wrote and left on the disk, each op's share of its JSON."""

    written: float
    written_before_checkpoint: float
    stored: float
    json_bytes: float


def keep(context: Context, prepared: Prepared, *, clients: int, requests: int, ops_each: int) -> Kept:
    """Push, stop well (the log is checkpointed then), and count."""
    size_before = (prepared.data / "hub.db").stat().st_size
    with prepared.copied() as subject:
        before = subject.hub.written_bytes()
        pushed = context.loop.run(works.push(subject, clients=clients, requests=requests, ops_each=ops_each))
        running = subject.hub.written_bytes()
        ended = subject.hub.stop()
        stored = subject.hub.store.stat().st_size - size_before
    json_bytes = works.json_bytes(pushed, ops_each)
    return Kept(
        (ended.written_bytes - before) / json_bytes,
        (running - before) / json_bytes,
        stored / json_bytes,
        json_bytes / pushed.ops,
    )


def disk(context: Context) -> list[Figure]:
    """Bytes written and bytes stored, each as a share of the ops' JSON."""
    sizes = context.sizes
    batches = [
        keep(context, context.base, clients=1, requests=sizes.written_batches, ops_each=works.BATCH_OPS)
        for _ in context.samples("bytes written, 500 a request", sizes.kept_samples)
    ]
    singles = [
        keep(context, context.base, clients=MEASURERS, requests=sizes.written_singles, ops_each=1)
        for _ in context.samples("bytes written, 1 a request, 32 clients", sizes.kept_samples)
    ]
    return [
        _written("disk.batch", "500 ops a request", Bound("at most", 1.0), batches),
        _written("disk.single", "1 op a request by 32 clients", Bound("at most", 5.0), singles),
        Figure(
            "disk.stored",
            "bytes stored per op",
            "its JSON",
            Bound("at most", 0.45),
            RATIO,
            [kept.stored for kept in batches],
            (Series("stored per op", "bytes", [kept.stored * kept.json_bytes for kept in batches]),),
        ),
    ]


def _written(name: str, how: str, bound: Bound, samples: list[Kept]) -> Figure:
    series = (
        Series("written per op", "bytes", [kept.written * kept.json_bytes for kept in samples]),
        Series("before the checkpoint", RATIO, [kept.written_before_checkpoint for kept in samples]),
        Series("JSON of an op", "bytes", [kept.json_bytes for kept in samples]),
    )
    work = f"bytes written to disk per op, {how}, the last checkpoint included"
    return Figure(name, work, "its JSON", bound, RATIO, [kept.written for kept in samples], series)


def syncs(context: Context) -> list[Figure]:
    """fdatasync calls of singles, counted by strace from outside."""
    counted = [
        syncs_per_op(context, context.base)
        for _ in context.samples("fdatasync calls, singles, 32 clients", 3)
    ]
    work = "fdatasync calls per op, singles of 32 clients"
    return [Figure("syncs", work, "absolute", Bound("at most", 1 / 8), "calls", counted)]


def syncs_per_op(context: Context, prepared: Prepared) -> float:
    """Calls while the pushes ran, each op's share."""
    if shutil.which("strace") is None:
        raise ProgramFailed("counting fdatasync calls needs strace: apt-get install strace")
    trace = context.file("syncs.txt")
    watch = ("strace", "-f", "--seccomp-bpf", "-ttt", "-qq", "-e", "trace=fdatasync,fsync,sync_file_range")
    with prepared.copied(wrapper=(*watch, "-o", str(trace))) as subject:
        context.loop.run(works.push(subject, clients=MEASURERS, requests=5, ops_each=1))
        pushed = context.loop.run(
            works.push(subject, clients=MEASURERS, requests=context.sizes.written_singles, ops_each=1)
        )
        began, ended = pushed.wall
    return _calls(trace, began, ended) / pushed.ops


def _calls(trace: Path, began: float, ended: float) -> int:
    moments = (_SYNC.match(line) for line in trace.read_text("ascii", errors="replace").splitlines())
    return sum(1 for moment in moments if moment is not None and began <= float(moment[1]) <= ended)


def memory(context: Context) -> list[Figure]:
    """PSS of a hub with a long log and 100 open streams, after it has been pushed to and pulled from."""
    with context.big.itself() as subject:
        pss, rss = context.loop.run(_memory(context, subject))
    work = f"memory (PSS) with {context.big_label} ops and {context.sizes.streams} open streams"
    series = (Series("RSS", "MB", [rss]),)
    return [Figure("memory", work, "absolute", Bound("at most", 80), "MB", [pss], series)]


async def _memory(context: Context, subject: Subject) -> tuple[float, float]:
    streams = await works.open_streams(subject, context.sizes.streams)
    try:
        await works.push(subject, clients=4, requests=SETTLE_OPS // 4 // 100, ops_each=100)
        await works.pull(subject, readers=8, pages=works.DISTINCT_PAGES, start=None)
        await works.push(subject, clients=MEASURERS, requests=10, ops_each=1)
        used = subject.hub.memory_bytes()
    finally:
        for stream in streams:
            stream.close()
    if not all(stream.received for stream in streams):
        raise ProgramFailed("not every stream got what was pushed")
    return used["Pss"] / 1e6, used["Rss"] / 1e6


def start(context: Context) -> list[Figure]:
    """From the command until the hub says that it is ready."""
    seconds = []
    for _ in context.samples(f"start to ready with {context.big_label} ops", context.sizes.starts):
        with context.big.itself() as subject:
            seconds.append(subject.hub.start_s)
    work = f"start to ready with {context.big_label} ops in the log"
    return [Figure("start", work, "absolute", Bound("at most", 1.5), "s", seconds)]
