"""How figures are told: a table for people, JSON for programs, and the pages of docs/."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from rich.table import Table

from bench.figure import RATIO, Figure
from bench.programs import ROOT

_DOCS: Final = ROOT / "docs"

_OF_THE_HUB: Final = """\
# Performance

What the hub does, held against what the machine allows: `make bench` measures both in the same run, in turns, because
absolute figures mean little on another machine and not much on a noisy one. This page is written by
`python -m bench --write`; what goes on between sites and in a cloud is in [performance-cloud.md](performance-cloud.md), on a clinic's LAN in
[performance-lan.md](performance-lan.md).

The hub is a process of its own with its default settings: encrypted store, tokens verified, rate limits counted,
metrics, structured logs. It is pushed to and pulled from over plain HTTP on loopback, uncompressed. The ops come from
`bench/measured_ops.py`, an author other than the one the compression dictionary was trained on
(`bench/training_ops.py`), and weigh about 720 bytes of JSON each. What a log learns of its own ops as it grows (decision 0020) it
learns here too.
"""

_LEGEND: Final = """\
A figure is the median of its pairs, with the least and the greatest beside it; a pair is one sample of the hub and
one of its limit, one right after the other. `×` is a ratio.
"""

_HUB_LIMITS: Final = """\
## The limits

| limit | what it is |
| --- | --- |
| raw insert | the rows that the hub has just written, read out of its own file and inserted into another of the same schema, pragmas and encryption: 500 a transaction, synchronous=FULL, one connection and nothing else in the process; the better of `executemany` and one statement of 500 rows |
| echo | an aiohttp application on uvloop in a process of its own that reads the same requests whole and answers with bytes that the hub had answered |
| raw read and send | the rows of the same pages read by sqlcipher3 (as rows or joined, whichever is faster), then the same pages sent from memory by the echo; the two times added |
| echo plus fdatasync | the median round trip of one op to the echo, plus the median of an append of 4 KiB and its fdatasync on the same disk |

Bytes written are those that the kernel charges to the hub's process (`/proc/PID/io`), its clean stop with the last
checkpoint included. fdatasync calls are counted by strace. Memory is `Pss` of `/proc/PID/smaps_rollup`, after pushes
and pulls with all streams open.
"""


_OF_THE_CLOUD: Final = """\
# Performance between sites and in the cloud

What a hub sends over the internet, how soon two sites agree, and what one relay on PostgreSQL does, held against what
the machine allows, in the same run. [performance.md](performance.md) has the hub itself and how to read a figure;
[scaling.md](scaling.md) has what follows from these. This page is written by `python -m bench --write` with all
of its figures: `wan`, `sites`, `relay`, `second`, `idle`, `clinics`.
"""

_CLOUD_LIMITS: Final = """\
## The limits

| limit | what it is |
| --- | --- |
| raw asyncpg | the rows that the relay has just written, inserted into tables of the same columns and indexes in the same PostgreSQL: 500 a transaction, each of one clinic and with that clinic's counter changed in it, by unnest or COPY, over 4, 8 or 16 connections, whichever is fastest; its indexes begin empty |

A relay is measured with its PostgreSQL on the same two cores, both of them busy, beside the client that makes the load.
What PostgreSQL and the programs of `sites` use counts among "others" in the line about the machine. Bytes are those on
the socket, request heads and tokens included; TLS would add 22 to each write.
"""

_OF_THE_LAN: Final = """\
# Performance on a clinic's LAN

How soon a hub that was plugged in serves its tablets, how soon one that is cut off is left and taken again, and what that
costs in bytes. [performance.md](performance.md) has the hub itself and how to read a figure. This page is written by
`python -m bench found moves --write`; it needs root, for hosts made of network namespaces.
"""

_LAN_LIMITS: Final = """\
## What it is measured on

A cloud, a hub and two tablets, each on a host of its own with its own cable, over TLS; between the clinic's LAN and the
cloud stands a router. All of them share the machine's cores. The hub is found by mDNS. A tablet runs an application that
stays in step (`tests/lan/application.py`). Bytes are those of all frames on the tablet's cable, both ways. A pulled cable is
silence: nobody is told that nobody is there any more.
"""


_OF_THE_COURIER: Final = """\
# Performance of a courier

How fast a hub without a line makes its files, and a cloud takes them in ([courier.md](courier.md)). [performance.md](performance.md) has the
hub itself and how to read a figure. This page is written by `python -m bench courier --write`.
"""

_COURIER_LIMITS: Final = """\
## What it is measured on

A hub that was claimed records ops while its cloud is gone; then the operator's two commands are timed, hub and cloud serving beside
them on the same machine, each with its start. The cloud is on SQLite. The limit is the least that any stick costs: the same
files written once to the same disk and synced, the median of five times. The ratios are large because those files are short, an op
a few dozen bytes; what they say is that the way there, not the stick, is what takes its time.
"""


_OF_THE_FLEET: Final = """\
# Performance of a fleet

How soon an operator sees thousands of hubs, and how many can report, while a rollout comes to them ([fleet.md](fleet.md)).
[performance.md](performance.md) has the hub itself and how to read a figure. This page is written by
`python -m bench fleet --write`.
"""

_FLEET_LIMITS: Final = """\
## What it is measured on

