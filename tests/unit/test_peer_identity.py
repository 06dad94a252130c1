"""A `Peer` that lets people, devices and hubs in; and one whose token ends while it asks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from medxz import wire
from medxz.errors import PeerRefused, PeerUnreachable
from medxz.peer import Peer, TokenSource
from medxz.store.dictionaries import shipped_dictionary
from medxz.web.encoding import Dictionary, Inflater, dcz_dictionary_id
from tests.making import CLINIC, DEVICE, USER, fixed_id, make_op

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SHIPPED = hashlib.sha256(shipped_dictionary()).hexdigest()
SESSION = {
    "access_token": "a2", "refresh_token": "r2", "expires_in": 900, "roles": ["clinician"],
    "user": {"user_id": USER, "name": "Nora", "email": "nora@clinic.example"},
    "clinic": {"clinic_id": CLINIC, "name": "Riverside"},
}  # fmt: skip
INFO = {
    "server_id": fixed_id(1), "epoch": fixed_id(2), "kind": "cloud", "protocol": ["1.0"], "version": "9",
    "time": "2026-11-21T08:00:00.000Z", "limits": {},
    "dictionaries": [{"id": SHIPPED, "url": f"/v1/dictionaries/{SHIPPED}", "bytes": 16_384}],
}  # fmt: skip


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[Peer]]]:
    """Serves one handler at every path, and gives a peer of it."""
    runners, peers = [], []

    async def start(handler: Handler, token: TokenSource = lambda: "tok") -> Peer:
        application = web.Application(client_max_size=64 << 20)
        application.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(application, shutdown_timeout=0.1, auto_decompress=False)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        runners.append(runner)
        peers.append(Peer(f"http://127.0.0.1:{runner.addresses[0][1]}", token=token))
        return peers[-1]

    yield start
    for peer in peers:
        await peer.aclose()
    for runner in runners:
        await runner.cleanup()


def refusal(status: int, code: str) -> web.Response:
    body = {
        "type": "about:blank",
        "title": "No",
        "status": status,
        "detail": "why",
        "code": code,
        "request_id": "r",
    }
    return web.json_response(body, status=status, content_type="application/problem+json")


def push_answer(count: int) -> web.Response:
    results = [
        {"op_id": fixed_id(number), "status": "accepted", "server_seq": number} for number in range(count)
    ]
    return web.json_response(
        {
            "server_id": fixed_id(1), "epoch": fixed_id(2), "cloud_epoch": None, "results": results,
            "cloud_through": {}, "refused_upstream": [],
        }
    )  # fmt: skip


class Renewing:
    """Credentials of which the first token has ended."""

    def __init__(self, *tokens: str) -> None:
        self.tokens = list(tokens)
        self.told: list[str] = []

    async def token(self) -> str | None:
        return self.tokens[0]

    async def ended(self, token: str) -> bool:
        self.told.append(token)
        if len(self.tokens) > 1:
            self.tokens.pop(0)
            return True
        return False


async def test_a_token_that_ends_is_exchanged_and_the_request_sent_again(serve) -> None:
    """401 token_expired asks the credentials once; whoever asked notices nothing."""
    seen: list[tuple[str | None, bytes]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.headers.get("Authorization"), await request.read()))
        if seen[-1][0] == "Bearer old":
            return refusal(401, "token_expired")
        return web.json_response({"cursor": "c"})

    credentials = Renewing("old", "new")
    peer = await serve(handler, credentials)
    assert await peer.resume({}) == "c"
    assert [token for token, _ in seen] == ["Bearer old", "Bearer new"]
    assert seen[0][1] == seen[1][1]
    assert credentials.told == ["old"]


@pytest.mark.parametrize("code", ["token_expired", "session_revoked", "token_invalid"])
async def test_a_token_that_cannot_be_exchanged_is_a_refusal(serve, code: str) -> None:
    """Where there is no other token the server's refusal stands, and a revoked session is never asked about twice."""
    asked = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.path)
        return refusal(401, code)

    credentials = Renewing("old")
    with pytest.raises(PeerRefused, match=code):
        await (await serve(handler, credentials)).status()
    assert len(asked) == 1
    assert credentials.told == (["old"] if code == "token_expired" else [])


async def test_a_second_token_that_has_ended_too(serve) -> None:
    """A token is exchanged once for a request: two clocks that disagree don't make a circle."""
    asked = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.headers["Authorization"])
        return refusal(401, "token_expired")

    with pytest.raises(PeerRefused, match="token_expired"):
        await (await serve(handler, Renewing("1", "2", "3"))).status()
    assert asked == ["Bearer 1", "Bearer 2"]


