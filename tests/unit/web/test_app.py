from __future__ import annotations

import asyncio
import re
from contextlib import suppress

import pytest

from medxz import errors
from medxz.endpoints import ENDPOINTS
from medxz.web import app as app_module
from tests.unit.web.fakes import DICTIONARY, DICTIONARY_ID
from tests.unit.web.raw import answer, exchange, is_problem, until

PUSH = "/v1/sync/push"
UUID7 = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@pytest.mark.parametrize("given", ["abc", "a" * 128, "!~{}/=", "0190c2f3-0000-7000-8000-000000000001"])
async def test_a_clients_request_id_is_echoed(face, given):
    """A printable id of the client's stands in the header of the answer, and in a problem."""
    response = await face.client.get("/v1/info", headers={"X-Request-ID": given})
    assert response.headers["X-Request-ID"] == given
    response = await face.client.get("/nowhere", headers={"X-Request-ID": given})
    assert response.headers["X-Request-ID"] == response.json()["request_id"] == given


@pytest.mark.parametrize("given", [None, "", "a b", "a" * 129, "tab\there", "é".encode()])
async def test_no_lawful_request_id_gets_a_new_one(face, given):
    """Without an id that can be echoed, a request gets a new UUIDv7."""
    headers = [] if given is None else [("X-Request-ID", given)]
    response = await face.client.get("/v1/info", headers=headers)
    assert UUID7.fullmatch(response.headers["X-Request-ID"])


@pytest.mark.parametrize("refusal", errors.REFUSALS, ids=lambda refusal: refusal.code)
async def test_every_refusal_is_a_problem_document(face, refusal):
    """Whatever a service refuses with arrives as its status and code, with what its status asks for."""
    face.services.push.raises = refusal("said to the client", field="ops.0", retry_after_s=3)
    response = await face.client.post(PUSH, content=b"{}")
    assert response.status_code == refusal.status
    assert is_problem(dict(response.headers), response.content, refusal.code)
    document = response.json()
    assert document["title"] == refusal.title
    assert document["status"] == refusal.status
    assert document["detail"] == "said to the client"
    assert document["field"] == "ops.0"
    assert response.headers["Retry-After"] == "3"
    assert ("WWW-Authenticate" in response.headers) == (refusal.status == 401)
    assert document.keys() <= {"type", "title", "status", "detail", "code", "request_id", "field", "hint"}


async def test_an_unforeseen_exception_tells_the_client_nothing(face):
    """An exception that nobody foresaw is 500 `internal`; its text goes to nobody, its type and place to the log."""
    face.services.push.raises = ValueError("Mrs Example, born 1950")
    response = await face.client.post(PUSH, content=b'{"ops":["Mrs Example"]}')
    assert response.status_code == 500
    assert is_problem(dict(response.headers), response.content, "internal")
    assert b"Example" not in response.content
    assert b"Traceback" not in response.content
    broke, failed = face.log_lines()
    assert broke["event"] == "request broke"
    assert broke["level"] == "error"
    assert broke["error"] == "ValueError"
    assert "push" in broke["stack"][-1]
    assert broke["request_id"] == failed["request_id"] == response.headers["X-Request-ID"]
    assert failed["level"] == "warning"
    assert b"Example" not in face.log.getvalue()


@pytest.mark.parametrize(
    "error", [TimeoutError("t"), RecursionError("r"), OSError("o"), asyncio.InvalidStateError()]
)
async def test_no_kind_of_exception_gets_another_answer(face, error):
    """What aiohttp would answer in its own way is 500 `internal` too."""
    face.services.push.raises = error
    response = await face.client.post(PUSH, content=b"{}")
    assert is_problem(dict(response.headers), response.content, "internal")


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        (None, "token_missing"),
        ("", "token_missing"),
        ("Basic Z29vZA==", "token_missing"),
        ("Bearer", "token_missing"),
        ("Bearer bad", "token_invalid"),
        ("Bearer expired", "token_expired"),
        ("Bearer \xe9".encode("latin-1"), "token_invalid"),
        ("Bearer é".encode(), "token_invalid"),
    ],
)
async def test_tokens(face, authorization, code):
    """Without a good token everything but what is open to anyone is 401, and says how to ask."""
    del face.client.headers["Authorization"]
    headers = [] if authorization is None else [("Authorization", authorization)]
    for endpoint in ENDPOINTS:
        response = await face.client.request(
            endpoint.method, endpoint.path.replace("{id}", DICTIONARY_ID), headers=headers
        )
        if endpoint.access == "anyone" or (endpoint.access == "optional" and authorization is None):
            assert response.status_code == (400 if endpoint.method == "POST" else 200) or endpoint.bodiless
        else:
            assert response.status_code == 401
            assert is_problem(dict(response.headers), response.content, code)
            assert response.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("scheme", ["bearer", "BEARER"])
