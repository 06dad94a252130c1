"""A snapshot over real sockets: read in parts of a bounded size, whatever its coding, and never half of it for a whole."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import zstandard
from aiohttp import web

from medxz.errors import PeerRefused, PeerUnreachable
from medxz.peer import Peer
from medxz.peer.lines import PART_BYTES
from medxz.replicate import SnapshotPart
from tests.making import fixed_id

Serve = Callable[..., Awaitable[Peer]]
HEAD = {
    "cursor": "c",
    "have": {fixed_id(1): 3},
    "server_id": fixed_id(2),
    "epoch": fixed_id(3),
    "scope": "full",
}


def body(lines: list[bytes], entities: int | None = None) -> bytes:
    head = HEAD | {"entities": len(lines) if entities is None else entities}
    return b"".join(line + b"\n" for line in [json.dumps(head).encode(), *lines])


RANDOM = random.Random(7)  # what compresses too well comes in a few bytes
LINES = [
    json.dumps({"entity_id": fixed_id(n), "state": RANDOM.randbytes(450).hex()}).encode()
    for n in range(4_000)
]
CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "identity": lambda text: text,
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    # as a server that flushes now and then
    "zstd, ": lambda text: zstandard.ZstdCompressor().compress(text[:3_000]) + CODINGS["zstd"](text[3_000:]),
}


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serves one body in chunks, and gives a peer of it."""
    runners, peers = [], []

    async def start(content: bytes, coding: str = "identity", status: int = 200, cut: bool = False) -> Peer:
        async def handler(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(status=status, headers={"Content-Encoding": coding})
            response.enable_chunked_encoding()
            await response.prepare(request)
            for first in range(0, len(content), 50_000):
                await response.write(content[first : first + 50_000])
            if cut:
                assert request.transport is not None
                request.transport.abort()
            return response

        application = web.Application()
        application.router.add_get("/v1/sync/snapshot", handler)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        runners.append(runner)
        peers.append(Peer(f"http://127.0.0.1:{runner.addresses[0][1]}", token=lambda: "tok"))
        return peers[-1]

    yield start
    for peer in peers:
        await peer.aclose()
    for runner in runners:
        await runner.cleanup()


async def parts_of(peer: Peer) -> list[SnapshotPart]:
    return [part async for part in peer.snapshot()]


@pytest.mark.parametrize("coding", CODINGS)
async def test_whole_in_parts(serve: Serve, coding: str) -> None:
    """The head comes first and alone, then every line once, in order, in parts that are not much larger than asked for."""
    parts = await parts_of(await serve(CODINGS[coding](body(LINES)), coding.strip(", ")))
    assert parts[0].lines == []
    assert (parts[0].head.cursor, parts[0].head.entities, parts[0].head.scope) == ("c", len(LINES), "full")
    assert [line for part in parts for line in part.lines] == LINES
    assert len(parts) > 2
    assert max(sum(map(len, part.lines)) for part in parts) < 2 * PART_BYTES


async def test_of_nothing(serve: Serve) -> None:
    """A clinic without an entity has a snapshot too."""
    assert [part.lines for part in await parts_of(await serve(body([])))] == [[]]


@pytest.mark.parametrize(
    ("content", "coding"),
    [
        (b"", "identity"),
        (body(LINES[:3], entities=4), "identity"),
        (body(LINES[:3])[:-1], "identity"),
        (body(LINES[:3]) + b"{}", "identity"),
        (gzip.compress(body(LINES))[:-5], "gzip"),
        (zstandard.ZstdCompressor().compress(body(LINES))[:-900], "zstd"),
        (b"no zstd at all", "zstd"),
        (b"{}\n", "identity"),
        (b'{"epoch":"\x80"}\n', "identity"),
        (b"[" * 100_000 + b"\n", "identity"),
        (body([]), "br"),
        (zstandard.ZstdCompressor().compress(bytes(200_000_000)), "zstd"),
        (gzip.compress(bytes(200_000_000)), "gzip"),
    ],
    ids=[
        "nothing", "too few", "no newline", "too much", "gzip cut", "zstd cut", "no zstd", "no head", "no UTF-8", "deep", "br",
        "zstd bomb", "gzip bomb",
    ],
)  # fmt: skip
async def test_what_is_no_whole_snapshot(serve: Serve, content: bytes, coding: str) -> None:
    """Cut short, garbled, or inflating beyond its bounds: it ends with an error, not as if it had ended."""
    with pytest.raises(PeerUnreachable):
        await parts_of(await serve(content, coding))


async def test_a_broken_line(serve: Serve) -> None:
    """A connection that breaks between two lines is an error."""
    with pytest.raises(PeerUnreachable):
        await parts_of(await serve(body(LINES), cut=True))


async def test_a_refusal(serve: Serve) -> None:
    """What the server refuses is told as everywhere."""
    problem = {
        "type": "x",
        "title": "t",
        "status": 403,
        "detail": "d",
        "code": "forbidden",
        "request_id": "r",
    }
    with pytest.raises(PeerRefused, match="forbidden"):
        await parts_of(await serve(json.dumps(problem).encode(), status=403))
