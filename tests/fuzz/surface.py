"""What a surface is: a place where bytes of somebody else come in, the real code that takes them, and what it promised.

A harness calls that code with any bytes and says in a word what came of it. It raises `Wrong` where a promise did not
hold; whatever else comes out of it is a finding too, since the refusals that are documented were caught in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from re import DOTALL, findall
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
CORPUS: Final = Path(__file__).parent / "corpus"
MIB: Final = 1 << 20


class Wrong(Exception):
    """What was promised of this input and is not so. The first argument names the promise, the others what was met."""


@dataclass(frozen=True, slots=True)
class Surface:
    """One place. `take` gets an input and says what came of it; `seeds` are inputs to begin with.

    `is_json`: inputs are changed member by member too, not only byte by byte. The bounds are those of one input.
    `short_run`: how many inputs the tests give it.
    """

    name: str
    what: str
    take: Callable[[bytes], str]
    seeds: Callable[[], Sequence[bytes]]
    is_json: bool = True
    bytes_max: int = 4_096
    cpu_s_max: float = 0.1
    memory_bytes_max: int = 64 * MIB
    short_run: int = 300


@cache
def documented() -> tuple[bytes, ...]:
    """The examples of the protocol's document: its blocks of JSON, and the objects in its text."""
    text = (ROOT / "docs" / "protocol.md").read_text("utf-8")
    blocks = findall(r"```json\n(.*?)```", text, DOTALL)
    inline = [piece for piece in findall(r"`(\{[^`\n]*\})`", text) if '"' in piece]
    return tuple(piece.replace("…", "").encode() for piece in [*blocks, *inline])


def holds(promise: str, truth: object, *met: object) -> None:
    """Wrong where that is not so."""
    if not truth:
        raise Wrong(promise, *(repr(one)[:200] for one in met))
