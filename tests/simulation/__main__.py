"""`python -m tests.simulation --seeds 1-100`: run worlds; a failing one is made small and tells how it is run again."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections import Counter
from typing import Final

from tests.simulation.outcome import Asked, Outcome
from tests.simulation.pool import Pool, open_pool
from tests.simulation.shrink import shrink

FAILURES_MAX: Final = 5


def main() -> int:
    """Exit status 1 where a world failed."""
    options = _options()
    begun = time.monotonic()
    outcomes = asyncio.run(_run(options))
    _tell(options, outcomes, time.monotonic() - begun)
    return 1 if any(outcome.failure for outcome in outcomes) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", default="1-100", type=_seeds, help="which worlds: 7, 1-100, or 3,5,9-12")
    parser.add_argument("--jobs", default=os.cpu_count() or 1, type=int, help="processes at a time")
    parser.add_argument("--bug", help="plant this bug in every world: the worlds have to fail")
    parser.add_argument(
        "--steps", type=int, help="so many steps in each world, in place of what a seed draws"
    )
    parser.add_argument("--keep", type=_seeds, help="of the steps, only those with these numbers")
    parser.add_argument("--trace", action="store_true", help="print what happened, line by line")
    parser.add_argument("--no-shrink", action="store_true", help="leave a failing world as it is")
    parser.add_argument("--json", action="store_true", help="print one JSON document at the end")
    return parser.parse_args()


def _seeds(text: str) -> tuple[int, ...]:
    if not text:
        return ()
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return tuple(found)


async def _run(options: argparse.Namespace) -> list[Outcome]:
    """Every world, or all until so many have failed."""
    outcomes: list[Outcome] = []
    async with open_pool(options.jobs) as pool:

        async def one(seed: int) -> None:
            if sum(outcome.failure is not None for outcome in outcomes) < FAILURES_MAX:
                asked = Asked(seed, options.steps, options.keep, options.bug, options.trace)
                outcome = await pool.run(asked)
                if (
                    outcome.failure is not None
                    and not options.no_shrink
                    and outcome.failure.checker != "hang"
                ):
                    outcome = await _smaller(pool, asked, outcome)
                outcomes.append(outcome)
                _progress(outcomes, len(options.seeds))

        await asyncio.gather(*(one(seed) for seed in options.seeds))
    return sorted(outcomes, key=lambda outcome: outcome.seed)


async def _smaller(pool: Pool, asked: Asked, failed: Outcome) -> Outcome:
    """The same failure with as few steps as were found to be enough."""
    assert failed.failure is not None
    smallest, checker = failed, failed.failure.checker

    async def fails(numbers: tuple[int, ...]) -> bool:
        nonlocal smallest
        outcome = await pool.run(Asked(asked.seed, asked.steps, numbers, asked.bug, asked.trace))
        if outcome.failure is None or outcome.failure.checker != checker:
            return False
        smallest = outcome
        return True

    await shrink(failed.steps, fails)
    return smallest


def _progress(outcomes: list[Outcome], count: int) -> None:
    failed = sum(outcome.failure is not None for outcome in outcomes)
    line = f"\r{len(outcomes)}/{count} worlds, {failed} failed"
    if sys.stderr.isatty():
        print(line, end="" if len(outcomes) < count else "\n", file=sys.stderr, flush=True)


def _tell(options: argparse.Namespace, outcomes: list[Outcome], took_s: float) -> None:
    done = sum((Counter(outcome.done) for outcome in outcomes), Counter[str]())
    felt = sum((Counter(outcome.felt) for outcome in outcomes), Counter[str]())
    failures = [outcome for outcome in outcomes if outcome.failure]
    cpu_s = sum(outcome.cpu_s for outcome in outcomes)
    if options.json:
        print(json.dumps({
            "worlds": len(outcomes), "failed": len(failures), "seconds": round(took_s, 1), "cpu_s": round(cpu_s, 1),
            "virtual_s": round(sum(outcome.virtual_s for outcome in outcomes)),
            "ops": sum(outcome.ops for outcome in outcomes), "done": dict(sorted(done.items())),
            "felt": dict(sorted(felt.items())),
            "failures": [_as_told(options, outcome) for outcome in failures],
            "fingerprints": {outcome.seed: outcome.fingerprint for outcome in outcomes},
        }))  # fmt: skip
        return
    for outcome in outcomes:
        if outcome.trace:
            print("\n".join(outcome.trace))
    for outcome in failures:
        told = _as_told(options, outcome)
        print(f"\nseed {outcome.seed} fails: {told['checker']}: {told['what']}")
        print("\n".join(f"    {line}" for line in outcome.told))
        print(f"run it again: {told['again']}")
    print(
        f"{len(outcomes)} worlds, {len(failures)} failed; {took_s:.1f} s, {len(outcomes) / took_s:.2f} worlds/s,"
        f" {cpu_s / max(1, len(outcomes)):.2f} CPU s a world"
    )
    print("carried out: " + ", ".join(f"{name} {count}" for name, count in sorted(done.items())))
    print("felt: " + ", ".join(f"{name} {count}" for name, count in sorted(felt.items())))


def _as_told(options: argparse.Namespace, outcome: Outcome) -> dict[str, object]:
    assert outcome.failure is not None
    again = f"python -m tests.simulation --seeds {outcome.seed} --no-shrink --trace"
    if options.steps is not None:
        again += f" --steps {options.steps}"
    if options.bug is not None:
        again += f" --bug {options.bug}"
    again += f" --keep {','.join(map(str, outcome.steps)) or chr(39) * 2}"
    return {
        "seed": outcome.seed, "checker": outcome.failure.checker, "what": outcome.failure.what,
        "steps": outcome.told, "again": again,
    }  # fmt: skip


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(
            sys.executable,
            [sys.executable, "-m", "tests.simulation", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    sys.exit(main())
