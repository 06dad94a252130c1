"""What happened in a world, line by line, and the fingerprint of all of it.

A line is: virtual time, machine, what. Two runs of one plan write the same lines, in whatever process they are; whoever
adds a line leaves out of it what differs between processes (paths, memory addresses, real time).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

LINES_MAX: Final = 200_000


class Trace:
    """The lines of one world."""

    def __init__(self, now_s: Callable[[], float], tell: Callable[[str], None] | None = None) -> None:
        """`tell` is given each line as it is written."""
        self._now_s = now_s
        self._tell = tell
        self._digest = hashlib.sha256()
        self._count = 0
        self.lines: list[str] = []

    def note(self, machine: str, what: str) -> None:
        """Add a line; beyond the maximum it counts for the fingerprint alone."""
        line = f"{self._now_s():12.6f} {machine:<14} {what}"
        self._digest.update(line.encode() + b"\n")
        self._count += 1
        if len(self.lines) < LINES_MAX:
            self.lines.append(line)
        if self._tell is not None:
            self._tell(line)

    def fingerprint(self) -> str:
        """Of every line so far."""
        return self._digest.hexdigest()