One relay on PostgreSQL with 2,000 hubs in 20 clinics, all on the two cores of this machine, with who asks. No hub runs: what is sent is
what a hub sends. Everybody is of one ring, a quarter of which is offered a version at a time, takes it at once and reports over
20 connections, while the operator lists every hub and asks how the rollout stands.
"""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of figures, with what stands before and behind them."""

    path: Path
    introduction: str
    limits: str


HUB_PAGE: Final = Page(_DOCS / "performance.md", _OF_THE_HUB, _HUB_LIMITS)
CLOUD_PAGE: Final = Page(_DOCS / "performance-cloud.md", _OF_THE_CLOUD, _CLOUD_LIMITS)
COURIER_PAGE: Final = Page(_DOCS / "performance-courier.md", _OF_THE_COURIER, _COURIER_LIMITS)
FLEET_PAGE: Final = Page(_DOCS / "performance-fleet.md", _OF_THE_FLEET, _FLEET_LIMITS)
LAN_PAGE: Final = Page(_DOCS / "performance-lan.md", _OF_THE_LAN, _LAN_LIMITS)


class OthersWatch:
    """How busy the machine was with what is not of this run: a figure of a busy machine is not worth much."""

    def __init__(self) -> None:
        self._others, self._all = self._jiffies()

    def share(self) -> float:
        """Of the machine's time since then. Programs of this run must have ended."""
        others, everything = self._jiffies()
        return max(0.0, (others - self._others) / max(1.0, everything - self._all))

    def _jiffies(self) -> tuple[float, float]:
        fields = [int(word) for word in Path("/proc/stat").read_text("ascii").splitlines()[0].split()[1:9]]
        idle = fields[3] + fields[4]
        own = sum(os.times()[:4]) * os.sysconf("SC_CLK_TCK")
        return sum(fields) - idle - own, sum(fields)


@dataclass(frozen=True, slots=True)
class Machine:
    """Where and when a run was made, by which command, and how busy the machine was with other things."""

    command: str
    date: str
    seconds: float
    others: float

    def lines(self) -> list[str]:
        system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
        return [
            f"- machine: {_processor()}, {os.cpu_count()} cores, {_memory_gb()} GB, {system}",
            f"- date: {self.date}, {self.seconds / 60:.0f} minutes; others took {self.others:.0%} of the machine",
            f"- command: `{self.command}`",
        ]


def table(figures: Sequence[Figure]) -> Table:
    """For a terminal."""
    made = Table(title="the hub against its limits", title_justify="left")
    for heading in ("figure", "work", "at least / most", "median", "min … max", "holds"):
        made.add_column(heading, overflow="fold")
    for figure in figures:
        made.add_row(
            figure.name,
            figure.work,
            _bound(figure),
            _number(figure.median, figure.unit),
            _range(figure),
            "yes" if figure.holds else "[bold red]no[/]",
        )
    return made


def as_json(figures: Sequence[Figure], machine: Machine) -> dict[str, Any]:
    """For programs."""
    return {
        "date": machine.date,
        "command": machine.command,
        "seconds": round(machine.seconds, 1),
        "others_share": round(machine.others, 3),
        "figures": [
            {
                "name": figure.name,
                "work": figure.work,
                "of_what": figure.of_what,
                "bound": f"{figure.bound.sense} {figure.bound.value:g}",
                "unit": figure.unit,
                "median": figure.median,
                "min": min(figure.values),
                "max": max(figure.values),
                "pairs": len(figure.values),
                "holds": figure.holds,
                "series": {
                    one.label: {"unit": one.unit, "median": median(one.values), "values": list(one.values)}
                    for one in figure.series
                },
            }
            for figure in figures
        ],
    }


def write_page(figures: Sequence[Figure], machine: Machine, page: Page) -> None:
    """The page anew."""
    rows = [
        "| work | bound | of what | median | min – max | pairs | holds | behind it, medians |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    rows += [
        f"| {figure.work} | {_bound(figure)} | {figure.of_what} | **{_number(figure.median, figure.unit)}** "
        f"| {_range(figure)} | {len(figure.values)} | {'yes' if figure.holds else '**no**'} | {_behind(figure)} |"
        for figure in figures
    ]
    text = "\n".join(
        [page.introduction, *machine.lines(), "", _LEGEND, "## The figures", "", *rows, "", page.limits]
    )
    page.path.write_text(text.rstrip("\n") + "\n", "utf-8")


def _bound(figure: Figure) -> str:
    return f"{figure.bound.sense} {_number(figure.bound.value, figure.unit)}"


def _range(figure: Figure) -> str:
    return f"{_number(min(figure.values), '')} – {_number(max(figure.values), '')}"


def _behind(figure: Figure) -> str:
    return "; ".join(f"{one.label} {_number(median(one.values), one.unit)}" for one in figure.series)


def _number(value: float, unit: str) -> str:
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 20 else f"{value:.3g}"
    if unit == RATIO:
        return f"{text} ×"
    return f"{text} {unit}".rstrip()


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gb() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9)
