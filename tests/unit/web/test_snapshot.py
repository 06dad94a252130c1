"""The answer that is sent as it is made: its codings, its bounds, and that a part of it is never taken for the whole."""

from __future__ import annotations

import asyncio
import gzip
import socket

import httpx
import pytest
import zstandard

from medxz import errors, limits
from tests.unit.web.raw import is_problem, until

SNAPSHOT = "/v1/sync/snapshot"
HEAD = b"GET /v1/sync/snapshot HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer good\r\n\r\n"
LINES = [b'{"entities":300}\n', *(b'{"entity_id":"%d","state":{"n":1.50}}\n' % n * 50 for n in range(6))]


def unzstd(body: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(body)


@pytest.mark.parametrize(
    ("accepted", "coding", "undo"),
    [
        ("zstd, gzip", "zstd", unzstd),
        ("gzip", "gzip", gzip.decompress),
        ("identity", None, bytes),
        ("dcz", None, bytes),
    ],
)
async def test_a_snapshot_in_each_coding(face, accepted, coding, undo):
    """What was made arrives, whole and in order, in the coding that was asked for."""
    face.services.snapshot.chunks = list(LINES)
    headers = {"Accept-Encoding": accepted}
    async with face.client.stream("GET", SNAPSHOT, headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "application/x-ndjson"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers.get("Content-Encoding") == coding
        body = b"".join([part async for part in response.aiter_raw()])
    assert undo(body) == b"".join(LINES)
    assert face.services.metrics.seen[-1] == ("snapshot", 200)


@pytest.mark.parametrize("accepted", ["zstd", "gzip", "identity"])
async def test_what_was_made_can_be_read(face, accepted):
    """Each part can be read before the next one is made, compressed or not: that is what a progress bar lives on."""
    face.services.snapshot.chunks = list(LINES)
    face.services.snapshot.hold = asyncio.Event()
    async with face.client.stream("GET", SNAPSHOT, headers={"Accept-Encoding": accepted}) as response:
        if accepted == "zstd":
            inflater = zstandard.ZstdDecompressor().decompressobj()
            first = inflater.decompress(await anext(response.aiter_raw()))
        else:
            first = await anext(response.aiter_bytes())
        assert first == LINES[0]
        assert face.services.snapshot.asked == 1
        face.services.snapshot.hold.set()


async def test_a_refused_snapshot_is_a_problem(face):
    """A refusal in place of the first line is answered as one, in no coding."""
    face.services.snapshot.chunks = [errors.Forbidden("not yours")]
    response = await face.client.get(SNAPSHOT, headers={"Accept-Encoding": "zstd"})
    assert response.status_code == 403
    assert "Content-Encoding" not in response.headers
    assert is_problem(dict(response.headers), response.content, "forbidden")


@pytest.mark.parametrize("reason", [errors.SessionRevoked("gone"), ValueError("Mrs Example")])
async def test_a_snapshot_that_breaks_is_cut(face, reason):
    """Whatever ends it early, the connection breaks without an end: no client takes the part for the whole."""
    face.services.snapshot.chunks = [*LINES[:3], reason]
    with pytest.raises(httpx.RemoteProtocolError):
        await face.client.get(SNAPSHOT, headers={"Accept-Encoding": "identity"})
    assert face.services.snapshot.being_read == 0
    assert b"Example" not in face.log.getvalue()


async def test_a_slow_reader_holds_it_back(face):
    """Nothing more is made while what was made waits in the socket; and it goes on where it was."""
    big = b'{"entity_id":"x","state":{}}\n' * 20_000
    face.services.snapshot.chunks = [big] * 100
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * limits.KIB)
        client.connect(("127.0.0.1", face.port))
        client.sendall(HEAD)
        await until(lambda: face.services.snapshot.asked > 1)
        asked = 0
        while asked != face.services.snapshot.asked:  # until it stands still
            asked = face.services.snapshot.asked
            await asyncio.sleep(0.1)
        assert asked < 20
        await asyncio.to_thread(client.recv, 64 * limits.MIB)
        client.setblocking(False)
        while face.services.snapshot.asked < 100:
            try:
                client.recv(limits.MIB)
            except BlockingIOError:
                await asyncio.sleep(0.001)
    await until(lambda: face.services.snapshot.being_read == 0)


async def test_a_vanished_reader_is_noticed(face):
    """When its client has gone, a snapshot ends at once, and its place is free."""
    face.services.snapshot.hold = asyncio.Event()
    _, writer = await asyncio.open_connection("127.0.0.1", face.port)
    writer.write(HEAD)
    await until(lambda: face.services.snapshot.being_read == 1)
    writer.transport.abort()
    await until(lambda: face.services.snapshot.being_read == 0)


async def test_snapshots_are_bounded(face, monkeypatch):
    """So many at once and no more: who comes later is told when to come back."""
    monkeypatch.setattr(limits, "SNAPSHOTS_MAX", 1)
    face.services.snapshot.hold = asyncio.Event()
    async with face.client.stream("GET", SNAPSHOT) as first:
        assert first.status_code == 200
        second = await face.client.get(SNAPSHOT)
        assert is_problem(dict(second.headers), second.content, "overloaded")
        assert second.headers["Retry-After"] == str(limits.SNAPSHOT_RETRY_S)
        face.services.snapshot.hold.set()
        await first.aread()
    assert (await face.client.get(SNAPSHOT)).status_code == 200


async def test_a_stop_cuts_it(face):
    """A server that stops does not wait for a snapshot, and does not end it as if it were whole."""
    face.services.snapshot.hold = asyncio.Event()
    async with face.client.stream("GET", SNAPSHOT) as response:
        await until(lambda: face.services.snapshot.being_read == 1)
        stopping = asyncio.create_task(face.serving.stop(2))
        with pytest.raises(httpx.RemoteProtocolError):
            await response.aread()
        await asyncio.wait_for(stopping, 2)


async def test_only_get(face):
    """A head without a body would have to be made like the whole."""
    assert (await face.client.head(SNAPSHOT)).status_code == 405