async def test_what_a_hub_passes_on(serve) -> None:
    """Login, refresh, logout and enrolment travel with the hub's token and the address of who asked the hub."""
    seen: list[tuple[str, str | None, str | None, dict[str, object]]] = []

    async def handler(request: web.Request) -> web.Response:
        headers = request.headers
        seen.append(
            (
                request.path,
                headers.get("Authorization"),
                headers.get("Medxz-Client-Address"),
                await request.json(),
            )
        )
        if request.path == "/v1/auth/logout":
            return web.Response(status=204)
        if request.path == "/v1/enroll":
            return web.json_response(
                {
                    "device_id": DEVICE, "clinic_id": CLINIC, "site_id": fixed_id(4), "scope": "full",
                    "ca_certificates": ["PEM"], "targets": [],
                }
            )  # fmt: skip
        return web.json_response(SESSION)

    peer = await serve(handler)
    login = wire.LoginRequest(email="nora@clinic.example", password="a long walk", device_id=DEVICE)
    assert (await peer.login(login, client_address="10.0.0.7")).refresh_token == "r2"
    assert (
        await peer.refresh(wire.RefreshRequest(refresh_token="r1"), client_address="10.0.0.7")
    ).expires_in == 900
    await peer.logout(wire.LogoutRequest(refresh_token="r2"))
    enrolled = await peer.enrol(wire.EnrolRequest(code="C", name="tablet", public_key="A" * 43))
    assert enrolled.device_id == DEVICE
    token, address = "Bearer tok", "10.0.0.7"
    assert [(path, who, whose) for path, who, whose, _ in seen] == [
        ("/v1/auth/login", token, address), ("/v1/auth/refresh", token, address),
        ("/v1/auth/logout", token, None), ("/v1/enroll", token, None),
    ]  # fmt: skip
    # what was not given does not stand there as null: a server refuses what it does not know
    assert seen[0][3] == {"email": "nora@clinic.example", "password": "a long walk", "device_id": DEVICE}
    assert seen[1][3] == {"refresh_token": "r1"}


async def test_what_a_hub_asks_for_itself(serve) -> None:
    """A claim and an assertion carry no token; a directory that has not changed is None."""
    seen: list[tuple[str, str | None]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.path_qs, request.headers.get("Authorization")))
        if request.path == "/v1/auth/hub":
            return web.json_response({"access_token": "hub", "expires_in": 900})
        return web.Response(status=204)

    peer = await serve(handler)
    assert (await peer.hub_token(wire.AssertionRequest(assertion="jwt"))).access_token == "hub"
    assert await peer.directory(5) is None
    assert seen == [("/v1/auth/hub", None), ("/v1/hubs/directory?after=5", "Bearer tok")]


async def test_ops_go_with_the_dictionary_that_a_server_names(serve) -> None:
    """A push is dcz where /v1/info names a dictionary that is here, and the server reads it back byte for byte."""
    pushed: list[tuple[str | None, bytes]] = []

    async def handler(request: web.Request) -> web.Response:
        if request.path == "/v1/info":
            return web.json_response(INFO)
        pushed.append((request.headers.get("Content-Encoding"), await request.read()))
        return push_answer(2)

    peer = await serve(handler)
    ops = [make_op(number).json() for number in (1, 2)]
    letter = wire.WireDeadLetter(device_id=DEVICE, device_seq=9, op_id=fixed_id(9), code="forbidden")
    await peer.push(ops, [letter])
    [(coding, body)] = pushed
    assert coding == "dcz"
    assert dcz_dictionary_id(body) == SHIPPED
    text = Inflater().inflate("dcz", body, 1 << 20, Dictionary.of(SHIPPED, shipped_dictionary()))
    assert text.startswith(b'{"ops":[' + b",".join(ops) + b"],")
    assert json.loads(text)["dead_letters"] == [
        {"device_id": DEVICE, "device_seq": 9, "op_id": fixed_id(9), "code": "forbidden"}
    ]


async def test_a_server_that_forgot_its_dictionary(serve) -> None:
    """415 for dcz is answered with zstd, and 415 for that with the plain text; neither is tried again."""
    codings: list[str | None] = []

    async def handler(request: web.Request) -> web.Response:
        if request.path == "/v1/info":
            return web.json_response(INFO)
        codings.append(request.headers.get("Content-Encoding"))
        return push_answer(2) if codings[-1] is None else refusal(415, "unsupported_media")

    peer = await serve(handler)
    for _ in range(2):
        await peer.push([make_op(number).json() for number in (1, 2)])
    assert codings == ["dcz", "zstd", None, None]


async def test_a_directory_event_that_says_nothing(serve) -> None:
    """A directory event without a revision is not this protocol."""

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"event: directory\ndata: {}\n\n")
        return response

    with pytest.raises(PeerUnreachable):
        _ = [page async for page in (await serve(stream)).stream(None)]
