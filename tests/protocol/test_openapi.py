"""/openapi.json and the stream, which schemathesis can't follow (tests/system/test_openapi_contract.py has the rest)."""

from __future__ import annotations

import json
from typing import Any

import httpx
from openapi_schema_validator import OAS31Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from tests.making import run_of
from tests.protocol.conftest import Caller, Server

STREAM = "/v1/sync/stream"


async def described(server: Server) -> dict[str, Any]:
    return dict((await server.http.get("/openapi.json")).json())


def assert_as_described(document: dict[str, Any], response: httpx.Response) -> None:
    """The status, the type and the headers are those that the description has for the stream."""
    told = document["paths"][STREAM]["get"]["responses"][str(response.status_code)]
    assert response.headers["content-type"] in told["content"]
    for name, header in told["headers"].items():
        assert name in response.headers or not document["components"]["headers"][name].get("required"), header


async def test_a_stream_is_what_is_described(server: Server, device: Caller) -> None:
    """Its head, and its events: `ops` with a cursor as id and ops of the described form as data, and `ping`."""
    document = await described(server)
    registry = Registry().with_resource("urn:api", DRAFT202012.create_resource(document))
    ops = document["components"]["schemas"]["PullAnswer"]["properties"]["ops"]
    absolute = json.loads(json.dumps(ops).replace('"#/', '"urn:api#/'))
    validator = OAS31Validator(absolute, registry=registry)
    await device.push(*run_of(1, 3))
    token = {"Authorization": f"Bearer {device.token}"}
    async with server.http.stream("GET", STREAM, headers=token) as response:
        assert_as_described(document, response)
        events: list[dict[str, str]] = [{}]
        async for line in response.aiter_lines():
            name, _, value = line.partition(": ")
            if not line:
                events.append({})
                if len(events) > 2:
                    break
            else:
                assert name not in events[-1]
                events[-1][name] = value
    assert events[0] == {"event": "ping", "data": "{}"}
    assert events[1].keys() == {"event", "id", "data"}
    assert events[1]["event"] == "ops"
    held = json.loads(events[1]["data"])
    assert len(held) == 3
    validator.validate(held)
    assert list(validator.iter_errors([{**held[0], "op_id": "x"}])), "the check can fail"
    assert (await device.pull(events[1]["id"])).body["ops"] == []


async def test_the_refusals_of_a_stream_are_described(server: Server, device: Caller) -> None:
    """Each refusal that it can meet is there with its status, type, headers and code."""
    document = await described(server)
    token = {"Authorization": f"Bearer {device.token}"}
    seen = set()
    requests: tuple[dict[str, Any], ...] = (
        {"headers": token, "params": {"cursor": "x"}},
        {"headers": token | {"Last-Event-ID": "x"}},
        {"headers": token, "params": {"limit": "1"}},
        {"headers": {}},
        {"headers": {"Authorization": "Bearer x"}},
    )
    for request in requests:
        response = await server.http.get(STREAM, **request)
        assert_as_described(document, response)
        told = document["paths"][STREAM]["get"]["responses"][str(response.status_code)]
        assert response.json()["code"] in told["x-codes"]
        seen.add(response.json()["code"])
    await server.registry.revoke_session(device.session_id)
    response = await server.http.get(STREAM, headers=token)
    assert_as_described(document, response)
    assert seen | {response.json()["code"]} == {
        "bad_cursor", "invalid", "token_missing", "token_invalid", "session_revoked",
    }  # fmt: skip
