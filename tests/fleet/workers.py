"""People at work while a fleet is updated: applications that record in bursts with pauses between, as clinics do.

Everything that they tell is kept: how long each op took to be recorded, and which ops there are.
"""

from __future__ import annotations

import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Final, Self

from tests.lan.application import Application, Event
from tests.lan.clinic import LanTablet, lan_environment

BURST: Final = 5
EVERY_S: Final = 1.0
PAUSE_S: Final = 25.0


class Workers:
    """At those tablets, until it is left; a thread of its own reads what their applications tell."""

    def __init__(self, tablets: list[LanTablet]) -> None:
        self._tablets = tablets
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="workers")
        self.told: dict[Path, list[Event]] = {tablet.store: [] for tablet in tablets}
        self._failed: BaseException | None = None

    def __enter__(self) -> Self:
        self._applications = [
            Application(tablet.host, tablet.store, lan_environment()) for tablet in self._tablets
        ]
        for application in self._applications:
            application.until(lambda event: event["event"] == "ready", "the application")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(60)
        for application in self._applications:
            application.end()
        if self._failed is not None:
            raise self._failed

    def recorded(self) -> set[str]:
        return {
            str(event["op_id"])
            for events in self.told.values()
            for event in events
            if event["event"] == "recorded"
        }

    def longest_wait_s(self) -> float:
        """Of a person for an op to be recorded, beyond the second that they leave between two."""
        waits = []
        for events in self.told.values():
            times = [event["at"] for event in events if event["event"] == "recorded"]
            gaps = (after - before for before, after in pairwise(times))
            waits += [gap - EVERY_S for gap in gaps if gap < PAUSE_S / 2]
        return max(waits)

    def longest_here_s(self) -> float:
        """For which an op was on its device alone, with hub or cloud not having told that they have it."""
        longest = 0.0
        for events in self.told.values():
            since: float | None = None
            for event in (event for event in events if event["event"] == "status"):
                if event["here"] and since is None:
                    since = event["at"]
                elif not event["here"] and since is not None:
                    longest, since = max(longest, event["at"] - since), None
        return longest

    def _work(self) -> None:
        try:
            next_at = time.monotonic()
            while not self._ended.wait(0.2):
                if time.monotonic() >= next_at:
                    for application in self._applications:
                        application.record(BURST, EVERY_S)
                    next_at = time.monotonic() + BURST * EVERY_S + PAUSE_S
                self._read()
            deadline = time.monotonic() + BURST * EVERY_S + 3  # what was begun is told to its end
            while time.monotonic() < deadline:
                self._read()
                time.sleep(0.1)
        except (OSError, AssertionError, ValueError) as error:
            self._failed = error

    def _read(self) -> None:
        for tablet, application in zip(self._tablets, self._applications, strict=True):
            self.told[tablet.store] += application.all_told()
