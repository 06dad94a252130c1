"""One surface under attack: every input is taken within its bounds, what came of it is counted, what is wrong is kept.

Bounds are measured for each input: CPU time, and how far the memory of the process rose above where it stood. A bound
that was passed is measured twice more before it counts, since other processes share these cores.
"""

from __future__ import annotations

import hashlib
import resource
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from tests.fuzz.changing import changed
from tests.fuzz.surface import CORPUS, ROOT, Surface, Wrong

_AGAIN: Final = 2
_RESET: Final = Path("/proc/self/clear_refs")
_OURS: Final = tuple(str(ROOT / folder) for folder in ("medxz", "hub", "cloud"))


@dataclass(frozen=True, slots=True)
class Finding:
    """An input that should not do what it does. `what` is the same for all that do it in the same way."""

    surface: str
    what: str
    data: bytes = field(repr=False)
    detail: str = ""

    @property
    def name(self) -> str:
        """Of its file in the corpus."""
        return hashlib.sha256(self.data).hexdigest()[:16]


class PeakMemory:
    """How far the memory of this process has risen since `begin`, in bytes."""

    def __init__(self) -> None:
        self._before = 0

    def begin(self) -> None:
        with suppress(OSError):  # where there is none of this, the highest it ever was stands in for it
            _RESET.write_bytes(b"5")  # the peak is what it is now
        self._before = _peak()

    def risen(self) -> int:
        return _peak() - self._before


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024


class Campaign:
    """Takes inputs and keeps the score."""

    def __init__(self, surface: Surface, *, slack: float = 1.0) -> None:
        """`slack`: by how much the bounds of time are wider, where the code was slowed down to be watched."""
        self.surface = surface
        self.executions = 0
        self.outcomes: Counter[str] = Counter()
        self.findings: dict[str, Finding] = {}
        self._memory = PeakMemory()
        self._cpu_s_max = surface.cpu_s_max * slack

    def take(self, data: bytes) -> str:
        """What came of this input; a finding is kept under the first input that showed it."""
        self.executions += 1
        outcome, detail = self._taken(data)
        self.outcomes[outcome] += 1
        if outcome.startswith("! ") and outcome not in self.findings:
            self.findings[outcome] = Finding(self.surface.name, outcome, data, detail)
        return outcome

    def _taken(self, data: bytes) -> tuple[str, str]:
        outcome, detail, cpu_s, risen = self._measured(data)
        for _ in range(_AGAIN):
            if cpu_s <= self._cpu_s_max and risen <= self.surface.memory_bytes_max:
                break
            _, _, cpu_again_s, risen_again = self._measured(data)
            cpu_s, risen = min(cpu_s, cpu_again_s), min(risen, risen_again)
        if outcome.startswith("! "):
            return outcome, detail
        if cpu_s > self._cpu_s_max:
            return "! slow", f"{cpu_s * 1_000:.0f} ms of CPU for {len(data)} bytes"
        if risen > self.surface.memory_bytes_max:
            return "! large", f"{risen >> 20} MiB for {len(data)} bytes"
        return outcome, ""

    def _measured(self, data: bytes) -> tuple[str, str, float, int]:
        self._memory.begin()
        begun = time.process_time()
        detail = ""
        try:
            outcome = self.surface.take(data)
        except KeyboardInterrupt:
            raise
        except Wrong as wrong:
            outcome, detail = f"! {wrong.args[0]}", " ".join(map(str, wrong.args[1:]))
        except BaseException as error:  # noqa: BLE001  whatever it is, it was not to be raised
            outcome, detail = f"! {type(error).__name__} at {_place(error)}", str(error)[:300]
        return outcome, detail, time.process_time() - begun, self._memory.risen()


def _place(error: BaseException) -> str:
    """The innermost place of ours that it went through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if frame.filename.startswith(_OURS)] or frames[-1:]
    frame = ours[-1]
    return f"{Path(frame.filename).name}:{frame.name}"


def corpus_of(surface: Surface) -> Iterator[tuple[str, bytes]]:
    """What has been found once, or is worth keeping for another reason: name and input."""
    folder = CORPUS / surface.name
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        yield path.name, path.read_bytes()


def replay(campaign: Campaign) -> None:
    """The seeds and the corpus, each once."""
    for data in campaign.surface.seeds():
        campaign.take(data)
    for _, data in corpus_of(campaign.surface):
        campaign.take(data)


def run_seeded(campaign: Campaign, seed: int, *, executions: int = sys.maxsize, seconds: float = 1e9) -> None:
    """Inputs made from a seed: from those to begin with, and from each that had an outcome nobody had before it."""
    surface = campaign.surface
    random = Random(f"{surface.name}-{seed}")
    pool = [*surface.seeds(), *(data for _, data in corpus_of(surface))] or [b""]
    known: set[str] = set()
    until = time.monotonic() + seconds
    for _ in range(executions):
        if time.monotonic() > until:
            break
        data = changed(
            random.choice(pool), pool, random, is_json=surface.is_json, bytes_max=surface.bytes_max
        )
        outcome = campaign.take(data)
        if outcome not in known and not outcome.startswith("! "):
            known.add(outcome)
            pool.append(data)


def smallest(finding: Finding, surface: Surface, *, tries: int = 400) -> Finding:
    """The same finding by fewer bytes, if some can go."""
    campaign = Campaign(surface)
    data, size = finding.data, max(1, len(finding.data) // 2)
    while size and tries:
        shorter = [data[:at] + data[at + size :] for at in range(0, len(data), size)]
        for one in shorter:
            tries -= 1
            if tries <= 0:
                break
            if campaign.take(one) == finding.what:
                data = one
                break
        else:
            size //= 2
    return Finding(finding.surface, finding.what, data, finding.detail)


def kept(findings: Sequence[Finding], folder: Path = CORPUS) -> None:
    """Each as a file that every run from now on replays."""
    for finding in findings:
        place = folder / finding.surface
        place.mkdir(parents=True, exist_ok=True)
        (place / finding.name).write_bytes(finding.data)
