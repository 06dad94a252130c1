"""One surface under libFuzzer, led by which edges of our code an input reaches: a process of its own.

`python -m tests.fuzz.guided JOB`, where JOB is a file that says what to do; the report is written beside it. It ends
itself when it has done what was asked: libFuzzer would leave without a word.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import atheris  # type: ignore[import-untyped, import-not-found, unused-ignore]

with atheris.instrument_imports(include=["medxz", "hub", "cloud"]):
    from tests.fuzz.every import SURFACES

from tests.fuzz.campaign import Campaign, replay
from tests.fuzz.changing import changed

# code that is watched is slower; whoever reads the report measures again without
SLACK: Final = 8.0
_SHARE_OF_OURS: Final = 0.5


@dataclass(frozen=True)
class Job:
    """What to do; `corpus` is where libFuzzer keeps inputs, the second of the folders it reads."""

    surface: str
    seed: int
    seconds: float
    executions: int
    folders: list[str]
    report: str


def main(job: Job) -> None:
    surface = SURFACES[job.surface]
    campaign = Campaign(surface, slack=SLACK)
    pool = list(surface.seeds())
    replay(campaign)
    until = time.monotonic() + job.seconds

    def take(data: bytes) -> None:
        campaign.take(data)
        if campaign.executions >= job.executions or time.monotonic() > until:
            _report(job, campaign)
            sys.stderr.flush()
            os._exit(0)

    def change(data: bytes, bytes_max: int, seed: int) -> bytes:
        random = Random(seed)
        if random.random() < _SHARE_OF_OURS:
            return changed(data, pool, random, is_json=surface.is_json, bytes_max=bytes_max)
        mutated: bytes = atheris.Mutate(data, bytes_max)
        return mutated

    arguments = [
        sys.argv[0], *job.folders, f"-seed={job.seed or 1}", f"-max_len={surface.bytes_max}", "-timeout=30",
        "-rss_limit_mb=2048", f"-artifact_prefix={job.report}.", "-verbosity=1",
    ]  # fmt: skip
    atheris.Setup(arguments, take, custom_mutator=change)
    atheris.Fuzz()


def _report(job: Job, campaign: Campaign) -> None:
    told: dict[str, Any] = {
        "executions": campaign.executions,
        "outcomes": sorted(campaign.outcomes),
        "findings": [
            {"what": one.what, "detail": one.detail, "data": one.data.hex()}
            for one in campaign.findings.values()
        ],
    }
    Path(job.report).write_text(json.dumps(told), "utf-8")


if __name__ == "__main__":
    main(Job(**json.loads(Path(sys.argv[1]).read_text("utf-8"))))
