"""`python -m tests.fuzz`: every surface, or one, for so long or so many inputs; a table of what came of it.

Led by coverage where atheris is installed, which it is on Linux on x86-64; elsewhere by a seed alone. An input that is a
finding is made small and kept in tests/fuzz/corpus, from where every run replays it. Ends with 1 where there was one.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tests.fuzz.campaign import Campaign, Finding, kept, replay, run_seeded, smallest
from tests.fuzz.every import SURFACES
from tests.fuzz.surface import CORPUS, ROOT, Surface

# inputs that reached something new, from one run to the next
WORK: Final = ROOT / "build" / "fuzz"
_GRACE_S: Final = 120.0
_EDGES: Final = re.compile(r"cov: (\d+) ft: (\d+)")


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one surface."""

    surface: str
    what: str
    executions: int
    outcomes: int
    edges: int | None
    findings: list[str]
    seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    names = asked.surface or list(SURFACES)
    seconds = asked.seconds if asked.executions is None else 1e9
    executions = asked.executions or sys.maxsize
    is_guided = not asked.unguided and importlib.util.find_spec("atheris") is not None
    rows = []
    for name in names:
        surface = SURFACES[name]
        begun = time.monotonic()
        if is_guided:
            count, outcomes, edges, suspects = _guided(surface, asked.seed, seconds, executions)
        else:
            count, outcomes, edges, suspects = _seeded(surface, asked.seed, seconds, executions)
        findings = _confirmed(surface, suspects)
        kept(findings)
        row = Row(
            name, surface.what, count, outcomes, edges,
            [f"{one.what}: {one.detail}" for one in findings], round(time.monotonic() - begun, 1),
        )  # fmt: skip
        rows.append(row)
        if not asked.json:
            print(_line(row) if len(rows) > 1 else f"{_HEAD}\n{_line(row)}", flush=True)
            for told in row.findings:
                print(f"    FINDING {told[:300]}", flush=True)
    if asked.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        total = sum(row.executions for row in rows)
        print(f"| all | | {total:,} | | | {sum(len(row.findings) for row in rows)} | |")
    return 1 if any(row.findings for row in rows) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__.split("\n", maxsplit=1)[0] if __doc__ else ""
    )
    parser.add_argument(
        "--surface", action="append", choices=list(SURFACES), help="this one alone; may come again"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="for each surface")
    parser.add_argument("--executions", type=int, help="for each surface, in place of seconds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--unguided", action="store_true", help="by the seed alone, though atheris is here")
    parser.add_argument("--json", action="store_true")
    return parser


_HEAD: Final = (
    "| surface | what takes it | executions | outcomes | edges | findings | s |\n"
    "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
)


def _line(row: Row) -> str:
    edges = "–" if row.edges is None else f"{row.edges:,}"
    return (
        f"| {row.surface} | {row.what} | {row.executions:,} | {row.outcomes:,} | {edges} | {len(row.findings)}"
        f" | {row.seconds:.0f} |"
    )


Result = tuple[int, int, int | None, list[bytes]]


def _seeded(surface: Surface, seed: int, seconds: float, executions: int) -> Result:
    campaign = Campaign(surface)
    replay(campaign)
    run_seeded(campaign, seed, executions=executions, seconds=seconds)
    return campaign.executions, len(campaign.outcomes), None, [one.data for one in campaign.findings.values()]


def _guided(surface: Surface, seed: int, seconds: float, executions: int) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        report, job, begun_with = Path(folder, "report"), Path(folder, "job"), Path(folder, "seeds")
        work = WORK / surface.name
        for made in (begun_with, work):
            made.mkdir(parents=True, exist_ok=True)
        for at, data in enumerate(surface.seeds()):
            (begun_with / f"{at:03}").write_bytes(data)
        folders = [str(work), str(begun_with)] + [str(one) for one in [CORPUS / surface.name] if one.is_dir()]
        told: dict[str, Any] = {
            "surface": surface.name, "seed": seed, "seconds": seconds, "executions": executions, "folders": folders,
            "report": str(report),
        }  # fmt: skip
        job.write_text(json.dumps(told), "utf-8")
        ran = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.guided", str(job)],
            cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": "0"}, check=False, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=seconds + _GRACE_S if seconds < 1e8 else None,
        )  # fmt: skip
        edges = _EDGES.findall(ran.stderr.decode("utf-8", "replace"))
        if not report.exists():  # it hung, or took the process with it
            suspects = [path.read_bytes() for path in Path(folder).glob("report.*")]
            if not suspects:
                raise RuntimeError(ran.stderr.decode("utf-8", "replace")[-2_000:])
            return 0, 0, None, suspects
        answer = json.loads(report.read_text("utf-8"))
        suspects = [bytes.fromhex(one["data"]) for one in answer["findings"]]
        return answer["executions"], len(answer["outcomes"]), int(edges[-1][0]) if edges else None, suspects


def _confirmed(surface: Surface, suspects: Sequence[bytes]) -> list[Finding]:
    """Those that are findings here too, where nothing watches the code; each as small as it gets."""
    campaign = Campaign(surface)
    for data in suspects:
        campaign.take(data)
    return [smallest(one, surface) for one in campaign.findings.values()]


if __name__ == "__main__":
    sys.exit(main())
