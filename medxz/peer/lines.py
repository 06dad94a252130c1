"""A snapshot as it arrives: its first line, and then the lines of its entities, in parts of a bounded size.

Refused: a part that inflates beyond its bounds, a line that is too long, and a snapshot that was cut short: the first
line says how many follow.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import IO, Final, Protocol, cast

import msgspec
import zstandard

from medxz import limits
from medxz.errors import PeerUnreachable
from medxz.replicate import SnapshotHead, SnapshotPart

PART_BYTES: Final = limits.MIB
LINE_BYTES_MAX: Final = 64 * limits.MIB
RAW_SLICE_BYTES: Final = 16 * limits.KIB
INFLATED_SLICE_BYTES_MAX: Final = 32 * limits.MIB


async def read_snapshot(coding: str, chunks: AsyncIterator[bytes]) -> AsyncGenerator[SnapshotPart, None]:
    """The parts of a snapshot: the first has its head and no lines."""
    splitter = _Splitter()
    inflating = _inflating(coding)
    head: SnapshotHead | None = None
    count = 0
    async for chunk in chunks:
        for start in range(0, len(chunk), RAW_SLICE_BYTES):
            splitter.feed(_inflated(inflating, chunk[start : start + RAW_SLICE_BYTES]))
            if head is None and (line := splitter.first()) is not None:
                head = _head(line)
                yield SnapshotPart(head, [])
            if head is not None and splitter.held >= PART_BYTES:
                lines = splitter.take()
                count += len(lines)
                yield SnapshotPart(head, lines)
    lines = splitter.take()
    if head is None or not inflating.is_complete or splitter.rest or count + len(lines) != head.entities:
        raise PeerUnreachable("the snapshot was cut short")
    if lines:
        yield SnapshotPart(head, lines)


def _head(line: bytes) -> SnapshotHead:
    try:
        return msgspec.json.decode(line, type=SnapshotHead)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise PeerUnreachable("the snapshot is not in this protocol") from None


def _inflated(inflating: _Inflating, data: bytes) -> bytes:
    try:
        return inflating.inflate(data)
    except (zlib.error, zstandard.ZstdError):
        raise PeerUnreachable("the snapshot does not decompress") from None


class _Splitter:
    """Bytes in, whole lines out."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._lines: list[bytes] = []
        self._rest_bytes = 0
        self.held = 0

    @property
    def rest(self) -> bool:
        """Whether there is the beginning of a line that has not ended."""
        return self._rest_bytes > 0

    def feed(self, data: bytes) -> None:
        first, *others = data.split(b"\n")
        self._pieces.append(first)
        self._rest_bytes += len(first)
        if self._rest_bytes > LINE_BYTES_MAX:
            raise PeerUnreachable(f"a line of the snapshot has more than {LINE_BYTES_MAX} bytes")
        if others:
            *whole, last = others
            self._lines.append(b"".join(self._pieces))
            self._lines += whole
            self.held += len(data) + self._rest_bytes
            self._pieces, self._rest_bytes = [last], len(last)

    def first(self) -> bytes | None:
        return self._lines.pop(0) if self._lines else None

    def take(self) -> list[bytes]:
        lines, self._lines, self.held = self._lines, [], 0
        return lines


class _Inflating(Protocol):
    @property
    def is_complete(self) -> bool: ...
    def inflate(self, data: bytes) -> bytes: ...


class _Plain:
    is_complete = True

    def inflate(self, data: bytes) -> bytes:
        return data


class _Gzip:
    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(wbits=31)

    @property
    def is_complete(self) -> bool:
        return self._inflater.eof

    def inflate(self, data: bytes) -> bytes:
        inflated = self._inflater.decompress(data, INFLATED_SLICE_BYTES_MAX)
        if self._inflater.unconsumed_tail:
            raise PeerUnreachable("the snapshot inflates beyond its bounds")
        return inflated


class _Zstd:
    """A frame that is not whole is found by the count of lines."""

    is_complete = True

    def __init__(self) -> None:
        self._sink = _Sink()
        inflater = zstandard.ZstdDecompressor(max_window_size=limits.ZSTD_WINDOW_BYTES_MAX)
        self._writer = inflater.stream_writer(cast("IO[bytes]", self._sink))

    def inflate(self, data: bytes) -> bytes:
        self._writer.write(data)
        return self._sink.take()


class _Sink:
    """Where a decompressor writes to, piece by piece."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._held = 0

    def write(self, data: bytes) -> int:
        self._held += len(data)
        if self._held > INFLATED_SLICE_BYTES_MAX:
            raise PeerUnreachable("the snapshot inflates beyond its bounds")
        self._pieces.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        pieces, self._pieces, self._held = self._pieces, [], 0
        return b"".join(pieces)


def _inflating(coding: str) -> _Inflating:
    match coding.strip().lower():
        case "" | "identity":
            return _Plain()
        case "gzip":
            return _Gzip()
        case "zstd":
            return _Zstd()
        case _:
            raise PeerUnreachable(f"the snapshot is in a coding that was not asked for: {coding[:20]}")
