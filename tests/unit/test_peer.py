"""A `Peer` against real sockets: what it sends, what it takes for an answer, and what it does not."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
import zstandard
from aiohttp import web

from medxz import wire
from medxz.errors import ConfigurationError, PeerRefused, PeerUnreachable
from medxz.have import Numbers
from medxz.peer import Peer
from medxz.peer.answers import ANSWER_BYTES_MAX
from medxz.peer.events import EventParser
from tests.making import CLINIC, DEVICE, fixed_id, make_op

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PAGE = {"server_id": fixed_id(1), "epoch": fixed_id(2), "ops": [], "next_cursor": "c", "has_more": False}


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[Peer]]]:
    """Serves one handler at every path, and gives a peer of it."""
    runners, peers = [], []

    async def start(
        handler: Handler, idle_timeout_s: float = 30, dictionaries: Sequence[str] | None = None
    ) -> Peer:
        application = web.Application(client_max_size=64 << 20)
        if dictionaries is not None:
            application.router.add_get("/v1/info", answering(info(dictionaries)))
        application.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(application, shutdown_timeout=0.1, auto_decompress=False)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        runners.append(runner)
        port = runner.addresses[0][1]
        peers.append(Peer(f"http://127.0.0.1:{port}/", token=lambda: "tok", idle_timeout_s=idle_timeout_s))
        return peers[-1]

    yield start
    for peer in peers:
        await peer.aclose()
    for runner in runners:
        await runner.cleanup()


def answering(body: bytes, status: int = 200, /, **headers: str) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(
            body=body, status=status, headers={name.replace("_", "-"): text for name, text in headers.items()}
        )

    return handler


def info(dictionaries: Sequence[str]) -> bytes:
    told = [{"id": name, "url": f"/v1/dictionaries/{name}", "bytes": 1} for name in dictionaries]
    return json.dumps(
        {
            "server_id": fixed_id(1), "epoch": fixed_id(2), "kind": "cloud", "protocol": ["1.0"], "version": "9",
            "time": "2026-11-21T08:00:00.000Z", "limits": {}, "dictionaries": told,
        }
    ).encode()  # fmt: skip


def page(**changes: object) -> bytes:
    return json.dumps(PAGE | changes).encode()


def problem(status: int, code: str) -> bytes:
    return json.dumps(
        {
            "type": "about:blank",
            "title": "No",
            "status": status,
            "detail": "why",
            "code": code,
            "request_id": "r",
        }
    ).encode()


async def test_a_push_carries_the_exact_bytes(serve) -> None:
    """Ops travel byte for byte, with the token; a large body is compressed, a small one is not."""
    seen: list[tuple[str | None, bytes, str | None]] = []

    async def handler(request: web.Request) -> web.Response:
        coding = request.headers.get("Content-Encoding")
        body = await request.read()
        if coding is not None:
            body = zstandard.ZstdDecompressor().decompressobj().decompress(body)
        seen.append((coding, body, request.headers.get("Authorization")))
        results = [
            {"op_id": op["op_id"], "status": "accepted", "server_seq": 1} for op in json.loads(body)["ops"]
        ]
        return web.json_response(
            {
                "server_id": fixed_id(1), "epoch": fixed_id(2), "cloud_epoch": None, "results": results,
                "cloud_through": 0, "refused_upstream": [],
            }
        )  # fmt: skip

    peer = await serve(handler, dictionaries=())
    small = make_op(1, payload='{"n":120.50}')
    await peer.push([small.json()])
    many = [make_op(number) for number in range(2, 60)]
    answer = await peer.push([op.json() for op in many])
    assert len(answer.results) == 58
    assert seen[0] == (
        None if len(seen[0][1]) < 512 else "zstd",
        b'{"ops":[' + small.json() + b"]}",
        "Bearer tok",
    )
    assert b'"payload":{"n":120.50}' in seen[0][1]
    assert seen[1][0] == "zstd"
    assert seen[1][1] == b'{"ops":[' + b",".join(op.json() for op in many) + b"]}"


async def test_a_server_that_takes_no_zstd(serve) -> None:
    """415 for a compressed body: it is sent again as it is, and from then on."""
    codings = []

    async def handler(request: web.Request) -> web.Response:
        codings.append(request.headers.get("Content-Encoding"))
        if codings[-1]:
            return web.Response(status=415, body=problem(415, "unsupported_media"))
        return web.json_response({"cursor": "x"})

    peer = await serve(handler)
    have = {fixed_id(number): Numbers([(1, 2)]) for number in range(40)}
    assert await peer.resume(have) == "x"
    assert await peer.resume(have) == "x"
    assert codings == ["zstd", None, None]


@pytest.mark.parametrize("coding", ["identity", "gzip", "zstd"])
async def test_codings_of_answers(serve, coding: str) -> None:
    """An answer is read in each coding that was asked for, a payload in it byte for byte."""
    op = make_op(1, payload='{"n":120.50}')
    body = page()[:-1].replace(b'"ops": []', b'"ops": [' + op.json() + b"]") + b"}"
    sent = {"identity": body, "gzip": gzip.compress(body), "zstd": zstandard.compress(body)}[coding]
    peer = await serve(answering(sent, Content_Encoding=coding))
    pulled = await peer.pull(None, limit=10)
    assert [bytes(held.payload) for held in pulled.ops] == [b'{"n":120.50}']


def bomb(coding: str) -> bytes:
    zeros = bytes(1 << 20)
    if coding == "gzip":
        packer = zlib.compressobj(9, wbits=31)
        return b"".join(packer.compress(zeros) for _ in range(64)) + packer.flush()
    stream = zstandard.ZstdCompressor().compressobj()
    return b"".join(stream.compress(zeros) for _ in range(64)) + stream.flush()


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"<html>Welcome to the Wi-Fi</html>", {}),
        (b"", {}),
        (page()[:-5], {}),
        (page(has_more="yes"), {}),
        (page(ops=[{"op_id": "x"}]), {}),
        (page().replace(b'"server_id": "', b'"server_id": "\xff'), {}),
        (gzip.compress(page())[:-9], {"Content_Encoding": "gzip"}),
        (page(), {"Content_Encoding": "br"}),
        (page(), {"Content_Encoding": "zstd"}),
        (bomb("gzip"), {"Content_Encoding": "gzip"}),
        (bomb("zstd"), {"Content_Encoding": "zstd"}),
        (b" " * (ANSWER_BYTES_MAX + 1), {}),
    ],
    ids=[
        "html",
        "nothing",
        "cut",
        "type",
        "op",
        "not-utf-8",
        "cut-gzip",
        "br",
        "not-zstd",
        "bomb-gzip",
        "bomb-zstd",
        "long",
    ],
)
async def test_what_is_no_answer(serve, body: bytes, headers: dict[str, str]) -> None:
    """What is not this protocol, cut short or beyond its bounds counts as no answer at all."""
    peer = await serve(answering(body, 200, **headers))
    with pytest.raises(PeerUnreachable):
        await peer.pull(None, limit=10)


@pytest.mark.parametrize(
    "change", [{"payload": '{"n":1}'}, {"hash": "0" * 64}, {"parents": (DEVICE, CLINIC)}]
)
async def test_a_garbled_op_is_not_taken_in(serve, change: dict[str, object]) -> None:
    """An op whose hash does not fit, or that breaks a rule of the envelope, is no answer."""
    import msgspec

    op = make_op(1, payload='{"n":2}')
    op = msgspec.structs.replace(op, hash=op.digest().hex())
    if "payload" in change:
        change = {"payload": msgspec.Raw(b'{"n":1}')}
    bad = msgspec.structs.replace(op, **change)
    peer = await serve(answering(page()[:-1].replace(b'"ops": []', b'"ops": [' + bad.json() + b"]") + b"}"))
    with pytest.raises(PeerUnreachable):
        await peer.pull(None, limit=10)


async def test_refusals_carry_their_code(serve) -> None:
    """A problem document becomes PeerRefused, with Retry-After; a bare status is nobody's refusal."""
    peer = await serve(answering(problem(503, "overloaded"), 503, Retry_After="7"))
    with pytest.raises(PeerRefused) as refused:
        await peer.status()
    assert (refused.value.status, refused.value.code, refused.value.message) == (503, "overloaded", "why")
    assert refused.value.retry_after_s == 7
    for status in (302, 400, 413, 502):
        with pytest.raises(PeerUnreachable):
            await (await serve(answering(b"<html>nginx</html>", status, Location="/"))).status()


