"""Streams and pulls that wait: what they carry, how many there may be, how they end."""

from __future__ import annotations

import asyncio
import socket

import httpx
import pytest

from medxz import errors, limits
from medxz.web.stream import event
from tests.unit.web.fakes import Chunk
from tests.unit.web.raw import is_problem, until

STREAM = "/v1/sync/stream"
OPS = b'[{"op_id":"x"}]'
HEAD = b"GET /v1/sync/stream HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer good\r\n\r\n"


@pytest.mark.parametrize(
    ("chunk", "expected"),
    [
        (Chunk("c-1", OPS), b'event: ops\nid: c-1\ndata: [{"op_id":"x"}]\n\n'),
        (Chunk("c-1", b""), b"event: ping\ndata: {}\n\n"),
        (Chunk("c-1", b"[1,\n2,\r\n3]"), b"event: ops\nid: c-1\ndata: [1,\ndata: 2,\ndata: 3]\n\n"),
        (Chunk("c-1", b'[\r\rid: evil]'), b"event: ops\nid: c-1\ndata: [\ndata: \ndata: id: evil]\n\n"),
    ],
)  # fmt: skip
def test_events(chunk, expected):
    """A chunk is one event, whatever line breaks its ops hold."""
    assert b"".join(event(chunk.cursor, chunk.ops_json)) == expected


async def test_a_stream_carries_chunks_as_they_come(face):
    """Each chunk is sent when the service gives it, and nothing keeps it back."""
    chunks = face.services.pull.chunks
    chunks.put_nowait(Chunk("c-0", b""))
    async with face.client.stream("GET", STREAM, params={"cursor": "c-0"}) as response:
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Accel-Buffering"] == "no"
        assert "Content-Encoding" not in response.headers
        lines = response.aiter_lines()
        assert [await anext(lines) for _ in range(3)] == ["event: ping", "data: {}", ""]
        for number in range(3):
            chunks.put_nowait(Chunk(f"c-{number}", OPS))
            expected = ["event: ops", f"id: c-{number}", f"data: {OPS.decode()}", ""]
            assert [await anext(lines) for _ in range(4)] == expected
        chunks.put_nowait(None)
        assert [line async for line in lines] == []
    assert face.services.pull.asked == [("c-0", 0, 0.0)]
    await until(lambda: face.app.lasting.streams == 0)


@pytest.mark.parametrize(
    ("headers", "query", "cursor"),
    [
        ({}, {}, None),
        ({}, {"cursor": "q"}, "q"),
        ({"Last-Event-ID": "h"}, {}, "h"),
        ({"Last-Event-ID": "h"}, {"cursor": "q"}, "h"),
        ({"Last-Event-ID": ""}, {"cursor": "q"}, None),
    ],
)
async def test_where_a_stream_begins(face, headers, query, cursor):
    """Last-Event-ID goes before the query, as a browser that comes back sends both."""
    face.services.pull.chunks.put_nowait(None)
    await face.client.get(STREAM, headers=headers, params=query)
    assert face.services.pull.asked == [(cursor, 0, 0.0)]


@pytest.mark.parametrize("last", ["a" * (limits.CURSOR_CHARS_MAX + 1), "é".encode()])
async def test_no_cursor(face, last):
    """A Last-Event-ID that can't be a cursor is 400."""
    response = await face.client.get(STREAM, headers=[("Last-Event-ID", last)])
    assert response.status_code == 400
    assert is_problem(dict(response.headers), response.content, "bad_cursor")


async def test_a_refused_stream_is_a_problem(face):
    """A refusal in place of the first chunk is answered as one."""
    face.services.pull.chunks.put_nowait(errors.CursorEpochChanged("the log has a new epoch"))
    response = await face.client.get(STREAM)
    assert response.status_code == 409
    assert is_problem(dict(response.headers), response.content, "cursor_epoch_changed")


async def test_a_stream_that_breaks_is_cut(face):
    """An exception in the middle cuts the connection without an end, so that no client takes the part for the whole."""
    reader, writer = await asyncio.open_connection("127.0.0.1", face.port)
    writer.write(HEAD)
    await reader.readuntil(b"data: {}\n\n\r\n")
    face.services.pull.chunks.put_nowait(ValueError("Mrs Example"))
    async with asyncio.timeout(10):
        assert await reader.read() == b""  # no last chunk, and no second answer
    writer.close()
    assert face.log_lines()[0]["event"] == "request broke"
    assert b"Example" not in face.log.getvalue()


async def test_a_vanished_client_is_noticed(face):
    """When its client has gone, a stream ends at once, not at its next chunk."""
    reader, writer = await asyncio.open_connection("127.0.0.1", face.port)
    writer.write(HEAD)
    await reader.readuntil(b"data: {}\n\n")
    assert face.services.pull.streams_open == 1
    writer.transport.abort()
    async with asyncio.timeout(10):
        await face.services.pull.ended.wait()
    await until(lambda: face.app.lasting.streams == 0)


