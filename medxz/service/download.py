"""A file that a server hands out, from whichever byte on: links break, and such files are long."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Download:
    """How long it is, and its bytes from one on and up to another, in pieces."""

    size: int
    pieces: Callable[[int, int], AsyncGenerator[bytes, None]]
