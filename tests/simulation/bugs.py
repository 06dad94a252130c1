"""`python -m tests.simulation.bugs`: is the simulation itself any good? Planted mistakes, and how soon worlds find them.

Each is one that somebody could honestly have made, in the real code, and stays there for the length of a world. It counts
as caught by a world only if the same world without it is sound. Prints the table of docs/proof.md; exit status 1 where one
was not caught.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Final

from tests.simulation.mistakes import meaning, storing, syncing
from tests.simulation.mistakes.planting import Mistake, Plant
from tests.simulation.outcome import Asked, Failure
from tests.simulation.pool import Pool, open_pool

WORLDS_MAX: Final = 200
BUGS: Final[dict[str, Mistake]] = {
    mistake.name: mistake for mistake in (*storing.MISTAKES, *syncing.MISTAKES, *meaning.MISTAKES)
}
_NO_CATCH: Final = frozenset({"harness", "hang"})
"""What says something of the simulation, not of the programs in it."""


@contextmanager
def planted(name: str) -> Iterator[None]:
    """While this stands the programs of this process have that mistake. KeyError for one that there is not."""
    with ExitStack() as stack:
        BUGS[name].plant(Plant(stack))
        yield


@dataclass(frozen=True, slots=True)
class Caught:
    """What became of a mistake: `worlds` were needed, `seconds` of the clock; `seed` is the world that found it."""

    name: str
    what: str
    breaks: str
    checker: str | None
    said: str
    seed: int | None
    worlds: int
    seconds: float


async def hunt(
    pool: Pool, jobs: int, mistake: Mistake, seeds: Sequence[int], steps: int | None = None
) -> Caught:
    """Run worlds with it until one fails that is sound without it."""
    begun = time.monotonic()
    for first in range(0, len(seeds), jobs):
        some = seeds[first : first + jobs]
        outcomes = await asyncio.gather(*(pool.run(Asked(seed, steps, bug=mistake.name)) for seed in some))
        for place, outcome in enumerate(outcomes, first + 1):
            failure = outcome.failure
            if failure is not None and await _is_its_own(pool, outcome.seed, steps, failure):
                return _told(mistake, failure, outcome.seed, place, time.monotonic() - begun)
    return _told(mistake, None, None, len(seeds), time.monotonic() - begun)


async def _is_its_own(pool: Pool, seed: int, steps: int | None, failure: Failure) -> bool:
    if failure.checker in _NO_CATCH:
        _say(f"    seed {seed} broke the simulation itself: {failure.what}")
        return False
    without = (await pool.run(Asked(seed, steps))).failure
    if without is not None:
        _say(f"    seed {seed} fails without it, too: {without.checker}: {without.what}")
    return without is None


def _say(line: str) -> None:
    print(line[:300].replace("\n", " "), file=sys.stderr, flush=True)


def _told(mistake: Mistake, failure: Failure | None, seed: int | None, worlds: int, seconds: float) -> Caught:
    return Caught(
        mistake.name, mistake.what, mistake.breaks, failure.checker if failure else None,
        failure.what if failure else "", seed, worlds, round(seconds, 1),
    )  # fmt: skip


def main() -> int:
    options = _options()
    found = asyncio.run(_hunt_all(options))
    if options.json:
        print(json.dumps([asdict(one) for one in found]))
    else:
        print("\n".join(table(found)))
    return 0 if all(one.checker for one in found) else 1


def table(found: Sequence[Caught]) -> Iterator[str]:
    """In Markdown."""
    yield "| mistake | what was done | what it breaks | caught by | worlds | seconds |"
    yield "| --- | --- | --- | --- | ---: | ---: |"
    for one in found:
        checker = "not caught" if one.checker is None else one.checker
        yield (f"| `{one.name}` | {one.what} | {one.breaks} | {checker} | {one.worlds} | {one.seconds:.1f} |")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.bugs", description=__doc__)
    parser.add_argument(
        "--bug", action="append", choices=sorted(BUGS), help="only this one; may be given again"
    )
    parser.add_argument("--worlds", type=int, default=WORLDS_MAX, help="how many are tried for each")
    parser.add_argument("--first", type=int, default=1, help="the seed of the first world")
    parser.add_argument("--steps", type=int, help="so many steps in each, in place of what its seed draws")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at a time")
    parser.add_argument("--json", action="store_true", help="print one JSON document at the end")
    return parser.parse_args()


async def _hunt_all(options: argparse.Namespace) -> list[Caught]:
    found: list[Caught] = []
    seeds = range(options.first, options.first + options.worlds)
    async with open_pool(options.jobs) as pool:
        for name in options.bug or BUGS:
            found.append(await hunt(pool, options.jobs, BUGS[name], seeds, options.steps))
            told = found[-1]
            by = f"checker {told.checker} at seed {told.seed}: {told.said}" if told.checker else "NOT CAUGHT"
            _say(f"{told.name}: {told.worlds} worlds, {told.seconds:.1f} s: {by}")
    return found


if __name__ == "__main__":
    sys.exit(main())