async def test_streams_of_a_device_are_bounded(face, monkeypatch):
    """A device has so many streams and no more; another device has its own."""
    monkeypatch.setattr(limits, "STREAMS_PER_DEVICE_MAX", 1)
    async with face.client.stream("GET", STREAM) as first:
        assert first.status_code == 200
        second = await face.client.get(STREAM)
        assert second.status_code == 429
        assert is_problem(dict(second.headers), second.content, "rate_limited")
        assert int(second.headers["Retry-After"]) >= 1
        async with face.client.stream("GET", STREAM, headers={"Authorization": "Bearer good2"}) as other:
            assert other.status_code == 200


async def test_all_streams_are_bounded(face):
    """Beyond what the server has for streams, 503 with Retry-After."""
    face.app.lasting._streams_max = 1
    async with face.client.stream("GET", STREAM):
        response = await face.client.get(STREAM, headers={"Authorization": "Bearer good2"})
        assert response.status_code == 503
        assert is_problem(dict(response.headers), response.content, "overloaded")
        assert int(response.headers["Retry-After"]) >= 1


async def test_a_slow_reader_keeps_the_service_waiting(face):
    """What a client does not read is not fetched from the service: the socket's room is all that is buffered."""
    chunks = face.services.pull.chunks
    with socket.create_connection(("127.0.0.1", face.port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(HEAD)
        for number in range(400):
            chunks.put_nowait(Chunk(f"c-{number}", b"[" + b"1" * 100_000 + b"]"))
        left = -1
        while chunks.qsize() != left:  # until it stands still
            left = chunks.qsize()
            await asyncio.sleep(0.1)
        assert left > 250


async def test_a_client_that_takes_nothing_is_dropped(face, monkeypatch):
    """A connection whose waiting bytes have not become fewer between two sweeps is ended."""
    face.services.pull.answer = b"x" * (8 * limits.MIB)
    connections = face.serving.connections
    with socket.create_connection(("127.0.0.1", face.port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(HEAD.replace(b"stream", b"pull"))
        await until(lambda: len(face.services.pull.asked) == 1)
        await asyncio.sleep(0.1)
        connections.drop_stalled()
        assert face.serving.open_connections == 1
        connections.drop_stalled()
        await until(lambda: face.serving.open_connections == 0)
    assert face.log_lines()[0]["event"] == "connection stalled"


async def test_a_waiting_pull_ends_with_its_client(face):
    """A pull that waits for a client that has gone does not go on waiting."""
    _, writer = await asyncio.open_connection("127.0.0.1", face.port)
    writer.write(HEAD.replace(b"/stream", b"/pull?wait=30"))
    async with asyncio.timeout(10):
        await face.services.pull.waiting.wait()
        writer.transport.abort()
        await face.services.pull.ended.wait()


async def test_waiting_is_not_slow(face):
    """A pull that was asked to wait is not logged as slow."""
    response = await face.client.get("/v1/sync/pull", params={"wait": 1.1})
    assert response.status_code == 200
    assert face.log_lines() == []


async def test_stopping_loses_nothing_and_is_quick(face):
    """Stopping ends streams, answers waiting pulls, lets pushes finish and takes no one new."""
    services = face.services
    services.push.hold = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with face.client.stream("GET", STREAM) as stream:
        lines = stream.aiter_lines()
        await anext(lines)
        pull = asyncio.ensure_future(face.client.get("/v1/sync/pull", params={"wait": 30}))
        push = asyncio.ensure_future(face.client.post("/v1/sync/push", content=b"{}"))
        await services.pull.waiting.wait()
        await services.push.began.wait()
        began = loop.time()
        stopping = asyncio.ensure_future(face.serving.stop(5))
        assert (await pull).content == services.pull.answer
        assert services.pull.asked[-1][2] == 0.0
        assert [line async for line in lines][-1] == ""  # it ends as a whole answer
        with pytest.raises(httpx.ConnectError):
            await face.client.get("/health/live")
        services.push.hold.set()
        assert (await push).status_code == 200
        await stopping
    assert loop.time() - began < 4
    assert face.serving.open_connections == 0


async def test_stopping_has_a_deadline(face):
    """What does not end by itself is cut at the deadline."""
    face.services.push.hold = asyncio.Event()
    push = asyncio.ensure_future(face.client.post("/v1/sync/push", content=b"{}"))
    await face.services.push.began.wait()
    loop = asyncio.get_running_loop()
    began = loop.time()
    await face.serving.stop(0.4)
    assert loop.time() - began < 3
    with pytest.raises(httpx.RemoteProtocolError):
        await push


async def test_stopping_ends_idle_connections(face):
    """A connection that is kept alive does not hold up the stop."""
    assert (await face.client.get("/health/live")).status_code == 200
    loop = asyncio.get_running_loop()
    began = loop.time()
    await face.serving.stop(5)
    assert loop.time() - began < 1
