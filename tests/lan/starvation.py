"""How long this machine let nobody run: a bound on a time holds for a machine that has time."""

from __future__ import annotations

import threading
import time
from typing import Final, Self

TICK_S: Final = 0.01
# what a sleep takes longer on a machine that has time
USUAL_S: Final = 0.005


class Starvation(threading.Thread):
    """Between `with` and its end: `seconds` by which sleeps took longer than they were meant to, all in all."""

    def __init__(self) -> None:
        super().__init__(name="starvation", daemon=True)
        self.seconds = 0.0
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        before = time.monotonic()
        while not self._ended.wait(TICK_S):
            now = time.monotonic()
            self.seconds += max(0.0, now - before - TICK_S - USUAL_S)
            before = now
