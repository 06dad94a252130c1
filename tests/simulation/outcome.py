"""What is asked of a process that runs worlds, and what it answers: one JSON line each way."""

from __future__ import annotations

import msgspec


class Asked(msgspec.Struct, frozen=True):
    """A world to be run. `keep`: the numbers of the only steps that are tried; `bug`: which one is planted in it."""

    seed: int
    steps: int | None = None
    keep: tuple[int, ...] | None = None
    bug: str | None = None
    trace: bool = False


class Failure(msgspec.Struct, frozen=True):
    """What did not hold. `checker`: which of the six, or `liveness`, `hang`, `harness`."""

    checker: str
    what: str


class Outcome(msgspec.Struct, frozen=True):
    """How a world ended. `done`: how often each kind of step was really carried out; `felt`: how often a program met what it did."""

    seed: int
    failure: Failure | None
    fingerprint: str
    steps: tuple[int, ...]
    told: tuple[str, ...]
    done: dict[str, int]
    felt: dict[str, int]
    ops: int
    virtual_s: float
    cpu_s: float
    trace: tuple[str, ...] = ()
