"""Clients that are none of ours: they speak HTTP, and remember every page and every answer at the moment it came."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from medxz.op import Operation
from medxz.scope import Scope
from tests.simulation.parties.standing import Machine


@dataclass(frozen=True, slots=True)
class Seen:
    """A page of a pull, or one event of a stream. `after` is the cursor that was asked with, None for the beginning."""

    server_id: str
    epoch: str
    scope: Scope
    after: str | None
    cursor: str
    ops: tuple[tuple[str, int], ...]
    at_end: bool


@dataclass(frozen=True, slots=True)
class Resumed:
    """A cursor that a server gave for what the reader had."""

    server_id: str
    epoch: str
    cursor: str
    have: frozenset[str]


@dataclass(frozen=True, slots=True)
class Answered:
    """What a server said of one op that was pushed. `status`: accepted, duplicate, conflict, retry, rejected."""

    op: Operation
    status: str
    code: str | None
    server_id: str
    epoch: str
    server_seq: int | None


@dataclass
class Reader:
    """Follows the log of one server. `on_page` and `on_resume` hear of each answer as it comes."""

    machine: Machine
    server_url: str
    token: Callable[[], str]
    on_page: Callable[[Seen], None] = lambda _: None
    on_resume: Callable[[Resumed], None] = lambda _: None
    cursor: str | None = None
    have: dict[str, Operation] = field(default_factory=dict)

    async def pull(self, limit: int = 100, wait_s: int = 0) -> bool:
        """One page; whether there is more. A cursor of another epoch leads to a resume by what it has."""
        raise NotImplementedError

    async def stream(self, seconds: float) -> None:
        """Follow the stream for so long."""
        raise NotImplementedError


@dataclass
class Pusher:
    """A device that somebody else wrote: it makes ops and pushes them itself, signed or not."""

    machine: Machine
    server_url: str
    on_answer: Callable[[Answered], None] = lambda _: None
    on_op: Callable[[Operation], None] = lambda _: None
    clinic_id: str = ""
    device_id: str = ""
    user_id: str = ""
    token: str = ""

    async def enrol(self, code: str, email: str, password: str) -> None:
        raise NotImplementedError

    def make(self, entity_type: str, payload: dict[str, Any], **envelope: Any) -> Operation:
        """The next op of this device, not pushed yet."""
        raise NotImplementedError

    async def push(self, ops: Sequence[Operation] | None = None) -> list[Answered]:
        """Push these, or all that no server has taken yet."""
        raise NotImplementedError
