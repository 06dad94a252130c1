from __future__ import annotations

import asyncio
import io
import socket
import ssl

import httpx
import pytest
import trustme

from medxz.clock import SystemClock
from medxz.ids import RandomIds
from medxz.web import App, make_log, serve
from medxz.work import InlineWorker
from tests.unit.web.fakes import FakeServices
from tests.unit.web.raw import is_problem, until


def an_app(log: io.BytesIO | None = None) -> App:
    clock = SystemClock()
    return App(
        FakeServices(),  # type: ignore[arg-type]
        make_log(log or io.BytesIO(), clock),
        ids=RandomIds(),
        clock=clock,
        worker=InlineWorker(),
    )


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


async def test_tls(authority, tls):
    """With a context it serves https, a large answer included, and stops at once."""
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)
    app = an_app()
    serving = await serve(app, host="127.0.0.1", ssl_context=tls)
    assert serving.url.startswith("https://127.0.0.1:")
    async with httpx.AsyncClient(base_url=serving.url, verify=client_context) as client:
        assert len((await client.get("/openapi.json")).content) > 10_000
        loop = asyncio.get_running_loop()
        began = loop.time()
        await serving.stop(5)
        assert loop.time() - began < 2


async def test_plain_http_to_a_tls_port(tls):
    """Somebody who speaks plain HTTP to a TLS port is cut off, and the server goes on."""
    log = io.BytesIO()
    serving = await serve(an_app(log), host="127.0.0.1", ssl_context=tls)
    port = int(serving.url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    async with asyncio.timeout(10):
        assert b"HTTP" not in await reader.read()
    writer.close()
    await until(lambda: serving.open_connections == 0)
    await serving.stop(1)
    assert log.getvalue() == b""


async def test_sockets_that_are_bound_already():
    """It serves on sockets that it is handed, and tells their addresses."""
    bound = [socket.create_server(("127.0.0.1", 0)), socket.create_server(("::1", 0), family=socket.AF_INET6)]
    serving = await serve(an_app(), sockets=bound)
    assert serving.urls[0] == f"http://127.0.0.1:{bound[0].getsockname()[1]}"
    assert serving.urls[1] == f"http://[::1]:{bound[1].getsockname()[1]}"
    async with httpx.AsyncClient() as client:
        for url in serving.urls:
            assert (await client.get(f"{url}/health/live")).status_code == 200
    await serving.stop(1)


async def test_an_address_that_is_taken():
    """Where one address can't be had, none is kept, and the error says so."""
    taken = socket.create_server(("127.0.0.1", 0))
    with pytest.raises(OSError, match="in use"):
        await serve(an_app(), host="127.0.0.1", port=taken.getsockname()[1])
    taken.close()


async def test_nothing_to_serve_on():
    """A server without an address is a mistake of its program."""
    with pytest.raises(ValueError, match="nothing to serve on"):
        await serve(an_app())


async def test_after_the_stop_nobody_is_let_in():
    """A request on a kept connection, sent while the server stops, gets no half answer."""
    app = an_app()
    serving = await serve(app, host="127.0.0.1")
    async with httpx.AsyncClient(base_url=serving.url) as client:
        assert (await client.get("/health/live")).status_code == 200
        await serving.stop(1)
        with pytest.raises(httpx.TransportError):
            await client.get("/health/live")


async def test_a_pull_that_would_wait_while_the_server_stops(face):
    """A waiting pull that comes in while the server stops is answered with what there is."""
    face.app.lasting.stop()
    response = await face.client.get("/v1/sync/pull", params={"wait": 20})
    assert response.status_code == 200
    assert face.services.pull.asked == [(None, 500, 0.0)]


async def test_a_stream_that_comes_while_the_server_stops(face):
    """A stream that comes in while the server stops ends at once."""
    face.app.lasting.stop()
    response = await face.client.get("/v1/sync/stream")
    assert response.status_code == 200
    assert response.content == b""


async def test_a_refused_client_may_go_on(face):
    """A problem document does not cost the connection."""
    async with httpx.AsyncClient(base_url=face.serving.url, limits=httpx.Limits(max_connections=1)) as client:
        for _ in range(3):
            response = await client.post("/v1/sync/push", content=b"x" * 1000)
            assert response.status_code == 401
            assert is_problem(dict(response.headers), response.content, "token_missing")
    assert face.serving.open_connections <= 1