async def test_nobody_there() -> None:
    """A closed port is unreachable, and an address that is none is refused before anything is sent."""
    peer = Peer("http://127.0.0.1:1", connect_timeout_s=2)
    with pytest.raises(PeerUnreachable, match="can't be reached"):
        await peer.info()
    await peer.aclose()
    for url in ("ftp://x", "hub:8443", "", "http://", "https://u" + ":p@hub"):
        with pytest.raises(ConfigurationError):
            Peer(url)


async def test_standing_still_is_given_up_and_slowness_is_not(serve) -> None:
    """An answer may take as long as it likes while bytes come; silence for the idle time ends it."""
    silent = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for byte in page():
            await response.write(bytes([byte]))
            await asyncio.sleep(0.005)
        return response

    async def stuck(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(page()[:10])
        await silent.wait()
        return response

    begun = asyncio.get_running_loop().time()
    await (await serve(slow, idle_timeout_s=0.4)).pull(None, limit=10)
    assert asyncio.get_running_loop().time() - begun > 0.4
    with pytest.raises(PeerUnreachable, match="stands still"):
        await (await serve(stuck, idle_timeout_s=0.2)).pull(None, limit=10)
    silent.set()


async def test_an_answer_that_breaks_off(serve) -> None:
    """A connection that ends within an answer is no answer."""

    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"{")
        assert request.transport is not None
        request.transport.abort()
        return response

    with pytest.raises(PeerUnreachable):
        await (await serve(cut)).info()


