"""How much of a change the tests would notice: mutants of lines, made by mutmut, each judged by the tests that reach it.

    python -m tests.mutants [--since REF] [--sample N] [--seed N] [--seconds S] [--only PART] [--remap] [--json FILE]

mutmut makes the mutants; it would copy the tree and stamp every function, so that the running of them is our own: what has
everything foreign loaded forks, and the child runs the tests that reach the line, quickest first. The first that fails
kills the mutant, and so does a child that uses up its time.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from random import Random

from tests.mutants.judging import Verdict, judged, preload
from tests.mutants.making import ROOT, changed_lines, mutants_of
from tests.mutants.reaching import coverage_map


def interval(killed: int, count: int) -> tuple[float, float]:
    """Wilson's, of 95 %."""
    if not count:
        return 0.0, 1.0
    z, share = 1.96, killed / count
    middle = share + z * z / (2 * count)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (middle - spread) / (1 + z * z / count), (middle + spread) / (1 + z * z / count)


def report(verdicts: Sequence[Verdict], population: int) -> str:
    """A row for each file, the sum, and those that nobody noticed."""
    by_file: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        by_file[verdict.mutant.file].append(verdict)
    rows = ["| file | mutants | killed | score |", "| --- | ---: | ---: | ---: |"]
    for file, some in sorted(by_file.items()):
        rows.append(f"| {file} | {len(some)} | {_killed(some)} | {_killed(some) / len(some):.0%} |")
    killed, low_high = _killed(verdicts), interval(_killed(verdicts), len(verdicts))
    rows.append(f"| all | {len(verdicts)} | {killed} | {killed / max(1, len(verdicts)):.1%} |")
    rows.append(
        f"\n{len(verdicts)} of {population} mutants; with 95 % certainty {low_high[0]:.1%} to {low_high[1]:.1%}"
    )
    for verdict in verdicts:
        if verdict.outcome in ("survived", "uncovered"):
            one = verdict.mutant
            rows.append(f"\n{verdict.outcome}: {one.file}:{one.line}  ({verdict.tests} tests)\n{one.told()}")
    return "\n".join(rows)


def _killed(verdicts: Sequence[Verdict]) -> int:
    return sum(verdict.outcome in ("killed", "timeout") for verdict in verdicts)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--since", default=os.environ.get("MUTANTS_SINCE"), help="lines changed since; none: all"
    )
    parser.add_argument("--sample", type=int, help="so many of them, chosen by the seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin none after so long")
    parser.add_argument("--only", default="", help="files with this in their path")
    parser.add_argument("--remap", action="store_true", help="measure anew which test reaches which line")
    parser.add_argument("--json", type=Path, help="write the verdicts there too")
    asked = parser.parse_args()
    os.chdir(ROOT)
    preload()
    coverage = coverage_map(remap=asked.remap)
    mutants = [
        mutant
        for file, lines in changed_lines(asked.since or None).items()
        if asked.only in file
        for mutant in mutants_of(file, lines)
    ]
    population = len(mutants)
    Random(asked.seed).shuffle(mutants)
    verdicts: list[Verdict] = []
    begun = time.monotonic()
    for mutant in mutants[: asked.sample]:
        if time.monotonic() - begun > asked.seconds:
            break
        verdict = judged(mutant, coverage)
        verdicts.append(verdict)
        print(
            f"{verdict.outcome:9} {mutant.file}:{mutant.line}  {len(verdicts)}", file=sys.stderr, flush=True
        )
    print(report(verdicts, population))
    if asked.json is not None:
        told = [
            {"file": v.mutant.file, "line": v.mutant.line, "outcome": v.outcome, "told": v.mutant.told()}
            for v in verdicts
        ]
        asked.json.write_text(json.dumps(told, indent=1), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
