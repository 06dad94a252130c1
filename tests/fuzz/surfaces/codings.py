"""Bodies in a coding: zstd, gzip, dcz with a dictionary; as a server undoes them, and as a client does.

An input's first byte chooses the coding.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from functools import cache
from typing import Final

import zstandard

from medxz.errors import BadJson, PeerUnreachable, TooLarge
from medxz.peer.answers import inflated
from medxz.store.dictionaries import shipped_dictionary
from medxz.web.encoding import (
    CODINGS,
    Deflater,
    Dictionary,
    Inflater,
    available_dictionary_id,
    choose_coding,
    dcz_dictionary_id,
    declared_bytes,
)
from tests.fuzz.surface import Surface, holds
from tests.fuzz.surfaces.ops import op_seeds

MOST: Final = 1 << 20


@cache
def dictionary() -> Dictionary:
    import hashlib

    content = shipped_dictionary()
    return Dictionary.of(hashlib.sha256(content).hexdigest(), content)


@cache
def coding_seeds() -> Sequence[bytes]:
    text = b'{"ops":[' + b",".join(op_seeds()) + b"]}"
    deflater = Deflater()
    bomb = b"0" * (MOST + 1)
    two = zstandard.ZstdCompressor().compress(text[:50]) + zstandard.ZstdCompressor().compress(text[50:])
    unsized = zstandard.ZstdCompressor(write_content_size=False)
    return [
        *(
            bytes([at]) + deflater.deflate(coding, body, dictionary())
            for at, coding in enumerate(CODINGS)
            for body in (b"", text, bomb)
        ),
        b"\x00" + two,
        b"\x00" + unsized.compress(text),
        b"\x00" + unsized.compress(bomb),
        b"\x01" + gzip.compress(text[:9]) + gzip.compress(text[9:]),
        b"\x02" + dictionary().dcz_header() + two,
        b"\x03zstd;q=0.5, gzip, *;q=0", b"\x03dcz, identity;q=1e-3", b"\x03:" + b"A" * 43 + b"=:",
    ]  # fmt: skip


def take_coding(data: bytes) -> str:
    """Never more than was asked for; what comes out goes in again; a client reads what a server does."""
    if not data:
        return "nothing"
    if data[0] % 4 == 3:
        return _take_header(data[1:].decode("latin-1"))
    coding, body = CODINGS[data[0] % 4], data[1:]
    declared_bytes(coding, body)
    try:
        if coding == "dcz" and dcz_dictionary_id(body) != dictionary().id:
            return "another dictionary"
        text = Inflater().inflate(coding, body, MOST, dictionary())
    except (BadJson, TooLarge) as refusal:
        return f"{coding} {refusal.message[:30]}"
    holds("never more than was asked for", len(text) <= MOST)
    again = Deflater().deflate(coding, text, dictionary())
    holds("what comes out goes in again", Inflater().inflate(coding, again, MOST, dictionary()) == text)
    if coding != "dcz":
        try:
            client = inflated(body, coding)
        except PeerUnreachable:
            return f"{coding} not a client's"
        if coding == "zstd":
            holds("a client reads what a server does", client == text)
    return f"{coding} {len(text) > 0}"


def _take_header(text: str) -> str:
    coding = choose_coding(text, has_dictionary=True)
    holds("a coding that is known", coding in {*CODINGS, None})
    found = available_dictionary_id(text)
    holds("an id, or none", found is None or len(found) == 64, found)
    return f"header {coding}"


SURFACES: Final = (
    Surface("coding", "Inflater, a client's inflated, headers", take_coding, coding_seeds, is_json=False),
)
