"""What every figure is measured with: how much of it, the logs, the echo, and who is told how far it is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import Final, Self

from rich.progress import Progress

from bench import load
from bench.programs import ROOT, EchoProcess, remove_hub
from bench.stage import Loop, Prepared, prepare

FOLDER: Final = ROOT / "build" / "bench"
TOKEN_OF_THE_ECHO: Final = "x" * 600  # as long as an access token


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured: pairs of samples, and what one sample is."""

    base_ops: int
    big_ops: int
    pairs: int
    batches: int
    singles: int
    pages: int
    mixed_samples: int
    mixed_singles: int
    streamed: int
    written_batches: int
    written_singles: int
    scale_pairs: int
    starts: int
    kept_samples: int
    streams: int = 100
    state_ops: int = 100_000
    patients: int = 100_000
    relay_pairs: int = 3
    relay_fill: int = 3
    idle_hubs: int = 10_000
    outage_ops: int = 50_000
    moves: int = 5
    carried_ops: int = 100_000
    fleet_hubs: int = 2_000


FULL: Final = Sizes(
    base_ops=12_000, big_ops=1_000_000, pairs=15, batches=40, singles=250, pages=60, mixed_samples=5,
    mixed_singles=800, streamed=60, written_batches=100, written_singles=500, scale_pairs=9, starts=7, kept_samples=3,
)  # fmt: skip
QUICK: Final = Sizes(
    base_ops=12_000, big_ops=40_000, pairs=3, batches=20, singles=60, pages=40, mixed_samples=1,
    mixed_singles=100, streamed=30, written_batches=20, written_singles=100, scale_pairs=2, starts=2, kept_samples=1,
    state_ops=20_000, patients=20_000, relay_pairs=1, relay_fill=1, idle_hubs=500, outage_ops=4_000, moves=1, carried_ops=8_000, fleet_hubs=200,
)  # fmt: skip


class Context:
    """The run. `with` it; logs are filled when they are first asked for, and thrown away at the end."""

    def __init__(self, sizes: Sizes, progress: Progress) -> None:
        self.sizes = sizes
        self.loop = Loop()
        self.echo = EchoProcess()
        self.folder = FOLDER
        self._progress = progress
        self._stack = ExitStack()
        self._logs: dict[int, Prepared] = {}

    def __enter__(self) -> Self:
        FOLDER.mkdir(parents=True, exist_ok=True)
        self.folder = Path(mkdtemp(prefix="run-", dir=FOLDER))
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self._stack.callback(self.loop.close)
        self._stack.enter_context(self.echo)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def base(self) -> Prepared:
        """The log of 10 k ops and a little more, so that there are 20 full pages behind it."""
        return self._log("base", self.sizes.base_ops)

    @property
    def state(self) -> Prepared:
        """The log whose entities a new device takes in."""
        return self._log("state", self.sizes.state_ops)

    @property
    def big(self) -> Prepared:
        """The log of 1 M ops."""
        return self._log("big", self.sizes.big_ops)

    @property
    def big_label(self) -> str:
        ops = self.sizes.big_ops
        return f"{ops // 1_000_000} M" if ops >= 1_000_000 else f"{ops // 1_000} k"

    def samples(self, what: str, count: int) -> Iterator[int]:
        """Count samples, telling how far it is."""
        task = self._progress.add_task(what, total=count)
        for number in range(count):
            yield number
            self._progress.advance(task)

    def put_answer(self, name: str, body: bytes) -> None:
        """Give the echo something to answer."""
        self.loop.run(
            load.run(
                self.echo.port, [load.Sends([load.post(f"/answers/{name}", TOKEN_OF_THE_ECHO, body, "PUT")])]
            )
        )

    def file(self, name: str) -> Path:
        return self.folder / name

    def _log(self, name: str, ops: int) -> Prepared:
        if ops not in self._logs:
            data = self.folder / name
            task = self._progress.add_task(f"filling a log with {ops:,} ops", total=ops)
            self._logs[ops] = prepare(self.loop, data, ops, lambda done: self._progress.advance(task, done))
            self._stack.callback(remove_hub, data)
        return self._logs[ops]
