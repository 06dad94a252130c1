"""A command on a terminal of its own, as a person sits before it: what it says, what is typed."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from tests.system.hub_process import DEADLINE_S, environment


class Terminal:
    """`with Terminal(command) as t: t.until("password"); t.type("…"); assert t.ended() == 0`."""

    def __init__(self, command: Sequence[object]) -> None:
        self._screen, other = pty.openpty()
        self.said = ""
        try:
            self._process = subprocess.Popen(
                ["setsid", "--ctty", *map(str, command)],
                env=environment({"TERM": "dumb"}), stdin=other, stdout=other, stderr=other,
            )  # fmt: skip
        finally:
            os.close(other)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait(DEADLINE_S)
        os.close(self._screen)

    def until(self, text: str) -> None:
        """Wait until this stands there."""
        deadline = time.monotonic() + DEADLINE_S
        while text not in self.said:
            assert self._read(deadline), f"{text!r} never came: {self.said!r}"

    def type(self, line: str) -> None:
        os.write(self._screen, f"{line}\n".encode())

    def ended(self) -> int:
        """The command's status, once it has ended."""
        deadline = time.monotonic() + DEADLINE_S
        while self._read(deadline):
            pass
        return self._process.wait(DEADLINE_S)

    def _read(self, deadline: float) -> bool:
        """Some of what is said; False at the end."""
        ready, _, _ = select.select([self._screen], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"it neither says anything nor ends: {self.said!r}"
        try:
            some = os.read(self._screen, 4_096)
        except OSError:  # nobody holds the other side any more
            return False
        self.said += some.decode().replace("\r\n", "\n")
        return bool(some)
