"""A runbook's commands, as they stand in its document: taken out, filled in, run."""

from __future__ import annotations

import re
import shlex
import string
from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "runbooks"
_BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


class Runbook:
    """The commands of one document, in their order; each is taken once, by how it begins."""

    def __init__(self, name: str) -> None:
        text = (FOLDER / name).read_text("utf-8")
        self._left = [
            line.strip() for block in _BLOCK.findall(text) for line in block.splitlines() if line.strip()
        ]

    def take(self, begins: str, values: Mapping[str, object]) -> list[str]:
        """The words of the next command, which must begin so, with these values for its variables."""
        line = self._left.pop(0)
        assert line.startswith(begins), f"{line!r} is next, not {begins!r}"
        return shlex.split(
            string.Template(line).substitute({name: str(value) for name, value in values.items()})
        )

    def assert_done(self) -> None:
        """No command was left out."""
        assert self._left == []
