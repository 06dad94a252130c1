"""Versions of the software: which of two is the newer one.

`1.4.0`, `1.4.0-rc.2`, `1.4.0+build`: one to four numbers, what comes before the finished one, and what is not compared.
Refused: everything else, since a version that can't be compared can't be told from a step back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering
from typing import Final

VERSION_CHARS_MAX: Final = 64
VERSION_PATTERN: Final = (
    r"[0-9]{1,6}(?:\.[0-9]{1,6}){0,3}(?:-[0-9A-Za-z]+(?:\.[0-9A-Za-z]+)*)?(?:\+[0-9A-Za-z.]+)?"
)
_VERSION: Final = re.compile(VERSION_PATTERN)


@total_ordering
@dataclass(frozen=True, slots=True, eq=False)
class Version:
    """One version; equal to another where neither is newer."""

    text: str
    numbers: tuple[int, ...]
    before: tuple[tuple[int, int, str], ...]

    @classmethod
    def read(cls, text: str) -> Version:
        """ValueError where it is none."""
        if len(text) > VERSION_CHARS_MAX or _VERSION.fullmatch(text) is None:
            raise ValueError("a version is written as 1.4.0 or 1.4.0-rc.1")
        main, _, before = text.partition("+")[0].partition("-")
        numbers = [int(part) for part in main.split(".")]
        return cls(
            text, (*numbers, *[0] * (4 - len(numbers))), tuple(map(_rank, filter(None, before.split("."))))
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._order == other._order

    def __lt__(self, other: Version) -> bool:
        return self._order < other._order

    def __hash__(self) -> int:
        return hash(self._order)

    def __str__(self) -> str:
        return self.text

    @property
    def _order(self) -> tuple[tuple[int, ...], bool, tuple[tuple[int, int, str], ...]]:
        return (
            self.numbers,
            not self.before,
            self.before,
        )  # the finished one comes after its release candidates


def _rank(part: str) -> tuple[int, int, str]:
    """Numbers before words, as semantic versioning has it."""
    return (0, int(part), "") if part.isdecimal() else (1, 0, part)