async def test_results_that_do_not_fit_the_request(serve) -> None:
    """An answer with another number of results settles nothing."""
    answer: dict[str, object] = {
        "server_id": fixed_id(1), "epoch": fixed_id(2), "cloud_epoch": None, "results": [], "cloud_through": 0,
        "refused_upstream": [],
    }  # fmt: skip
    with pytest.raises(PeerUnreachable, match="0 results for 1"):
        await (await serve(answering(json.dumps(answer).encode()), dictionaries=())).push([make_op(1).json()])


async def test_a_stream(serve) -> None:
    """The stream's ops come with the cursor after them, pings and what is not known as empty pages."""
    op = make_op(1)

    async def stream(request: web.Request) -> web.StreamResponse:
        assert request.query["cursor"] == "c0"
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        text = b": hello\n\nevent: ping\n\nevent: ops\nid: c1\ndata: [" + op.json() + b"]\n\n"
        text += b'event: directory\ndata: {"revision":7}\n\nevent: weather\ndata: sun\n\n'
        for at in range(0, len(text), 7):
            await response.write(text[at : at + 7])
        return response

    pages = [page async for page in (await serve(stream)).stream("c0")]
    assert [(page.cursor, len(page.ops), page.revision) for page in pages] == [
        (None, 0, None), (None, 0, None), ("c1", 1, None), (None, 0, 7), (None, 0, None),
    ]  # fmt: skip
    assert pages[2].ops[0].op_id == op.op_id


async def test_a_stream_that_is_refused(serve) -> None:
    """A stream that is refused says so before it begins."""
    peer = await serve(answering(problem(409, "cursor_epoch_changed"), 409))
    with pytest.raises(PeerRefused, match="cursor_epoch_changed"):
        _ = [page async for page in peer.stream("c")]


def test_events_in_pieces() -> None:
    """Events come out whole however their bytes are cut, with either line end, comments left out."""
    text = b": c\r\nevent: ops\r\nid: 1\r\ndata: [1,\r\ndata: 2]\r\n\r\nevent:ping\n\nretry: 5\n\n"
    for size in (1, 2, 3, 5, 100):
        parser = EventParser()
        events = [event for at in range(0, len(text), size) for event in parser.feed(text[at : at + size])]
        assert [(event.name, event.data, event.last_id) for event in events] == [
            ("ops", "[1,\n2]", "1"),
            ("ping", "", None),
        ]


def test_an_endless_event() -> None:
    """An event that does not end is cut off at its bound."""
    parser = EventParser(data_bytes_max=1_000)
    with pytest.raises(PeerUnreachable):
        for _ in range(50):
            list(parser.feed(b"data: " + b"x" * 100 + b"\n"))
    parser = EventParser(data_bytes_max=1_000)
    with pytest.raises(PeerUnreachable):
        for _ in range(50):
            list(parser.feed(b"x" * 100))


async def test_a_new_identity_is_asked_for(serve) -> None:
    """The request for a new identity carries the name and the key."""
    seen = {}

    async def handler(request: web.Request) -> web.Response:
        seen.update(await request.json())
        return web.json_response(
            {
                "device_id": DEVICE, "clinic_id": CLINIC, "site_id": CLINIC, "scope": "full", "access_token": "new",
                "ca_certificates": [], "targets": [], "later": 1,
            }
        )  # fmt: skip

    asked = wire.ReenrolRequest(name="tablet", public_key="A" * 43)
    answer = await (await serve(handler)).reenrol(asked)
    assert seen == {"name": "tablet", "public_key": "A" * 43}
    assert answer.access_token == "new"
