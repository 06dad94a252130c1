"""How an op lies in its row: a short head, and its JSON compressed with the log's dictionary.

    44 bits  time of receipt, milliseconds since 1970
    20 bits  length of the text
    12 bits  the dictionary's number
    20 bits  length of the frame
    32 bits  CRC-32 over op_id, server_seq, all of the above and the frame
    frame    the op's JSON without its opening brace, as one zstd frame without magic and content size

The lengths make records self-delimiting, so that a page is read as one joined value and inflated in one call that
lets go of the interpreter lock. The text lacks its opening brace because a reader puts the server's two fields in
front.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from collections.abc import Sequence
from typing import Final

import zstandard

from medxz.clock import format_time
from medxz.errors import RowCorrupt
from medxz.limits import OP_BYTES_MAX

HEAD: Final = struct.Struct(">QII")
_LENGTH_BITS: Final = 20
_LENGTH_MASK: Final = (1 << _LENGTH_BITS) - 1
_LEVEL: Final = 3
_MAGICLESS: Final = zstandard.FORMAT_ZSTD1_MAGICLESS
_MAGIC: Final = zstandard.FRAME_HEADER  # of no use in a row, but reading many at once wants it
_SEAL: Final = struct.Struct(">16sQQI")
assert OP_BYTES_MAX < 1 << _LENGTH_BITS


class Codec:
    """Compression with one dictionary, of many texts in one call."""

    def __init__(self, number: int, dictionary: bytes) -> None:
        self.number = number
        data = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_FULLDICT)
        parameters = zstandard.ZstdCompressionParameters.from_level(
            _LEVEL, format=_MAGICLESS, write_dict_id=False, write_checksum=False, write_content_size=False
        )
        data.precompute_compress(compression_params=parameters)
        self._compressor = zstandard.ZstdCompressor(dict_data=data, compression_params=parameters)
        self._decompressor = zstandard.ZstdDecompressor(dict_data=data)

    def compress(self, texts: Sequence[bytes]) -> list[bytes]:
        if len(texts) < 2:
            return [self._compressor.compress(text) for text in texts]
        segments = self._compressor.multi_compress_to_buffer(list(texts), threads=0)
        return [segments[index].tobytes() for index in range(len(segments))]

    def decompress(self, frames: list[bytes], lengths: list[int]) -> list[bytes]:
        """Texts of known lengths; RowCorrupt where a frame is not one."""
        try:
            segments = self._decompressor.multi_decompress_to_buffer(
                [_MAGIC + frame for frame in frames],
                decompressed_sizes=array("Q", lengths).tobytes(),
                threads=0,
            )
        except zstandard.ZstdError as error:
            raise RowCorrupt(f"a record of the log does not inflate: {error}") from None
        return [segments[index].tobytes() for index in range(len(segments))]


def seal(codec: int, op_id: bytes, seq: int, received_ms: int, text_length: int, frame: bytes) -> bytes:
    """The record of one op."""
    times = received_ms << _LENGTH_BITS | text_length
    lengths = codec << _LENGTH_BITS | len(frame)
    return (
        HEAD.pack(times, lengths, zlib.crc32(frame, zlib.crc32(_SEAL.pack(op_id, seq, times, lengths))))
        + frame
    )


class OpenedRecords:
    """The records of a page, opened: `texts` as they were compressed, and when each was received."""

    __slots__ = ("received_ms", "texts")

    def __init__(self, texts: list[bytes], received_ms: list[int]) -> None:
        self.texts = texts
        self.received_ms = received_ms


def open_records(
    codecs: dict[int, Codec], joined: bytes, op_ids: bytes, seqs: Sequence[int]
) -> OpenedRecords:
    """Open records that stand one behind the other; RowCorrupt at the first whose checksum does not fit."""
    frames: list[bytes] = []
    text_lengths: list[int] = []
    times: list[int] = []
    codec_numbers: list[int] = []
    at, head_bytes, unpack, crc32, pack = 0, HEAD.size, HEAD.unpack_from, zlib.crc32, _SEAL.pack
    for index, seq in enumerate(seqs):
        if len(joined) < at + head_bytes:
            raise RowCorrupt(f"server_seq {seq} of the log is damaged: its record is cut short")
        moment, lengths, crc = unpack(joined, at)
        at += head_bytes
        frame = joined[at : (at := at + (lengths & _LENGTH_MASK))]
        if crc != crc32(frame, crc32(pack(op_ids[16 * index : 16 * index + 16], seq, moment, lengths))):
            raise RowCorrupt(f"server_seq {seq} of the log is damaged: its checksum does not fit")
        frames.append(frame)
        text_lengths.append(moment & _LENGTH_MASK)
        times.append(moment >> _LENGTH_BITS)
        codec_numbers.append(lengths >> _LENGTH_BITS)
    return OpenedRecords(_inflate(codecs, frames, text_lengths, codec_numbers), times)


def _inflate(
    codecs: dict[int, Codec], frames: list[bytes], lengths: list[int], numbers: list[int]
) -> list[bytes]:
    if not frames:
        return []
    if numbers.count(numbers[0]) == len(numbers):
        return codecs[numbers[0]].decompress(frames, lengths)
    texts: list[bytes] = []
    for frame, length, number in zip(
        frames, lengths, numbers, strict=True
    ):  # two dictionaries on one page: rare
        texts += codecs[number].decompress([frame], [length])
    return texts


def render(texts: Sequence[bytes], seqs: Sequence[int], received_ms: Sequence[int]) -> bytes:
    """Ops as the members of a JSON array, each with the server's two fields in front."""
    stamps: dict[int, bytes] = {}
    members = []
    for text, seq, moment_ms in zip(texts, seqs, received_ms, strict=True):
        stamp = stamps.get(moment_ms)
        if stamp is None:
            stamp = stamps[moment_ms] = format_time(moment_ms).encode()
        members.append(b'{"server_seq":%d,"server_received_at":"%b",%b' % (seq, stamp, text))
    return b",".join(members)
