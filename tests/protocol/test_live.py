"""The live line: single pushes over a WebSocket, judged as requests are, and never the only way."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import aclosing

import aiohttp
import pytest
from aiohttp import WSMsgType

from medxz import limits
from medxz.errors import PeerRefused
from medxz.ids import RandomIds
from medxz.op import Operation
from medxz.peer import Peer
from medxz.peer.codings import DCZ_MAGIC
from medxz.peer.frames import wanted
from medxz.store.dictionaries import shipped_dictionary
from medxz.wire.live import LIVE_PATH, Packer, Unpacker
from tests.making import make_op
from tests.protocol.conftest import Caller, Server

DICTIONARY = shipped_dictionary()
DICTIONARY_ID = hashlib.sha256(DICTIONARY).hexdigest()
LIVE = f"{LIVE_PATH}?dictionary={DICTIONARY_ID}"


@pytest.fixture
async def hub(server: Server) -> Caller:
    """A hub that pushes for its device."""
    await server.caller()  # its device and user are known
    return await server.caller("hub", user_id=RandomIds().uuid7())


@pytest.fixture
async def peer(server: Server, hub: Caller) -> AsyncIterator[Peer]:
    made = Peer(server._serving.url, token=lambda: hub.token, thrifty=True)
    yield made
    await made.aclose()


def texts(*ops: Operation) -> list[bytes]:
    return [op.json() for op in ops]


async def line(session: aiohttp.ClientSession, server: Server, token: str) -> aiohttp.ClientWebSocketResponse:
    """The line as somebody else's client opens it."""
    return await session.ws_connect(
        f"{server._serving.url}{LIVE}", headers={"Authorization": f"Bearer {token}"}, compress=0
    )


async def test_single_pushes_by_a_line(server: Server, peer: Peer) -> None:
    """Ops that go by the line are stored and answered as those of a request, each of them over one connection."""
    ops = [make_op(number, payload='{"n":120.50}') for number in range(1, 41)]
    answers = [await peer.push(texts(op)) for op in ops]
    assert peer._live is not None
    assert peer._live._line is not None
    assert [answer.results[0].status for answer in answers] == ["accepted"] * 40
    assert (await peer.push(texts(ops[0]))).results[0].status == "duplicate"
    stored = [op async for op in every_op(peer)]
    assert [op.op_id for op in stored] == [op.op_id for op in ops]
    assert {bytes(op.payload) for op in stored} == {b'{"n":120.50}'}
    assert server._serving.open_connections <= 2  # the line, and the one for requests


async def every_op(peer: Peer) -> AsyncIterator[Operation]:
    for op in (await peer.pull(None, limit=1_000)).ops:
        yield op


async def test_a_push_that_is_refused_is_told_as_a_request_is(
    server: Server, hub: Caller, peer: Peer
) -> None:
    """A session that is revoked while the line is open pushes nothing more, and its client is told why."""
    await peer.push(texts(make_op(1)))
    await server.registry.revoke_session(hub.session_id)
    with pytest.raises(PeerRefused, match="session_revoked"):
        await peer.push(texts(make_op(2)))
    assert server.log.last_seq == 1


async def test_a_line_that_breaks_off(server: Server, peer: Peer) -> None:
    """A server that goes away between two pushes costs nothing: the next goes as a request."""
    first = make_op(1)
    await peer.push(texts(first))
    assert peer._live is not None
    line_then = peer._live._line
    assert line_then is not None
    for connection in list(server._serving.connections.connections):
        assert connection.transport is not None
        connection.transport.abort()
    answer = await peer.push(texts(first, make_op(2)))
    assert [result.status for result in answer.results] == ["duplicate", "accepted"]
    assert peer._live._line is None


async def test_a_push_that_is_too_long_for_a_line(peer: Peer) -> None:
    """A batch beyond the line's bound goes as a request."""
    ops = [make_op(number, payload='{"text":"' + "x" * 2_000 + '"}') for number in range(1, 60)]
    answer = await peer.push(texts(*ops))
    assert {result.status for result in answer.results} == {"accepted"}
    assert peer._live is not None
    assert peer._live._line is None


async def test_somebody_elses_client(server: Server, hub: Caller) -> None:
    """A WebSocket client of another maker gets an answer to each message, in their order."""
    async with aiohttp.ClientSession() as session:
        socket = await line(session, server, hub.token)
        up, down = Packer(DICTIONARY, up=True), Unpacker(DICTIONARY, up=False)
        for number in (1, 2):
            await socket.send_bytes(up.pack(b'{"ops":[' + make_op(number).json() + b"]}"))
        told = [down.unpack((await socket.receive()).data) for _ in range(2)]
        assert [b'"server_seq":%d' % number in text for number, text in zip((1, 2), told, strict=True)] == [
            True
        ] * 2
        await socket.close()


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x00" * 50,
        Packer(DICTIONARY, up=True).pack(b"[" * 1_000),
        Packer(DICTIONARY, up=True).pack(bytes(1 << 24)),
    ],
    ids=["nothing", "no-zstd", "no-push", "bomb"],
)
async def test_a_message_that_is_none(server: Server, hub: Caller, message: bytes) -> None:
    """What is no push ends the line with a problem document, whatever it would inflate to."""
    async with aiohttp.ClientSession() as session:
        socket = await line(session, server, hub.token)
        await socket.send_bytes(message)
        told = await socket.receive_json()
        assert told["status"] in {400, 413, 422}
        assert (await socket.receive()).type in {WSMsgType.CLOSE, WSMsgType.CLOSED}
    assert server.log.last_seq == 0


