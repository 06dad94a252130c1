from __future__ import annotations

import gzip

import pytest
import zstandard

from medxz.errors import BadJson, TooLarge
from medxz.web.encoding import (
    DCZ_MAGIC,
    Deflater,
    Dictionary,
    Inflater,
    available_dictionary_id,
    choose_coding,
    dcz_dictionary_id,
    declared_bytes,
)
from tests.unit.web.fakes import DICTIONARY, DICTIONARY_ID

BODY = b'{"ops":[{"op_id":"0190c2f3","payload":{"resourceType":"Observation","status":"final"}}]}' * 300
OURS = Dictionary.of(DICTIONARY_ID, DICTIONARY)


def deflated(coding: str) -> bytes:
    return Deflater().deflate(coding, BODY, OURS)


@pytest.mark.parametrize("coding", ["gzip", "zstd", "dcz"])
def test_what_was_deflated_inflates(coding):
    """A coding undone gives the bytes that it was applied to."""
    assert Inflater().inflate(coding, deflated(coding), len(BODY), OURS) == BODY


@pytest.mark.parametrize("coding", ["gzip", "zstd", "dcz"])
def test_never_more_than_asked_for(coding):
    """A body that holds one byte too many is TooLarge."""
    with pytest.raises(TooLarge):
        Inflater().inflate(coding, deflated(coding), len(BODY) - 1, OURS)


@pytest.mark.parametrize("coding", ["gzip", "zstd", "dcz"])
@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda body: body[:-1], id="last byte gone"),
        pytest.param(lambda body: body[: 40 + 10], id="cut early"),
        pytest.param(lambda body: body + b"trailing", id="garbage after it"),
        pytest.param(lambda body: body + b"\0" * 16, id="zeros after it"),
        pytest.param(lambda body: body[:40] + b"?" * 20 + body[60:], id="damaged"),
        pytest.param(lambda body: body[:40], id="only a header"),
    ],
)
def test_broken_is_bad_json(coding, spoil):
    """A stream that is cut short, damaged, or goes on after its end is BadJson."""
    with pytest.raises(BadJson):
        Inflater().inflate(coding, spoil(deflated(coding)), len(BODY), OURS)


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_empty_is_bad_json(coding):
    """Nothing at all is no compressed body."""
    with pytest.raises(BadJson):
        Inflater().inflate(coding, b"", 100)


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(BODY) * 2),
        ("zstd", zstandard.compress(BODY) * 2),
        ("zstd", zstandard.ZstdCompressor(write_content_size=False).compress(BODY) * 2),
    ],
    ids=["gzip members", "zstd frames", "zstd frames of unknown size"],
)
def test_several_members_are_one_body(coding, body):
    """Members and frames that follow each other are one body, as their formats say."""
    assert Inflater().inflate(coding, body, 2 * len(BODY)) == BODY * 2


def test_zstd_without_a_size_is_bounded():
    """A zstd bomb that does not say its size is cut off at the limit."""
    compressor = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    bomb = compressor.compress(b"\0" * (64 << 20)) + compressor.flush()
    assert declared_bytes("zstd", bomb) is None
    with pytest.raises(TooLarge):
        Inflater().inflate("zstd", bomb, 1 << 20)


def test_a_lie_about_the_size_is_bounded():
    """A zstd frame that holds more than its header says is refused."""
    small = bytearray(zstandard.compress(b"\0" * 200))
    big = zstandard.compress(b"\0" * 100_000)
    small_parameters = zstandard.frame_header_size(bytes(small))
    lying = bytes(small[:small_parameters]) + big[zstandard.frame_header_size(big) :]
    with pytest.raises((BadJson, TooLarge)):
        Inflater().inflate("zstd", lying, 1_000)


def test_a_window_beyond_the_limit_is_refused():
    """A frame that wants a window of 128 MiB is refused before that memory is taken."""
    parameters = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(BadJson):
        Inflater().inflate("zstd", compressor.compress(BODY) + compressor.flush(), 1 << 30)


def test_dcz_is_as_the_rfc_says():
    """A dcz body is the skippable frame with the dictionary's hash, then zstd with the dictionary as raw content."""
    body = deflated("dcz")
    assert body[:8] == bytes.fromhex("5e2a4d1820000000")
    assert body[8:40].hex() == DICTIONARY_ID == dcz_dictionary_id(body)
    raw = zstandard.ZstdCompressionDict(DICTIONARY, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    assert zstandard.ZstdDecompressor(dict_data=raw).decompress(body[40:]) == BODY
    # the header is a frame of zstd's own, to be skipped by whoever knows the dictionary already
    assert (
        zstandard.ZstdDecompressor(dict_data=raw).decompressobj(read_across_frames=True).decompress(body)
        == BODY
    )


@pytest.mark.parametrize("body", [b"", DCZ_MAGIC, DCZ_MAGIC + b"x" * 31, zstandard.compress(BODY)])
def test_dcz_without_its_header(body):
    """What does not begin with the header of dcz is BadJson."""
    with pytest.raises(BadJson):
        dcz_dictionary_id(body)


@pytest.mark.parametrize(
    ("header", "has_dictionary", "expected"),
    [
        ("", False, None),
        ("identity", False, None),
        ("gzip", False, "gzip"),
        ("gzip, zstd", False, "zstd"),
        ("GZIP, br", False, "gzip"),
        ("gzip;q=1.0, zstd;q=0.5", False, "gzip"),
        ("zstd;q=0, gzip;q=0.001", False, "gzip"),
        ("gzip;q=0", False, None),
        ("*", False, "zstd"),
        ("*;q=0.1, zstd;q=0", False, "gzip"),
        ("identity;q=1, gzip;q=0.5", False, None),
        ("gzip;q=nonsense", False, None),
        ("gzip;q=nan", False, None),
        ("br, deflate", False, None),
        ("gzip, dcz", False, "gzip"),
        ("gzip, zstd, dcz", True, "dcz"),
        ("*", True, "zstd"),
        (",,;;q=,", True, None),
    ],
)
def test_choosing_a_coding(header, has_dictionary, expected):
    """The client's weights decide, ours come first among equals, and `*` never means dcz."""
    assert choose_coding(header, has_dictionary) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (":pZGm1Av0IEBKARczz7exkNYsZb8LzaMrV7J32a2fFG4=:", "a591a6d40bf420404a011733cfb7b190d62c65bf0bcda32b57b277d9ad9f146e"),
        ("pZGm1Av0IEBKARczz7exkNYsZb8LzaMrV7J32a2fFG4=", None),
        (":short=:", None),
        (":" + "?" * 44 + ":", None),
        ("", None),
    ],
)  # fmt: skip
def test_available_dictionary(header, expected):
    """The header is a structured byte sequence of 32 bytes, or nothing."""
    assert available_dictionary_id(header) == expected