async def test_the_scheme_has_no_case(face, scheme):
    """`bearer` is `Bearer`."""
    response = await face.client.get("/v1/config", headers={"Authorization": f"{scheme} good"})
    assert response.status_code == 200


async def test_who_sends_too_much_waits(face):
    """A throttled request is 429 with Retry-After, before its body is read."""
    face.services.throttle.refuses = True
    response = await face.client.post(PUSH, content=b"{}")
    assert response.status_code == 429
    assert response.headers["Retry-After"] == "7"
    assert face.services.push.bodies == []


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/sync/push/", "//v1/info", "/v1/dictionaries/", "/docs/../x", "/%00", "/é"]
)
async def test_unknown_paths(face, path):
    """A path that is not there is a problem document of 404."""
    response = await face.client.get(path)
    assert response.status_code == 404
    assert is_problem(dict(response.headers), response.content, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", PUSH, "POST"),
        ("POST", "/v1/info", "GET, HEAD"),
        ("OPTIONS", "/v1/info", "GET, HEAD"),
        ("TRACE", "/health", "GET, HEAD"),
        ("PUT", "/docs", "GET, HEAD"),
        ("HEAD", "/v1/sync/stream", "GET"),
        ("DELETE", f"/v1/dictionaries/{DICTIONARY_ID}", "GET, HEAD"),
        ("POST", "/docs/docs.js", "GET, HEAD"),
    ],
)
async def test_other_methods(face, method, path, allow):
    """A known path with another method is 405 with Allow."""
    response = await face.client.request(method, path)
    assert response.status_code == 405
    assert response.headers["Allow"] == allow
    if method != "HEAD":
        assert is_problem(dict(response.headers), response.content, "method_not_allowed")


async def test_head(face):
    """HEAD answers as GET does, without the body."""
    got, head = await face.client.get("/v1/info"), await face.client.head("/v1/info")
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["Content-Length"] == str(len(got.content))


@pytest.mark.parametrize(
    "request_text",
    [
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /v1/info HTTP/1.1\r\nbroken header\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /v1/info HTTP/1.1\r\nHost: h\r\nAuthorization: " + b"a" * 70_000 + b"\r\n\r\n",
        b"GET /v1/info HTTP/1.1\r\nHost: h\r\n" + b"X-A: b\r\n" * 500 + b"\r\n",
        b"POST /v1/sync/push HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /v1/sync/push HTTP/1.1\r\nHost: h\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/sync/push HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"BREW /docs HTTP/1.1\r\nHost: h\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 40,
    ],
    ids=["no request", "version", "header", "long line", "long header", "many headers", "smuggling", "length", "lengths", "method", "TLS"],
)  # fmt: skip
async def test_what_is_not_http(face, request_text):
    """What can't be read as a request is a problem document of 400, the connection ends, and the server goes on."""
    reader, writer = await asyncio.open_connection("127.0.0.1", face.port)
    writer.write(request_text)
    async with asyncio.timeout(15):
        status, headers, body = await answer(reader)
        assert status == 400
        assert is_problem(headers, body, "bad_request")
        with suppress(ConnectionResetError):  # where what was sent had not been read to its end
            assert await reader.read() == b""
    writer.close()
    assert (await face.client.get("/health/live")).status_code == 200
    assert {line["event"] for line in face.log_lines()} == {"request failed"}


async def test_security_headers(face):
    """Every answer keeps browsers from guessing and storing, and names no versions."""
    for path in ("/v1/info", "/nowhere", "/openapi.json", "/docs", "/v1/config"):
        response = await face.client.get(path)
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Server"] == "medxz"
        assert "Accept-Encoding" in response.headers["Vary"]


