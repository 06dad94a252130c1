"""Which other places' pages may ask."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator

import httpx
import pytest

from medxz.clock import SystemClock
from medxz.ids import RandomIds
from medxz.web import App, make_log, serve
from medxz.work import InlineWorker
from tests.unit.web.fakes import FakeServices

CONSOLE = "https://console.example.org"
PREFLIGHT = {"Origin": CONSOLE, "Access-Control-Request-Method": "POST"}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A server that lets one place's pages ask."""
    clock = SystemClock()
    app = App(
        FakeServices(), make_log(io.BytesIO(), clock), ids=RandomIds(), clock=clock, worker=InlineWorker(),  # type: ignore[arg-type]
        cors_origins=frozenset({CONSOLE}),
    )  # fmt: skip
    serving = await serve(app, host="127.0.0.1")
    async with httpx.AsyncClient(base_url=serving.url, timeout=20) as client:
        yield client
    await serving.stop(2)


def cors_headers(response: httpx.Response) -> set[str]:
    return {name for name in response.headers if name.startswith("access-control-")}


async def test_none_by_default(face):
    """A server that names no origins has no such header, and OPTIONS is no method of it."""
    response = await face.client.get("/v1/info", headers={"Origin": CONSOLE})
    assert cors_headers(response) == set()
    assert "Origin" not in response.headers["Vary"]
    response = await face.client.options("/v1/sync/push", headers=PREFLIGHT)
    assert response.status_code == 405
    assert cors_headers(response) == set()


async def test_a_named_origin_reads_every_answer(client):
    """Answers, refusals and 404s carry its name and what it may read, never leave for cookies."""
    for path, status in (("/v1/info", 200), ("/v1/config", 401), ("/nowhere", 404)):
        response = await client.get(path, headers={"Origin": CONSOLE})
        assert response.status_code == status
        assert response.headers["Access-Control-Allow-Origin"] == CONSOLE
        assert response.headers["Access-Control-Expose-Headers"] == "X-Request-ID, Retry-After, Medxz-Safe"
        assert "Access-Control-Allow-Credentials" not in response.headers
        assert "Origin" in response.headers["Vary"]


@pytest.mark.parametrize(
    "origin",
    ["https://console.example.org.evil.example", "http://console.example.org", "https://console.example.org:444",
     "https://CONSOLE.example.org", "null", "*", "https://other.example"],
)  # fmt: skip
async def test_an_origin_is_named_exactly(client, origin):
    """Nothing that only looks like it is let in, and its preflight is refused like any other OPTIONS."""
    response = await client.get("/v1/info", headers={"Origin": origin})
    assert response.status_code == 200
    assert cors_headers(response) == set()
    assert "Origin" in response.headers["Vary"], "a cache keeps the two apart"
    response = await client.options("/v1/sync/push", headers=PREFLIGHT | {"Origin": origin})
    assert response.status_code == 405
    assert cors_headers(response) == set()


async def test_a_preflight_is_answered(client):
    """It says which methods the path has and which headers may be sent, without a token and without a body."""
    response = await client.options("/v1/sync/push", headers=PREFLIGHT)
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["Access-Control-Allow-Origin"] == CONSOLE
    assert response.headers["Access-Control-Allow-Methods"] == "POST"
    assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in response.headers
    assert (await client.options("/nowhere", headers=PREFLIGHT)).status_code == 404
    assert (await client.options("/v1/sync/push", headers={"Origin": CONSOLE})).status_code == 405
