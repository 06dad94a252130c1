"""The content codings of HTTP bodies: gzip, zstd, and dcz (RFC 9842), both ways.

Pure: bytes in, bytes out, and never more out than was asked for. It refuses what is cut short, what goes on after
its end, and what wants a larger window than RFC 9659 lets a zstd body have. It knows nothing of requests.

A dcz body is the skippable frame `DCZ_MAGIC` + SHA-256 of the dictionary, then zstd frames that use the dictionary
as raw content, whatever its own format is.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from dataclasses import dataclass
from typing import Final, Protocol

import zstandard

from medxz import limits
from medxz.errors import BadJson, TooLarge

CODINGS: Final = ("zstd", "gzip", "dcz")
DCZ_MAGIC: Final = bytes.fromhex("5e2a4d1820000000")
DCZ_HEADER_BYTES: Final = len(DCZ_MAGIC) + 32

_ZSTD_LEVEL: Final = 3
_GZIP_LEVEL: Final = 5
_GZIP_WBITS: Final = 16 + zlib.MAX_WBITS
# a zstd block of 4 bytes gives 128 KiB at most: so much input overshoots a limit by 16 MiB at most
_STEP_BYTES: Final = 512


@dataclass(frozen=True, slots=True)
class Dictionary:
    """Bytes that both sides have, named by their SHA-256 in hex."""

    id: str
    raw: zstandard.ZstdCompressionDict

    @classmethod
    def of(cls, dictionary_id: str, content: bytes) -> Dictionary:
        return cls(
            dictionary_id,
            zstandard.ZstdCompressionDict(content, dict_type=zstandard.DICT_TYPE_RAWCONTENT),
        )

    def dcz_header(self) -> bytes:
        return DCZ_MAGIC + bytes.fromhex(self.id)


class Decoder(Protocol):
    """What zlib and zstandard have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...


def dcz_dictionary_id(body: bytes) -> str:
    """The dictionary that a dcz body wants; BadJson where it is no dcz body."""
    if len(body) < DCZ_HEADER_BYTES or not body.startswith(DCZ_MAGIC):
        raise BadJson("the body is not dcz: it does not begin with the header of RFC 9842")
    return body[len(DCZ_MAGIC) : DCZ_HEADER_BYTES].hex()


def declared_bytes(coding: str, body: bytes) -> int | None:
    """What a zstd body says it holds; None where it does not say."""
    if coding == "gzip":
        return None
    try:
        size = zstandard.get_frame_parameters(
            body[DCZ_HEADER_BYTES if coding == "dcz" else 0 :][:18]
        ).content_size
    except zstandard.ZstdError:
        return None
    return None if size == zstandard.CONTENTSIZE_UNKNOWN else size


class Inflater:
    """Undoes codings. Not for two threads at once."""

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdDecompressor(max_window_size=limits.ZSTD_WINDOW_BYTES_MAX)

    def inflate(
        self, coding: str, body: bytes, bytes_max: int, dictionary: Dictionary | None = None
    ) -> bytes:
        """The body without its coding; TooLarge past `bytes_max`, BadJson where it is broken."""
        try:
            if coding == "gzip":
                return _gunzip(body, bytes_max)
            zstd = self._zstd
            if coding == "dcz":
                assert dictionary is not None
                body = body[DCZ_HEADER_BYTES:]
                zstd = zstandard.ZstdDecompressor(
                    dict_data=dictionary.raw, max_window_size=limits.ZSTD_WINDOW_BYTES_MAX
                )
            return _unzstd(zstd, body, bytes_max)
        except (zlib.error, zstandard.ZstdError) as error:
            raise BadJson(f"the body is not {coding}: {str(error)[:100]}") from None


class Deflater:
    """Applies codings, quickly rather than well. Not for two threads at once."""

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdCompressor(level=_ZSTD_LEVEL)

    def deflate(self, coding: str, body: bytes, dictionary: Dictionary | None = None) -> bytes:
        if coding == "gzip":
            return zlib.compress(body, _GZIP_LEVEL, wbits=_GZIP_WBITS)
        if coding == "zstd":
            return self._zstd.compress(body)
        assert dictionary is not None
        compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, dict_data=dictionary.raw)
        return dictionary.dcz_header() + compressor.compress(body)


