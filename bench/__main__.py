"""`python -m bench [NAME …] [--json] [--quick] [--write]`: measure, tell, and say by the exit status whether it is enough."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import Final

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import report
from bench.context import FULL, QUICK, Context
from bench.figure import Figure
from bench.figures import FIGURES, OF_THE_CLOUD, OF_THE_COURIER, OF_THE_FLEET, OF_THE_HUB, OF_THE_LAN

PAGES: Final = (
    (report.HUB_PAGE, set(OF_THE_HUB)),
    (report.CLOUD_PAGE, set(OF_THE_CLOUD)),
    (report.LAN_PAGE, set(OF_THE_LAN)),
    (report.COURIER_PAGE, set(OF_THE_COURIER)),
    (report.FLEET_PAGE, set(OF_THE_FLEET)),
)


@click.command(epilog="Example: python -m bench push singles --quick")
@click.argument("names", nargs=-1, type=click.Choice(list(FIGURES)), metavar="[NAME]...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--quick", is_flag=True, help="Few pairs and short logs: shows that it works, decides nothing.")
@click.option("--write", is_flag=True, help="Write the pages of docs/ whose figures are all measured.")
def main(names: tuple[str, ...], *, as_json: bool, quick: bool, write: bool) -> None:
    """Measure the hub against its limits. NAME: one of those below; all without one.

    push, singles, replay, pull, mixed, stream, disk, syncs, memory, start, snapshot, search, meaning, scale, wan, sites,
    relay, second, idle, clinics, found, moves, courier, fleet
    """
    names = names or tuple(FIGURES)
    pages = [(page, own) for page, own in PAGES if write and own <= set(names)]
    if write and not pages:
        raise click.UsageError("--write goes with all figures of a page; without a NAME, of all")
    begun, others = time.monotonic(), report.OthersWatch()
    measured = measure(names, quick=quick)
    figures = [figure for own in measured.values() for figure in own]
    words = [
        "python -m bench",
        *(names if len(names) < len(FIGURES) else ()),
        *(["--quick"] if quick else []),
    ]
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    machine = report.Machine(" ".join(words), date, time.monotonic() - begun, others.share())
    if as_json:
        print(orjson.dumps(report.as_json(figures, machine), option=orjson.OPT_INDENT_2).decode())
    else:
        Console(width=None if sys.stdout.isatty() else 140).print(report.table(figures))
        print(f"others took {machine.others:.0%} of the machine meanwhile")
    for page, own in pages:
        report.write_page(
            [figure for name in measured if name in own for figure in measured[name]], machine, page
        )
    sys.exit(0 if all(figure.holds for figure in figures) else 1)


def measure(names: tuple[str, ...], *, quick: bool) -> dict[str, list[Figure]]:
    """The figures of these names, in the order of the table."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with (
        Progress(*columns, console=console) as progress,
        Context(QUICK if quick else FULL, progress) as context,
    ):
        return {name: FIGURES[name](context) for name in FIGURES if name in names}


if __name__ == "__main__":
    main()
