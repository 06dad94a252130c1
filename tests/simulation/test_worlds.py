"""A hundred worlds that try to lose an op, and nothing is lost in any of them; and one seed is one world."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.steps.catalogue import KINDS

ROOT = Path(__file__).resolve().parents[2]
# in worlds that are short enough for every change; those of `make sim` have two or three times as many
STEPS = 30
# kinds of step that 50 such worlds may not have met
UNMET_MAX = 3
FELT = (
    "connections refused", "connections reset in the middle", "requests that came twice",
    "crashes in the middle of a write", "syncs failed", "writes refused by a full disk",
)  # fmt: skip


def worlds(*arguments: str) -> dict[str, Any]:
    """What the command line tells of these worlds."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--jobs", "1", "--json", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def nothing_was_lost_in(seeds: str) -> None:
    told = worlds("--seeds", seeds, "--steps", str(STEPS), "--no-shrink")
    assert told["failures"] == [], json.dumps(told["failures"], indent=1)
    unmet = [kind.__name__ for kind in KINDS if not told["done"].get(kind.__name__)]
    assert len(unmet) <= UNMET_MAX, unmet
    assert all(told["felt"].get(felt) for felt in FELT), told["felt"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_is_lost_in_fifty_worlds() -> None:
    """In the worlds 1 to 50 every checker holds after every healing, and nearly every kind of step was met."""
    nothing_was_lost_in("1-50")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_is_lost_in_fifty_more() -> None:
    """In the worlds 51 to 100 every checker holds after every healing, and nearly every kind of step was met."""
    nothing_was_lost_in("51-100")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_one_seed_is_one_world() -> None:
    """Two processes that run the same seed tell the same, to the last byte that passed, whatever they ran before."""
    first, again = worlds("--seeds", "7", "--steps", "60"), worlds("--seeds", "6-7", "--steps", "60")
    assert first["fingerprints"]["7"] == again["fingerprints"]["7"]
    assert first["fingerprints"]["7"] != again["fingerprints"]["6"]
