"""A write-ahead log as it lies there: which frames SQLite will take, and which were committed all the same.

SQLite takes frames up to the first whose checksum does not fit and passes over the rest in silence: that is right for
what a power cut tore, and loses what was acknowledged where a byte was flipped.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_HEADER_BYTES: Final = 32
_FRAME_BYTES: Final = 24
_PAGE_BYTES: Final = 4_096
_MAGIC: Final = 0x377F0682  # and one more where checksums are of big-endian words
_MASK: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Frame:
    """A page in it: its number, where its bytes begin, whether it is of now, whether it ends a transaction."""

    number: int
    offset: int
    is_current: bool
    commits: bool


@dataclass(frozen=True, slots=True)
class Wal:
    """Its frames since it last began anew. SQLite takes the first `taken`; the first `committed` end with a commit."""

    frames: tuple[Frame, ...]
    taken: int

    @property
    def committed(self) -> int:
        return max((at for at, frame in enumerate(self.frames, 1) if frame.commits), default=0)

    @property
    def passed_over(self) -> tuple[Frame, ...]:
        """What was committed, by its looks, and is not taken."""
        return self.frames[self.taken : self.committed]


def read_wal(path: Path) -> Wal | None:
    """None where there is nothing in it."""
    data = path.read_bytes() if path.exists() else b""
    if len(data) < _HEADER_BYTES + _FRAME_BYTES + _PAGE_BYTES:
        return None
    magic, _, _, _, salt1, salt2, sum1, sum2 = struct.unpack_from(">8I", data)
    order = ">" if magic & 1 else "<"
    sums = _checksum(order, data[: _HEADER_BYTES - 8], (0, 0))
    is_sound = magic & ~1 == _MAGIC and sums == (sum1, sum2)
    salts = (salt1, salt2) if is_sound else struct.unpack_from(">2I", data, _HEADER_BYTES + 8)
    frames: list[Frame] = []
    taken = 0
    for at in range(_HEADER_BYTES, len(data) - _FRAME_BYTES - _PAGE_BYTES + 1, _FRAME_BYTES + _PAGE_BYTES):
        number, size, *own, sum1, sum2 = struct.unpack_from(">6I", data, at)
        if is_sound:
            sums = _checksum(order, data[at : at + 8], sums)
            sums = _checksum(order, data[at + _FRAME_BYTES : at + _FRAME_BYTES + _PAGE_BYTES], sums)
            is_sound = tuple(own) == tuple(salts) and sums == (sum1, sum2) and number != 0
        is_current = tuple(own) == tuple(salts)
        frames.append(Frame(number, at + _FRAME_BYTES, is_current, bool(size) and is_current))
        if is_sound and size:
            taken = len(frames)
    return Wal(tuple(frames), taken)


def _checksum(order: str, data: bytes, sums: tuple[int, int]) -> tuple[int, int]:
    first, second = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & _MASK
        second = (second + odd + first) & _MASK
    return first, second
