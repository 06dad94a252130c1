"""A stream that comes as dcz (RFC 9842): its header, then frames that use the dictionary, each decoded as it comes."""

from __future__ import annotations

import base64
import hashlib
from typing import Final

import zstandard

from medxz import limits
from medxz.errors import PeerUnreachable
from medxz.peer.codings import DCZ_MAGIC

SLICE_BYTES: Final = 4 * limits.KIB
INFLATED_SLICE_BYTES_MAX: Final = 32 * limits.MIB


def wanted(dictionary: bytes) -> dict[str, str]:
    """The headers that ask for it."""
    name = base64.b64encode(hashlib.sha256(dictionary).digest()).decode()
    return {"Accept-Encoding": "dcz", "Available-Dictionary": f":{name}:"}


class Frames:
    """Bytes in, bytes out. PeerUnreachable where they are not dcz by this dictionary."""

    def __init__(self, dictionary: bytes) -> None:
        self._header = DCZ_MAGIC + hashlib.sha256(dictionary).digest()
        self._rest = b""
        self._is_begun = False
        self._frames = zstandard.ZstdDecompressor(
            dict_data=zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT),
            max_window_size=limits.ZSTD_WINDOW_BYTES_MAX,
        ).decompressobj(read_across_frames=True)

    def feed(self, chunk: bytes) -> bytes:
        if not self._is_begun:
            self._rest += chunk
            if len(self._rest) < len(self._header):
                return b""
            if not self._rest.startswith(self._header):
                raise PeerUnreachable("the stream is not in the coding that it says")
            self._is_begun, chunk = True, self._rest[len(self._header) :]
        return b"".join(
            self._decoded(chunk[at : at + SLICE_BYTES]) for at in range(0, len(chunk), SLICE_BYTES)
        )

    def _decoded(self, piece: bytes) -> bytes:
        try:
            text = self._frames.decompress(piece)
        except zstandard.ZstdError:
            raise PeerUnreachable("the stream does not decompress") from None
        if len(text) > INFLATED_SLICE_BYTES_MAX:
            raise PeerUnreachable("the stream inflates beyond its bounds")
        return text
