"""Whose a task is: one run of a machine, from its boot to its crash, as every task and timer of it carries along."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final


class Incarnation:
    """`ghosts` keeps what a crash left behind until the world ends, so that nothing of it is finalised."""

    __slots__ = ("alive", "ghosts", "ip", "name", "number")

    def __init__(self, name: str, ip: str, number: int) -> None:
        self.name = name
        self.ip = ip
        self.number = number
        self.alive = True
        self.ghosts: list[object] = []


INCARNATION: Final[ContextVar[Incarnation | None]] = ContextVar("incarnation", default=None)
"""None: the world itself, which nothing happens to."""
