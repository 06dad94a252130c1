from __future__ import annotations

import re

import orjson
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from medxz.endpoints import ENDPOINTS
from medxz.errors import REFUSALS
from medxz.web.openapi import openapi_document

DOCUMENT = orjson.loads(openapi_document("1.2.3")())
REF = re.compile(r'"\$ref":"#/([^"]+)"')


def test_it_is_openapi_3_1():
    """The document is valid OpenAPI 3.1, and the same each time it is made."""
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert DOCUMENT["info"]["version"] == "1.2.3"
    assert list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors()) == []
    assert openapi_document("1.2.3")() == openapi_document("1.2.3")()


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_every_endpoint_is_whole(endpoint):
    """Each endpoint has its parameters, body, answer, security, and every refusal under its status with its code."""
    operation = DOCUMENT["paths"][endpoint.path][endpoint.method.lower()]
    assert operation["operationId"] == endpoint.name
    assert operation["summary"] == endpoint.about
    security: dict[str, list] = {"anyone": [], "optional": [{}, {"token": []}]}
    assert operation["security"] == security.get(endpoint.access, [{"token": []}])
    queries = {p["name"]: p["schema"] for p in operation["parameters"] if p["in"] == "query"}
    assert queries == {parameter.name: parameter.schema for parameter in endpoint.parameters}
    assert ("requestBody" in operation) == (endpoint.request is not None)
    assert {"200", "204"} & operation["responses"].keys() == {
        "never": {"200"}, "maybe": {"200", "204"}, "always": {"204"},
    }[endpoint.empty]  # fmt: skip
    if endpoint.empty != "always":
        assert endpoint.media in operation["responses"]["200"]["content"]
    assert "content" not in operation["responses"].get("204", {})
    for refusal in endpoint.all_refusals():
        response = operation["responses"][str(refusal.status)]
        assert refusal.code in response["x-codes"]
        _, narrowed = response["content"]["application/problem+json"]["schema"]["allOf"]
        assert refusal.code in narrowed["properties"]["code"]["enum"]
        assert "X-Request-ID" in response["headers"]
        if refusal.retryable:
            assert "Retry-After" in response["headers"]


def test_nothing_but_the_table_is_there():
    """The paths are those of the table of endpoints."""
    told = {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert told == {(endpoint.method, endpoint.path) for endpoint in ENDPOINTS}


def test_every_error_is_explained():
    """All codes stand together with their statuses, as /docs shows them."""
    assert {error["code"]: error["status"] for error in DOCUMENT["x-errors"]} == {
        refusal.code: refusal.status for refusal in REFUSALS
    }


def test_every_reference_leads_somewhere():
    """No $ref dangles, and no schema stands there that nothing refers to."""
    text = orjson.dumps(DOCUMENT).decode()
    used = set(REF.findall(text))
    for reference in used:
        target = DOCUMENT
        for part in reference.split("/"):
            target = target[part]
    assert {f"components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]} <= used


def test_ops_are_described_by_their_rules():
    """The rules that the code holds an op to beyond its types stand in its schema."""
    members = DOCUMENT["components"]["schemas"]["Operation"]["properties"]
    assert members["device_seq"]["minimum"] == 1
    assert members["device_seq"]["maximum"] == 2**53 - 1
    assert members["op_type"]["enum"] == ["create", "update", "amend", "retract", "resolve"]
    assert members["op_id"]["pattern"].startswith("^[0-9a-f]{8}-")
    assert members["payload"]["type"] == "object"


def test_keys_that_have_a_pattern_have_no_others():
    """A have-vector's keys are UUIDs: the description closes what the code closes."""
    have = DOCUMENT["components"]["schemas"]["ResumeRequest"]["properties"]["have"]
    assert have["additionalProperties"] is False
    assert len(have["patternProperties"]) == 1


async def test_it_is_served(face):
    """/openapi.json is that document, to anyone."""
    response = await face.client.get("/openapi.json", headers={"Authorization": ""})
    assert response.headers["Content-Type"] == "application/json"
    assert response.json() == orjson.loads(openapi_document("0.1.0")())
