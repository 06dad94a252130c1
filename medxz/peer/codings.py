"""How bodies are sent to a server: plain, zstd, or dcz (RFC 9842) with a dictionary that both sides have.

The parameters are chosen for many short ops that are alike: what they gain is worth a few microseconds an op, on a
link that is paid by the byte as in a room where the air is shared. A server that refuses a coding is offered the next
simpler one, and is not asked again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final, Literal

import zstandard

from medxz.limits import COMPRESS_BYTES_MIN

Coding = Literal["dcz", "zstd"]

DCZ_MAGIC: Final = bytes.fromhex("5e2a4d1820000000")
COMPRESS_OP_BYTES_MIN: Final = COMPRESS_BYTES_MIN // 2  # a single op gains from the dictionary

_PARAMETERS: Final = {
    "window_log": 19, "chain_log": 18, "hash_log": 17, "search_log": 4, "min_match": 5, "target_length": 64,
    "strategy": zstandard.STRATEGY_LAZY2, "write_content_size": True, "write_checksum": True,
}  # fmt: skip


class Codings:
    """The codings that one server takes, as far as it has said. Not for two threads at once."""

    def __init__(self) -> None:
        self._takes_zstd = True
        self._dictionary: bytes | None = None
        self._compressors: dict[Coding, zstandard.ZstdCompressor] = {}
        self.is_told = False

    def named(self, dictionary_ids: Iterable[str]) -> None:
        """The server names these dictionaries: is one of them here?"""
        from medxz.store.dictionaries import shipped_dictionary  # what never pushes never loads it

        self.is_told = True
        ours = shipped_dictionary()
        self._dictionary = ours if hashlib.sha256(ours).hexdigest() in set(dictionary_ids) else None
        self._compressors.pop("dcz", None)

    @property
    def dictionary(self) -> tuple[str, bytes] | None:
        """The dictionary that both sides have, behind its name."""
        if self._dictionary is None:
            return None
        return hashlib.sha256(self._dictionary).hexdigest(), self._dictionary

    def best(self, body: bytes) -> Coding | None:
        """What to send this body in."""
        if len(body) < COMPRESS_OP_BYTES_MIN:
            return None
        return "dcz" if self._dictionary is not None else "zstd" if self._takes_zstd else None

    def refused(self, coding: Coding) -> None:
        """The server takes no such coding, or not with this dictionary."""
        if coding == "dcz":
            self._dictionary = None
        else:
            self._takes_zstd = False

    def encode(self, coding: Coding, body: bytes) -> bytes:
        if coding not in self._compressors:
            self._compressors[coding] = self._compressor(coding)
        packed = self._compressors[coding].compress(body)
        return packed if coding == "zstd" else self._dcz_header() + packed

    def _compressor(self, coding: Coding) -> zstandard.ZstdCompressor:
        parameters = zstandard.ZstdCompressionParameters(**_PARAMETERS)
        if coding == "zstd" or self._dictionary is None:
            return zstandard.ZstdCompressor(compression_params=parameters)
        dictionary = zstandard.ZstdCompressionDict(self._dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        return zstandard.ZstdCompressor(dict_data=dictionary, compression_params=parameters)

    def _dcz_header(self) -> bytes:
        assert self._dictionary is not None
        return DCZ_MAGIC + hashlib.sha256(self._dictionary).digest()
