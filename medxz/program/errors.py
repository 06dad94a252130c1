"""What a program's commands end with when they can't do what was asked: a line, and the way out."""

from __future__ import annotations

from medxz.errors import MedxzError


class CommandFailed(MedxzError):
    """A command that could not be done. The hint says what to do."""

    def __init__(self, message: str, hint: str, code: str = "failed") -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code
