"""Every surface takes what was found once, and some hundred inputs from a fixed seed; and what hunts them finds."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.campaign import Campaign, Finding, kept, replay, run_seeded, smallest
from tests.fuzz.changing import changed, changed_json
from tests.fuzz.every import SURFACES
from tests.fuzz.surface import CORPUS, MIB, Surface, Wrong


@pytest.mark.parametrize("name", SURFACES)
def test_a_surface_takes_anything(name: str) -> None:
    """What was found once is found no more, and neither is anything else by so many inputs."""
    campaign = Campaign(SURFACES[name])
    replay(campaign)
    run_seeded(campaign, 6, executions=SURFACES[name].short_run)
    assert [(one.what, one.detail, one.data[:200]) for one in campaign.findings.values()] == []
    assert len(campaign.outcomes) > 1, "it says the same of everything: it looks at nothing"


def test_the_corpus_is_of_surfaces() -> None:
    """Each folder of the corpus is replayed by somebody, and its files are small."""
    assert {path.name for path in CORPUS.iterdir()} <= SURFACES.keys()
    assert max(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) <= 16_384


def raising(data: bytes) -> str:
    if b"\x00" in data:
        raise KeyError(data)
    return "taken"


def breaking(data: bytes) -> str:
    if b"\x00" in data:
        raise Wrong("a promise", data)
    return "taken"


def slow(data: bytes) -> str:
    begun = time.process_time()
    while b"\x00" in data and time.process_time() < begun + 0.02:
        pass
    return "taken"


def large(data: bytes) -> str:
    return str(len(b"x" * (40 * MIB)) > 0) if b"\x00" in data else "taken"


@pytest.mark.parametrize(
    ("take", "what"),
    [
        (raising, "! KeyError at test_fuzz.py:raising"),
        (breaking, "! a promise"),
        (slow, "! slow"),
        (large, "! large"),
    ],
)
def test_what_is_wrong_is_found(take: Callable[[bytes], str], what: str, tmp_path: Path) -> None:
    """An exception that is no refusal, a broken promise, too much time or memory: found, made small, kept."""
    cpu_s_max = 0.01 if take is slow else 5.0
    surface = Surface("x", "x", take, lambda: [b"seed"], cpu_s_max=cpu_s_max, memory_bytes_max=8 * MIB)
    campaign = Campaign(surface)
    run_seeded(campaign, 1, executions=60)
    assert list(campaign.findings) == [what]
    [finding] = campaign.findings.values()
    small = smallest(finding, surface, tries=100)
    assert (small.what, small.data) == (what, b"\x00")
    kept([small], tmp_path)
    assert [path.read_bytes() for path in tmp_path.glob("x/*")] == [b"\x00"]


def test_a_seed_makes_the_same_inputs() -> None:
    """Two runs of one seed take the same inputs; another seed takes others."""

    def inputs(seed: int) -> list[bytes]:
        seen: list[bytes] = []

        def take(data: bytes) -> str:
            seen.append(data)
            return f"{len(data) % 7}"

        run_seeded(Campaign(Surface("x", "x", take, lambda: [b'{"a":[1,2]}'])), seed, executions=300)
        return seen

    assert inputs(1) == inputs(1) != inputs(2)


def test_json_keeps_its_shape() -> None:
    """Members are dropped, doubled, swapped and replaced; what stands around the JSON stays."""
    random = Random(1)
    made = {changed_json(b'\x07{"a":[1,{"b":null}],"c":"d"} ', random) for _ in range(500)}
    assert len(made) > 300
    assert all(one.startswith(b"\x07") for one in made)
    nested = b'{"a":' * 90 + b"1" + b"}" * 90
    assert len(changed(nested, [nested], random, is_json=True, bytes_max=100)) <= 100


def test_a_finding_has_one_name() -> None:
    """The same bytes are kept once."""
    assert Finding("x", "a", b"1").name == Finding("x", "b", b"1").name != Finding("x", "a", b"2").name
