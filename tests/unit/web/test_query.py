from __future__ import annotations

import pytest

from medxz import limits
from medxz.endpoints import ENDPOINTS
from medxz.errors import Invalid
from medxz.trust.operators import PREFIX
from medxz.web.query import read_query
from tests.unit.web.raw import exchange, is_problem

PULL = next(endpoint for endpoint in ENDPOINTS if endpoint.name == "pull").parameters


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {"limit": 500, "wait": 0}),
        ("limit=1", {"limit": 1, "wait": 0}),
        ("limit=1000&wait=30", {"limit": 1000, "wait": 30.0}),
        ("wait=0.5", {"limit": 500, "wait": 0.5}),
        ("wait=1e1", {"limit": 500, "wait": 10.0}),
        ("wait=1e-05", {"limit": 500, "wait": 0.00001}),
        ("cursor=a%20b+c", {"limit": 500, "wait": 0, "cursor": "a b c"}),
        ("cursor=", {"limit": 500, "wait": 0, "cursor": ""}),
        ("cursor=" + "a" * limits.CURSOR_CHARS_MAX, {"limit": 500, "wait": 0, "cursor": "a" * limits.CURSOR_CHARS_MAX}),
    ],
)  # fmt: skip
def test_lawful_queries(text, expected):
    """Parameters come out as their types, with the table's defaults."""
    assert read_query(PULL, text) == expected


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=-1", "limit"),
        ("limit=", "limit"),
        ("limit", "limit"),
        ("limit=1.0", "limit"),
        ("limit=+1", "limit"),
        ("limit=%201", "limit"),
        ("limit=0x10", "limit"),
        ("limit=1_0", "limit"),
        ("limit=%D9%A1", "limit"),  # a digit, but not one of ASCII
        ("limit=" + "9" * 5000, "limit"),
        ("limit=1&limit=1", "limit"),
        ("wait=30.1", "wait"),
        ("wait=-0.1", "wait"),
        ("wait=nan", "wait"),
        ("wait=inf", "wait"),
        ("wait=1e999", "wait"),
        ("cursor=a&cursor=b", "cursor"),
        ("offset=1", "offset"),
        ("Limit=1", "Limit"),
        ("=1", ""),
        ("x" * 500 + "=1", "x" * 64),
        ("cursor=%FF", None),
        ("cursor=\udcff", None),
        ("cursor=é", None),
        ("&".join(f"a{n}=1" for n in range(100)), None),
    ],
)
def test_other_queries(text, field):
    """What the table does not allow is Invalid and names the parameter."""
    with pytest.raises(Invalid) as raised:
        read_query(PULL, text)
    assert raised.value.field == field


async def test_a_service_gets_what_was_asked(face):
    """A pull's parameters reach the service."""
    await face.client.get("/v1/sync/pull", params={"cursor": "c-7", "limit": 3, "wait": 0})
    assert face.services.pull.asked == [("c-7", 3, 0.0)]


@pytest.mark.parametrize("endpoint", [e for e in ENDPOINTS if e.name != "stream"], ids=lambda e: e.name)
async def test_unknown_parameters_are_refused_everywhere(face, endpoint):
    """No endpoint lets a parameter pass that it does not know."""
    token = {"Authorization": f"Bearer {PREFIX}good"} if endpoint.access == "operator" else None
    response = await face.client.request(endpoint.method, endpoint.path, params={"lmit": 1}, headers=token)
    assert response.status_code == 422
    assert is_problem(dict(response.headers), response.content, "invalid")
    assert response.json()["field"] == "lmit"


@pytest.mark.parametrize("query", [b"cursor=\xff", b"cursor=%ff", b"\xf0\x9f=1", b"%f0%9f=1", b"%"])
async def test_bytes_that_are_no_text(face, query):
    """A query that is no UTF-8 is 422 or not HTTP at all, never a 500."""
    request = b"GET /v1/sync/pull?" + query + b" HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer good\r\n\r\n"
    status, headers, body = await exchange(face.port, request)
    assert status in {400, 422}
    assert is_problem(headers, body, "invalid" if status == 422 else "bad_request")
