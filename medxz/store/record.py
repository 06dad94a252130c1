"""How an op lies in its row: the very bytes that a reader gets, compressed with a dictionary of the log.

A record is `{"server_seq":…,"server_received_at":…,` and the op's own members, with the comma that stands between it
and the next: records put one behind the other are a page. It lies in its row as one zstd frame without magic, with
its length and its checksum, so that a page is read from the file as one joined value, inflated and checked in one
call that lets go of the interpreter lock, and sent.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any, Final

import msgspec
import zstandard

from medxz import limits
from medxz.errors import RowCorrupt
from medxz.ids import uuid_bytes
from medxz.op import Operation
from medxz.store.cipher import Blob

MAGIC: Final = zstandard.FRAME_HEADER
# What lies in a log is taken as it is: it was lawful when it came, whatever the rules of today say.
stored_op: Final = msgspec.json.Decoder(Operation).decode
_OP_ID: Final = b'"op_id":"'
_LEVEL: Final = 3
# Tables half and a quarter as large as the level has them: 6 % less time and 0.15 % more bytes.
_HASH_LOG: Final = 15
_CHAIN_LOG: Final = 13
_LONG_FRAME: Final = 0x80  # what the first byte of a frame is at least whose record has 64 KiB or more
_LONG_FRAMES_MAX: Final = limits.PULL_PAGE_BYTES_MAX // limits.OP_BYTES_MAX
_USUAL_BYTES: Final = 4_096  # of a record, at the most: what the tables are made for


def render(seq: int, received_at: bytes, text: bytes) -> bytes:
    """The record of an op; `text` is its JSON without the opening brace."""
    return b'{"server_seq":%d,"server_received_at":"%b",%b,' % (seq, received_at, text)


def text_of(record: bytes) -> bytes:
    """The op's own JSON without the opening brace: what its author sent."""
    return record[record.index(b'Z",') + 3 : -1]


def op_json_of(record: bytes) -> bytes:
    """The record as a JSON object."""
    return record[:-1]


def op_id_of(record: bytes) -> bytes:
    """The op's id: nearly always it stands first."""
    at = record.index(b'Z",') + 3
    if record.startswith(_OP_ID, at):
        at += len(_OP_ID)
        return uuid_bytes(record[at : at + 36].decode())
    return uuid_bytes(stored_op(op_json_of(record)).op_id)


def page_of(records: Sequence[bytes]) -> bytes:
    """Records as a JSON array: all but the last with their comma."""
    return b"".join((b"[", *records[:-1], op_json_of(records[-1]), b"]")) if records else b"[]"


class Codec:
    """Compression of many records in one call, with one dictionary."""

    def __init__(self, dictionary: bytes) -> None:
        self._data = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_FULLDICT)
        self._decompressor = zstandard.ZstdDecompressor(dict_data=self._data)

    @cached_property
    def _compressor(self) -> zstandard.ZstdCompressor:
        """Made for the dictionary that is written with; the older ones are only read."""
        parameters = zstandard.ZstdCompressionParameters.from_level(
            _LEVEL, source_size=_USUAL_BYTES, dict_size=len(self._data), hash_log=_HASH_LOG, chain_log=_CHAIN_LOG,
            format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_dict_id=False, write_checksum=True,
            write_content_size=True,
        )  # fmt: skip
        self._data.precompute_compress(compression_params=parameters)
        return zstandard.ZstdCompressor(dict_data=self._data, compression_params=parameters)

    def compress(self, records: Sequence[bytes]) -> list[bytearray]:
        if len(records) < 2:
            return [Blob(self._compressor.compress(record)) for record in records]
        frames: Any = self._compressor.multi_compress_to_buffer(list(records), threads=0)
        return [Blob(frames[index]) for index in range(len(frames))]

    def inflate(self, joined: bytes, lengths: Sequence[int]) -> list[bytes]:
        """Records from frames that were joined with the magic between them; RowCorrupt where one is damaged."""
        records = self._inflate(MAGIC + joined, *_places(lengths))
        return [records[index].tobytes() for index in range(len(records))]

    def inflate_page(self, joined: bytes, lengths: Sequence[int]) -> tuple[bytes, bytes] | None:
        """The same as a JSON array, and the last record; None where so many frames say that they are long that it
        may be no page.
        """
        starts, sizes = _places(lengths)
        firsts = [joined[start] for start in starts]
        if max(firsts) >= _LONG_FRAME and sum(first >= _LONG_FRAME for first in firsts) > _LONG_FRAMES_MAX:
            return None
        records = self._inflate(MAGIC + joined, starts, sizes)
        last = len(records) - 1
        buffers: list[Any] = [records[index] for index in range(last)]  # the stubs don't say that they are
        end = records[last].tobytes()
        return b"".join((b"[", *buffers, op_json_of(end), b"]")), end

    def _inflate(
        self, frames: bytes, starts: Sequence[int], sizes: Sequence[int]
    ) -> zstandard.BufferWithSegmentsCollection:
        segments = [0] * (2 * len(starts))
        segments[::2], segments[1::2] = starts, sizes
        try:
            return self._decompressor.multi_decompress_to_buffer(
                zstandard.BufferWithSegments(frames, struct.pack(f"={len(segments)}Q", *segments)), threads=0
            )
        except (zstandard.ZstdError, ValueError) as error:
            raise RowCorrupt(str(error)) from None


def _places(lengths: Sequence[int]) -> tuple[list[int], list[int]]:
    """Where each frame begins, and how long it is, when each has its magic before it."""
    sizes = [length + len(MAGIC) for length in lengths]
    return list(accumulate(sizes[:-1], initial=0)), sizes
