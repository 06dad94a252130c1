from __future__ import annotations

import asyncio

import pytest

from tests.unit.web.fakes import Chunk

LONG = b'{"ops":[' + b"1," * 20_000 + b"1]}"
PULL = b" /v1/sync/pull HTTP/1.%d\r\nHost: x\r\nAuthorization: Bearer good\r\n%b\r\n"


@pytest.mark.parametrize("body", [b'{"ops":[]}', LONG], ids=["short", "long"])
@pytest.mark.parametrize(
    ("request_text", "connection", "has_body"),
    [
        (b"GET" + PULL % (1, b"Connection: close\r\n"), b"close", True),
        (b"GET" + PULL % (0, b""), b"close", True),
        (b"HEAD" + PULL % (1, b"Connection: close\r\n"), b"close", False),
    ],
    ids=["1.1", "1.0", "head"],
)
async def test_an_answer_is_whole(face, body, request_text, connection, has_body):
    """An answer says how long it is and that the connection ends; only that to HEAD comes without a body."""
    face.services.pull.answer = body
    reader, writer = await asyncio.open_connection("127.0.0.1", face.port)
    writer.write(request_text)
    async with asyncio.timeout(10):
        top, _, rest = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert b" 200 OK\r\n" in top
    fields = dict(line.split(b": ", 1) for line in top.split(b"\r\n")[1:])
    assert fields[b"Content-Length"] == b"%d" % len(body)
    assert fields[b"Connection"] == connection
    assert b"Date" in fields
    assert rest == (body if has_body else b"")


async def test_an_old_client_that_stays_is_told_so(face):
    """HTTP/1.0 with keep-alive gets its answer and the header that says that the connection stays."""
    reader, writer = await asyncio.open_connection("127.0.0.1", face.port)
    for _ in range(2):
        writer.write(b"GET" + PULL % (0, b"Connection: keep-alive\r\n"))
        async with asyncio.timeout(10):
            top = await reader.readuntil(b"\r\n\r\n")
            assert b"\r\nConnection: keep-alive\r\n" in top
            await reader.readexactly(len(face.services.pull.answer))
    writer.close()


async def test_a_stream_to_an_old_client(face):
    """HTTP/1.0 knows no chunks: events come bare, and the end of the connection is theirs."""
    for chunk in (Chunk("c-1", b"[1]"), None):
        face.services.pull.chunks.put_nowait(chunk)
    reader, writer = await asyncio.open_connection("127.0.0.1", face.port)
    writer.write(b"GET /v1/sync/stream HTTP/1.0\r\nHost: x\r\nAuthorization: Bearer good\r\n\r\n")
    async with asyncio.timeout(10):
        top, _, rest = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert b"Transfer-Encoding" not in top
    assert b"\r\nConnection: close" in top
    assert rest == b"event: ops\nid: c-1\ndata: [1]\n\n"