class Deflating:
    """Applies a coding, or none, to a body that comes in parts. What was added can be read at once."""

    def __init__(self, coding: str | None) -> None:
        self._zstd = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compressobj() if coding == "zstd" else None
        self._zlib = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_WBITS) if coding == "gzip" else None

    def add(self, part: bytes) -> bytes:
        if self._zstd is not None:
            return self._zstd.compress(part) + self._zstd.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        if self._zlib is not None:
            return self._zlib.compress(part) + self._zlib.flush(zlib.Z_SYNC_FLUSH)
        return part

    def end(self) -> bytes:
        if self._zstd is not None:
            return self._zstd.flush()
        return self._zlib.flush() if self._zlib is not None else b""


def choose_coding(accept_encoding: str, has_dictionary: bool = False) -> str | None:
    """The coding that the client likes best, ours first among equals; None for none.

    `*` never means dcz: only who names it has a dictionary for it.
    """
    weights: dict[str, float] = {}
    for item in accept_encoding.lower().split(","):
        name, _, parameters = item.partition(";")
        weights[name.strip()] = _weight(parameters)
    anything = weights.get("*", 0.0)
    offers = [("zstd", weights.get("zstd", anything)), ("gzip", weights.get("gzip", anything))]
    if has_dictionary:
        offers.insert(0, ("dcz", weights.get("dcz", 0.0)))
    best, weight = max(offers, key=lambda offer: offer[1])
    return best if weight > 0 and weight >= weights.get("identity", 0.0) else None


def available_dictionary_id(header: str) -> str | None:
    """The id in an `Available-Dictionary` header (`:base64 of SHA-256:`), or None where it is not one."""
    header = header.strip()
    if len(header) != 46 or header[0] != ":" or header[-1] != ":":
        return None
    try:
        return base64.b64decode(header[1:-1], validate=True).hex()
    except (binascii.Error, ValueError):
        return None


def _weight(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if not name:
        return 1.0
    try:
        weight = float(value) if name.strip() == "q" else 1.0
    except ValueError:
        return 0.0
    return weight if 0.0 <= weight <= 1.0 else 0.0


def _too_large(bytes_max: int) -> TooLarge:
    return TooLarge(f"the body holds more than {bytes_max} bytes when its coding is undone")


def _gunzip(body: bytes, bytes_max: int) -> bytes:
    parts: list[bytes] = []
    room = bytes_max
    rest = body
    while rest or not parts:
        decoder = zlib.decompressobj(wbits=_GZIP_WBITS)
        part = decoder.decompress(rest, room + 1)
        if len(part) > room:
            raise _too_large(bytes_max)
        if not decoder.eof:
            raise BadJson("the gzip body is cut short")
        room -= len(part)
        parts.append(part)
        rest = decoder.unused_data
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _unzstd(zstd: zstandard.ZstdDecompressor, body: bytes, bytes_max: int) -> bytes:
    size = declared_bytes("zstd", body)
    if size is not None:
        if size > bytes_max:
            raise _too_large(bytes_max)
        try:
            return zstd.decompress(body, allow_extra_data=False)
        except zstandard.ZstdError:
            pass  # broken, or of several frames: the slow way tells
    return _unzstd_in_steps(zstd, body, bytes_max)


def _unzstd_in_steps(zstd: zstandard.ZstdDecompressor, body: bytes, bytes_max: int) -> bytes:
    parts: list[bytes] = []
    room = bytes_max
    decoder = zstd.decompressobj()
    at = 0
    while at < len(body):
        if decoder.eof:
            decoder = zstd.decompressobj()
        step = body[at : at + _STEP_BYTES]
        part = decoder.decompress(step)
        room -= len(part)
        if room < 0:
            raise _too_large(bytes_max)
        parts.append(part)
        at += len(step) - len(decoder.unused_data)
    if not decoder.eof:
        raise BadJson("the zstd body is cut short")
    return b"".join(parts)
