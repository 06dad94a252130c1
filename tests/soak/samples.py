"""What is looked at every few seconds: a process by /proc, its files by their sizes, and what it says it holds.

A process that is gone for the moment, or stands still, gives no sample.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_AFTER_NAME: Final = 2
"""In /proc/PID/stat the fields are counted from the name's end: state is the third of all."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One process at one moment. Sizes are bytes; `wal` is the log's, `wal_beside` the greatest of its other files.

    `connections` are those that links hold to it.
    """

    at_s: float
    party: str
    pid: int
    rss: int
    pss: int
    handles: int
    threads: int
    cpu_s: float
    database: int
    wal: int
    wal_beside: int
    ops: int
    connections: int = 0


@dataclass(frozen=True, slots=True)
class Push:
    """Pushes of all tablets since the sample before: how many, and how long they took."""

    at_s: float
    pushes: int
    median_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class Mark:
    """A server that was started again, and why it had to be."""

    at_s: float
    party: str
    why: str


def look(
    party: str, pid: int, files: Iterable[Path], at_s: float, *, ops: int, connections: int = 0
) -> Sample | None:
    """A process now; None where it has gone meanwhile."""
    proc = Path("/proc", str(pid))
    try:
        memory = _fields_of(proc / "smaps_rollup")
        stat = (proc / "stat").read_text().rpartition(")")[2].split()
        handles = len(os.listdir(proc / "fd"))  # noqa: PTH208  # names are all that is wanted
    except OSError:
        return None
    database = wal = beside = 0
    for file in files:
        database += _size(file)
        log = _size(file.with_name(file.name + "-wal"))
        if file.name in {"hub.db", "log.db", "device.db"}:
            wal = max(wal, log)
        else:
            beside = max(beside, log)
    cpu_s = (int(stat[13 - _AFTER_NAME]) + int(stat[14 - _AFTER_NAME])) / _TICKS
    return Sample(
        at_s, party, pid, memory["Rss"], memory["Pss"], handles, int(stat[19 - _AFTER_NAME]), cpu_s,
        database, wal, beside, ops, connections,
    )  # fmt: skip


def write_csv(file: Path, samples: Sequence[Sample]) -> None:
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, [field.name for field in fields(Sample)])
        writer.writeheader()
        writer.writerows(asdict(sample) for sample in samples)


def _fields_of(file: Path) -> dict[str, int]:
    """In bytes."""
    lines = (line.split() for line in file.read_text().splitlines()[1:])
    return {words[0].rstrip(":"): int(words[1]) * 1_024 for words in lines}


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
