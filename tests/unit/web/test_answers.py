from __future__ import annotations

import base64
import gzip

import pytest
import zstandard

from medxz import limits
from tests.unit.web.fakes import DICTIONARY, DICTIONARY_ID

PAGE = b'{"ops":[' + b'{"payload":{"resourceType":"Observation","status":"final"}},' * 100 + b"{}]}"
AVAILABLE = f":{base64.b64encode(bytes.fromhex(DICTIONARY_ID)).decode()}:"


async def pull(face, **headers: str) -> tuple[str | None, bytes]:
    """The coding of a page, and its bytes as they travelled."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    async with face.client.stream(
        "GET", "/v1/sync/pull", headers={"Accept-Encoding": "", **names}
    ) as response:
        assert response.status_code == 200
        assert "Accept-Encoding" in response.headers["Vary"]
        body = b"".join([part async for part in response.aiter_raw()])
        assert response.headers["Content-Length"] == str(len(body))
        return response.headers.get("Content-Encoding"), body


@pytest.mark.parametrize("times", [1, 200], ids=["page", "page beyond inline work"])
async def test_negotiation(face, times):
    """An answer comes in the coding that the client likes best, and is the same bytes without it."""
    page = PAGE * times
    face.services.pull.answer = page
    assert await pull(face) == (None, page)
    assert await pull(face, Accept_Encoding="br") == (None, page)
    coding, body = await pull(face, Accept_Encoding="gzip, deflate, zstd")
    assert (coding, zstandard.ZstdDecompressor().decompress(body)) == ("zstd", page)
    coding, body = await pull(face, Accept_Encoding="gzip, zstd;q=0.5")
    assert (coding, gzip.decompress(body)) == ("gzip", page)
    coding, body = await pull(face, Accept_Encoding="gzip, zstd, dcz", Available_Dictionary=AVAILABLE)
    raw = zstandard.ZstdCompressionDict(DICTIONARY, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    assert coding == "dcz"
    assert body[8:40].hex() == DICTIONARY_ID
    assert zstandard.ZstdDecompressor(dict_data=raw).decompress(body[40:]) == page


@pytest.mark.parametrize("available", ["", ":AAAA:", "x", f":{base64.b64encode(bytes(32)).decode()}:"])
async def test_a_dictionary_that_is_not_ours(face, available):
    """dcz with a dictionary that this server has not is answered without it."""
    face.services.pull.answer = PAGE
    coding, _ = await pull(face, Accept_Encoding="zstd, dcz", Available_Dictionary=available)
    assert coding == "zstd"


async def test_small_answers_stay_plain(face):
    """What is not longer than 1 KiB is not worth compressing."""
    face.services.pull.answer = b"x" * limits.COMPRESS_BYTES_MIN
    assert await pull(face, Accept_Encoding="zstd") == (None, face.services.pull.answer)


async def test_httpx_reads_them(face):
    """A client library undoes the coding by itself."""
    face.services.pull.answer = PAGE
    for coding in ("gzip", "zstd"):
        response = await face.client.get("/v1/sync/pull", headers={"Accept-Encoding": coding})
        assert response.headers["Content-Encoding"] == coding
        assert response.content == PAGE
