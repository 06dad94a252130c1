"""The live line: how single pushes travel between a hub and its cloud, where a request's head costs more than its op.

A WebSocket at `LIVE_PATH`, each way one zstd stream over all its messages, which begins with the dictionary that the
query names: what an op has in common with those before it is not sent again. A message is a push's body as JSON, its
answer that push's answer, each behind the CRC-32 of its text; a text message is a problem document in place of one.
Refused: a message that is longer than its bound, packed or not, or other than it was packed. Nothing here is durable:
whoever loses the line pushes as always.
"""

from __future__ import annotations

import zlib
from typing import Final

import zstandard

from medxz import limits

LIVE_PATH: Final = "/v1/sync/live"
UP_WINDOW_LOG: Final = 17
DOWN_WINDOW_LOG: Final = 14

# chosen on many short ops that are alike: past these every microsecond buys less than a byte
_UP: Final = {
    "window_log": UP_WINDOW_LOG, "chain_log": 16, "hash_log": 16, "search_log": 4, "min_match": 5,
    "target_length": 32, "strategy": zstandard.STRATEGY_LAZY2,
}  # fmt: skip
_DOWN: Final = {
    "window_log": DOWN_WINDOW_LOG, "chain_log": 12, "hash_log": 12, "search_log": 2, "min_match": 4,
    "strategy": zstandard.STRATEGY_GREEDY,
}  # fmt: skip
# four bytes can stand for a block of 128 KiB: so much is unpacked at a time before the bound is looked at
_STEP_BYTES: Final = 128
_SUM_BYTES: Final = 4


class BrokenLine(Exception):
    """What came is not what the other end packed, or more than it may."""


class Packer:
    """One direction's messages, packed in their order."""

    def __init__(self, dictionary: bytes, *, up: bool) -> None:
        parameters = zstandard.ZstdCompressionParameters(**(_UP if up else _DOWN), write_content_size=False)
        self._stream = zstandard.ZstdCompressor(
            dict_data=zstandard.ZstdCompressionDict(dictionary), compression_params=parameters
        ).compressobj()

    def pack(self, text: bytes) -> bytes:
        packed = self._stream.compress(text) + self._stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        return zlib.crc32(text).to_bytes(_SUM_BYTES, "big") + packed


class Unpacker:
    """The other end of it."""

    def __init__(self, dictionary: bytes, *, up: bool) -> None:
        window = 1 << (UP_WINDOW_LOG if up else DOWN_WINDOW_LOG)
        self._stream = zstandard.ZstdDecompressor(
            dict_data=zstandard.ZstdCompressionDict(dictionary), max_window_size=window
        ).decompressobj()

    def unpack(self, packed: bytes, text_bytes_max: int = limits.LIVE_TEXT_BYTES_MAX) -> bytes:
        """The message; BrokenLine ends the line."""
        parts: list[bytes] = []
        room = text_bytes_max
        try:
            for at in range(_SUM_BYTES, len(packed), _STEP_BYTES):
                part = self._stream.decompress(packed[at : at + _STEP_BYTES])
                room -= len(part)
                if room < 0:
                    raise BrokenLine(f"a message has more than {text_bytes_max} bytes")
                parts.append(part)
        except zstandard.ZstdError:
            raise BrokenLine("a message does not unpack") from None
        if self._stream.eof:
            raise BrokenLine("the stream of messages has ended")
        text = b"".join(parts)
        if zlib.crc32(text).to_bytes(_SUM_BYTES, "big") != packed[:_SUM_BYTES]:
            raise BrokenLine("a message is not what was packed")
        return text