async def test_a_message_beyond_its_bound(server: Server, hub: Caller) -> None:
    """A packed message beyond the bound is cut off by the WebSocket itself."""
    async with aiohttp.ClientSession() as session:
        socket = await line(session, server, hub.token)
        await socket.send_bytes(bytes(limits.LIVE_PACKED_BYTES_MAX + 1))
        assert (await socket.receive()).type in {WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.ERROR}


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (LIVE, {}, 401),
        (LIVE, {"Authorization": "Bearer x"}, 401),
        (f"{LIVE_PATH}?dictionary={'0' * 64}", None, 415),
        (LIVE_PATH, None, 415),
        (f"{LIVE_PATH}?dictionary=no", None, 422),
    ],
    ids=["no-token", "no-jwt", "another-dictionary", "no-dictionary", "no-id"],
)
async def test_a_line_that_is_not_opened(
    server: Server, hub: Caller, path: str, headers: dict[str, str] | None, status: int
) -> None:
    """A line is refused with a problem document, as any request is."""
    sent = {"Authorization": f"Bearer {hub.token}"} if headers is None else headers
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{server._serving.url}{path}", headers=sent)
        assert refused.value.status == status


@pytest.mark.parametrize("role", ["admin", "clinician", "front_desk"])
async def test_a_line_is_a_hub_s(server: Server, role: str) -> None:
    """People push by requests: a line is refused before it is open."""
    person = await server.caller(role)
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await line(session, server, person.token)
        assert refused.value.status == 403


async def test_lines_of_a_hub_are_bounded(
    server: Server, hub: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub has so many lines and no more; another hub has its own, and an end makes room again."""
    monkeypatch.setattr(limits, "LIVE_LINES_PER_HUB_MAX", 1)
    other = await server.caller("hub", user_id=RandomIds().uuid7())
    async with aiohttp.ClientSession() as session:
        first = await line(session, server, hub.token)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await line(session, server, hub.token)
        assert refused.value.status == 429
        assert refused.value.headers is not None
        assert int(refused.value.headers["Retry-After"]) >= 1
        await (await line(session, server, other.token)).close()
        await first.close()
        async with asyncio.timeout(10):
            while (again := await opened(session, server, hub.token)) is None:
                await asyncio.sleep(0.01)
        await again.close()


async def opened(
    session: aiohttp.ClientSession, server: Server, token: str
) -> aiohttp.ClientWebSocketResponse | None:
    try:
        return await line(session, server, token)
    except aiohttp.WSServerHandshakeError:
        return None


async def test_all_lines_are_bounded(server: Server, hub: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond what the server has for lines, 503."""
    monkeypatch.setattr(limits, "LIVE_LINES_MAX", 0)
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await line(session, server, hub.token)
        assert refused.value.status == 503


async def test_what_is_no_websocket(hub: Caller) -> None:
    """A plain request for the line is told that it is none."""
    assert (await hub.ask("GET", LIVE)).code == "bad_request"


async def test_another_clinics_ops(server: Server, peer: Peer) -> None:
    """By a line, too, nothing gets into another clinic than the token's."""
    import msgspec

    stray = msgspec.structs.replace(make_op(1), clinic_id=RandomIds().uuid7())
    answer = await peer.push(texts(stray))
    assert (answer.results[0].status, answer.results[0].code) == ("rejected", "wrong_clinic")


async def test_a_server_that_stops(server: Server, peer: Peer) -> None:
    """An open line does not hold up a server's stop."""
    await peer.push(texts(make_op(1)))
    begun = asyncio.get_running_loop().time()
    await server._serving.stop()
    assert asyncio.get_running_loop().time() - begun < limits.SHUTDOWN_S_MAX


async def test_a_stream_in_frames(server: Server, hub: Caller, peer: Peer) -> None:
    """Who pays by the byte gets the stream as dcz, event by event, as soon as each is there."""
    ops = [make_op(number, payload='{"n":120.50}') for number in range(1, 150)]
    await peer.push(texts(*ops[:-1]))
    arrived: list[Operation] = []
    async with aclosing(peer.stream(None)) as pages:
        async for page in pages:
            arrived += page.ops
            if len(arrived) == len(ops) - 1 and page.ops:
                await peer.push(texts(ops[-1]))
            if len(arrived) == len(ops):
                break
    assert [op.op_id for op in arrived] == [op.op_id for op in ops]
    assert {bytes(op.payload) for op in arrived} == {b'{"n":120.50}'}
    wire = await first_bytes(server, hub, wanted(DICTIONARY), 40)
    assert wire == DCZ_MAGIC + bytes.fromhex(DICTIONARY_ID)


@pytest.mark.parametrize(
    "headers",
    [
        {"Accept-Encoding": "identity"},
        {"Accept-Encoding": "dcz"},
        {"Available-Dictionary": ":AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:", "Accept-Encoding": "dcz"},
        wanted(DICTIONARY) | {"Accept-Encoding": "zstd, gzip"},
    ],
    ids=["identity", "no-dictionary", "another-dictionary", "not-asked"],
)
async def test_a_stream_as_it_always_was(server: Server, hub: Caller, headers: dict[str, str]) -> None:
    """Who does not ask for dcz with a dictionary that is here gets plain events."""
    assert await first_bytes(server, hub, headers, 6) == b"event:"


async def first_bytes(server: Server, hub: Caller, headers: dict[str, str], count: int) -> bytes:
    sent = {"Authorization": f"Bearer {hub.token}"} | headers
    async with server.http.stream("GET", "/v1/sync/stream", headers=sent) as response:
        assert response.status_code == 200
        got = b""
        async for chunk in response.aiter_raw():
            got += chunk
            if len(got) >= count:
                break
        return got[:count]