async def test_a_dictionary_is_for_ever(face):
    """A dictionary is its bytes, may be kept for ever, and offers itself to browsers."""
    response = await face.client.get(f"/v1/dictionaries/{DICTIONARY_ID}")
    assert response.content == DICTIONARY
    assert "immutable" in response.headers["Cache-Control"]
    assert response.headers["Use-As-Dictionary"] == 'match="/v1/*"'
    for name in ("ab" * 32, "x", "%C3%A9", "%FF", "a%2Fb"):
        assert (await face.client.get(f"/v1/dictionaries/{name}")).status_code == 404


async def test_health(face):
    """/health/ready is 503 with its checks while the server does not serve; the others stay 200."""
    face.services.health.ok = False
    ready = await face.client.get("/health/ready")
    assert ready.status_code == 503
    assert ready.json() == {"ok": False, "checks": [{"name": "store", "ok": False, "detail": ""}]}
    assert (await face.client.get("/health/live")).status_code == 200
    assert (await face.client.get("/health")).status_code == 200


async def test_metrics(face):
    """/metrics speaks Prometheus' text format, and every request is counted under its endpoint and status."""
    response = await face.client.get("/metrics")
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert response.text.endswith("medxz_up 1\n")
    await face.client.get("/nowhere")
    await face.client.post(PUSH, content=b"{}")
    await face.client.post(PUSH, content=b"{}", headers={"Authorization": "Bearer bad"})
    await exchange(face.port, b"NONSENSE\r\n\r\n")
    assert face.services.metrics.seen == [
        ("metrics", 200), ("none", 404), ("push", 200), ("push", 401), ("none", 400),
    ]  # fmt: skip


async def test_the_log_tells_of_failures_only(face, monkeypatch):
    """A failed or slow request is one line with the keys that were agreed on; a good one is none."""
    await face.client.post(PUSH, content=b'{"secret":1}', params={})
    assert face.log_lines() == []
    await face.client.get("/v1/sync/pull", params={"cursor": "nowhere", "limit": 5})
    (line,) = face.log_lines()
    assert line.keys() == {
        "time", "level", "event", "request_id", "method", "endpoint", "status", "ms", "device_id",
    }  # fmt: skip
    assert (line["level"], line["event"], line["endpoint"], line["status"]) == (
        "info",
        "request failed",
        "pull",
        400,
    )
    assert b"nowhere" not in face.log.getvalue()
    monkeypatch.setattr(app_module, "SLOW_S", 0.0)
    await face.client.post(PUSH, content=b'{"secret":1}')
    assert face.log_lines()[-1]["event"] == "request slow"
    assert b"secret" not in face.log.getvalue()
    assert b"good" not in face.log.getvalue()


async def test_connections_are_bounded(face):
    """One connection too many is closed at once; those that are open go on, and places come free again."""
    assert (await face.client.get("/health/live")).status_code == 200
    face.serving.connections.most = 1
    reader, writer = await asyncio.open_connection("127.0.0.1", face.port)
    writer.write(b"GET /health/live HTTP/1.1\r\nHost: h\r\n\r\n")
    async with asyncio.timeout(10):
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
    writer.close()
    assert (await face.client.get("/health/live")).status_code == 200
    await face.client.aclose()
    await until(lambda: face.serving.open_connections == 0)
    assert (await exchange(face.port, b"GET /health/live HTTP/1.1\r\nHost: h\r\n\r\n"))[0] == 200


async def test_pipelined_requests(face):
    """Two requests in one write get two answers in order."""
    reader, writer = await asyncio.open_connection("127.0.0.1", face.port)
    writer.write(
        b"GET /nowhere HTTP/1.1\r\nHost: h\r\nX-Request-ID: 1\r\n\r\nGET /health/live HTTP/1.1\r\nHost: h\r\nX-Request-ID: 2\r\n\r\n"
    )
    first = await reader.readuntil(b"\r\n\r\n")
    assert b"X-Request-ID: 1" in first
    rest = await reader.readuntil(b'"checks":[]}')
    assert b"X-Request-ID: 2" in rest
    writer.close()
