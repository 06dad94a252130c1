"""Whose a task is: one run of a machine, from its boot to its crash, as every task and timer of it carries along."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextvars import ContextVar
from typing import Any, Final
from weakref import WeakSet


class Incarnation:
    """`ghosts` keeps what a crash left behind until the world ends, so that nothing of it is finalised.

    `generators` are its asynchronous generators that were begun.
    """

    __slots__ = ("alive", "generators", "ghosts", "ip", "name", "number")

    def __init__(self, name: str, ip: str, number: int) -> None:
        self.name = name
        self.ip = ip
        self.number = number
        self.alive = True
        self.ghosts: list[object] = []
        self.generators: WeakSet[AsyncGenerator[Any, Any]] = WeakSet()


INCARNATION: Final[ContextVar[Incarnation | None]] = ContextVar("incarnation", default=None)
"""None: the world itself, which nothing happens to."""
