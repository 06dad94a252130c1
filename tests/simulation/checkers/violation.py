"""What a checker says when something is not as it was promised."""

from __future__ import annotations

from collections.abc import Iterable

OPS_SHOWN = 6


class Violation(AssertionError):
    """A promise was broken. `checker` is its number, `ops` are those that it is about."""

    def __init__(self, checker: int, what: str, ops: Iterable[str] = ()) -> None:
        self.checker = checker
        self.what = what
        self.ops = sorted(set(ops))
        shown = ", ".join(self.ops[:OPS_SHOWN]) + (" …" if len(self.ops) > OPS_SHOWN else "")
        super().__init__(f"checker {checker}: {what}" + (f" ({len(self.ops)}: {shown})" if self.ops else ""))

    def because(self, why: str) -> Violation:
        """The same, with what was seen before it."""
        return Violation(self.checker, f"{self.what}; {why}", self.ops)
