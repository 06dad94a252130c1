"""A courier's trip: what a hub without a line has recorded is made into files, and taken in by its cloud.

Both commands are measured as an operator gives them, hub and cloud running beside, against writing the same files to the same
disk: that is what a stick would cost that knew nothing of ops, keys and answers.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.context import Context
from bench.figure import RATIO, Bound, Figure, Series
from bench.programs import CLOUD, HUB, command_answer
from bench.sites import two_sites

WRITES: Final = 5
EXPORT_TIMES_MAX: Final = 1_500
IMPORT_TIMES_MAX: Final = 6_000


@dataclass(frozen=True, slots=True)
class _Step:
    """A command: how long it took, and the files that went through it."""

    seconds: float
    written_s: float
    size: int


def trips(context: Context) -> list[Figure]:
    """Up, with what a hub has recorded."""
    ops = context.sizes.carried_ops
    exported, imported = context.loop.run(_measured(context, ops))
    of = "writing the same files to the same disk, synced"
    return [
        Figure(
            name, f"{work}, {ops // 1_000} k ops", of, Bound("at most", at_most), RATIO, [step.seconds / step.written_s],
            (
                Series("ops", "ops/s", [ops / step.seconds]),
                Series("writing them", "ms", [1_000 * step.written_s]),
                Series("an op in them", "B", [step.size / ops]),
            ),
        )
        for name, work, at_most, step in (
            ("courier.export", "medxz-hub export", EXPORT_TIMES_MAX, exported),
            ("courier.import", "medxz-cloud import", IMPORT_TIMES_MAX, imported),
        )
    ]  # fmt: skip


async def _measured(context: Context, ops: int) -> tuple[_Step, _Step]:
    stick = context.file("stick")
    stick.mkdir()
    async with two_sites(context.file("courier")) as sites:
        await sites.lose_cloud()  # and where it comes back to, no hub finds it
        site, steps = sites.sites[0], context.samples(f"a trip with {ops:,} ops", 3)
        next(steps)
        await site.write(ops)
        next(steps)
        took_s, told = await _timed(HUB, "export", "--data", site.hub.data, "--to", stick)
        assert told["ops"] == ops, told
        files = [Path(name) for name in told["files"]]
        exported = _Step(took_s, median(_written_s(files, stick) for _ in range(WRITES)), told["bytes"])
        await asyncio.to_thread(sites.cloud.start)
        next(steps)
        took_s, told = await _timed(CLOUD, "import", "--data", sites.cloud.data, "--from", stick)
        assert sum(hub["accepted"] for hub in told["hubs"]) == ops, told
        return exported, _Step(took_s, exported.written_s, exported.size)


async def _timed(program: Path, *words: object) -> tuple[float, dict[str, Any]]:
    begun = time.perf_counter()
    told = await asyncio.to_thread(command_answer, program, *map(str, words))
    return time.perf_counter() - begun, told


def _written_s(files: Sequence[Path], folder: Path) -> float:
    """The same bytes, from memory."""
    contents = [file.read_bytes() for file in files]
    begun = time.perf_counter()
    for number, content in enumerate(contents):
        with (folder / f"written-{number}").open("wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
    took_s = time.perf_counter() - begun
    for number in range(len(contents)):
        (folder / f"written-{number}").unlink()
    return took_s
