"""/openapi.json: OpenAPI 3.1, made once from the table of endpoints and the messages themselves.

What stands in it is what is enforced. Each refusal is there with its status and code; `x-errors` tells all codes
together, and `x-access` who may ask an endpoint.
"""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
import orjson
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from medxz import limits, op, wire
from medxz.clock import TIME_PATTERN
from medxz.endpoints import ENDPOINTS
from medxz.errors import REFUSALS, Refusal
from medxz.ids import UUID_PATTERN
from medxz.web.call import JSON
from medxz.web.encoding import CODINGS
from medxz.web.problem import PROBLEM

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic.json_schema import JsonSchemaMode

    from medxz.endpoints import Endpoint

Json = dict[str, Any]

_REF: Final = "#/components/schemas/"
_TEXT_TYPES: Final = {
    "text/event-stream": "`event: ops` with the cursor as `id` and the ops of a pull as `data`; `event: ping` "
    f"at least every {limits.STREAM_PING_S_MAX} s; to a hub `event: directory` with the revision as `data`.",
    "application/x-ndjson": "A line of JSON for the cursor, then one for each entity; as many as the first says.",
    "text/plain": "Prometheus' text format.",
    "text/html": "A page.",
}
_FLEET: Final = ("/v1/fleet/", "/v1/hubs/report", "/v1/hubs/update", "/v1/hubs/releases/")
_IDENTITY: Final = ("/v1/auth/", "/v1/hubs/", "/v1/enroll", "/v1/codes", "/.well-known/")
_SECURITY: Final[dict[str, list[Json]]] = {"anyone": [], "optional": [{}, {"token": []}]}
_ACCESS: Final = {
    "anyone": "Anyone, without a token.",
    "optional": "Anyone; who shows a token is known by it.",
    "device": "A device's token.",
    "device_or_hub": "A device's or a hub's token.",
    "hub_or_admin": "A hub's token, or an admin's.",
    "hub": "A hub's token.",
    "admin": "An admin's token.",
    "operator": "An operator's token, which is good for nothing else.",
}


def openapi_document(version: str) -> Callable[[], bytes]:
    """What makes the document, once: when somebody asks for it, since that takes a tenth of a second and 1.4 MB."""
    return cache(partial(_document, version))


def _document(version: str) -> bytes:
    """The document, as it is served."""
    paths: dict[str, Json] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "medxz sync protocol",
            "version": version,
            "description": "What devices, hubs and the cloud say to each other. A hub and a cloud answer alike.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": "sync", "description": "Operations go up, the log comes down."},
            {
                "name": "entities",
                "description": "What the operations amount to, and where they do not agree.",
            },
            {"name": "identity", "description": "Who comes in: people, devices and hubs."},
            {"name": "clinic", "description": "Configuration, the audit, and what a person should look at."},
            {"name": "fleet", "description": "What hubs are to run, and how they are."},
            {"name": "server", "description": "Who this server is and how it is."},
        ],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "headers": _headers(),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "An EdDSA-signed access token.",
                }
            },
        },
        "x-errors": [_error(refusal) for refusal in sorted(REFUSALS, key=lambda r: (r.status, r.code))],
    }
    return orjson.dumps(document)


def _operation(endpoint: Endpoint) -> Json:
    operation: Json = {
        "operationId": endpoint.name,
        "summary": endpoint.about,
        "tags": [_tag(endpoint.path)],
        "x-access": _ACCESS[endpoint.access],
        "security": _SECURITY.get(endpoint.access, [{"token": []}]),
        "parameters": _parameters(endpoint),
        "responses": _responses(endpoint),
    }
    if endpoint.request is not None:
        operation["requestBody"] = {
            "required": not endpoint.bodiless,
            "description": f"At most {limits.BODY_BYTES_MAX} bytes as sent and {limits.BODY_INFLATED_BYTES_MAX} "
            f"without its coding; `Content-Encoding` may be one of {', '.join(CODINGS)}.",
            "content": {JSON: {"schema": _one_of(endpoint.requests)}},
        }
    return operation


def _one_of(messages: tuple[type, ...]) -> Json:
    """The message; where there are two, the first without a token and the second with a device's."""
    found = [{"$ref": _REF + message.__name__} for message in messages]
    return found[0] if len(found) == 1 else {"anyOf": found}


def _tag(path: str) -> str:
    if path.startswith("/v1/sync/"):
        return "sync"
    if path.startswith(_FLEET):
        return "fleet"
    if path.startswith(_IDENTITY):
        return "identity"
    if path.startswith(("/v1/entities/", "/v1/conflicts")):
        return "entities"
    return (
        "clinic"
        if path.startswith("/v1/") and path.split("/")[2] not in {"info", "dictionaries"}
        else "server"
    )


def _parameters(endpoint: Endpoint) -> list[Json]:
    found: list[Json] = [
        {"name": p.name, "in": "path", "required": True, "description": p.about, "schema": p.schema}
        for p in endpoint.places
    ]
    found += [
        {"name": p.name, "in": "query", "required": p.required, "description": p.about, "schema": p.schema}
        for p in endpoint.parameters
    ]
    found += [
        {"name": p.name, "in": "header", "required": False, "description": p.about, "schema": p.schema}
        for p in endpoint.headers
    ]
    if endpoint.media == "text/event-stream":
        about = "a cursor to go on from; goes before ?cursor="
        found.append(
            {"name": "Last-Event-ID", "in": "header", "description": about, "schema": {"type": "string"}}
        )
    about = (
        f"echoed where it is printable ASCII, without spaces and at most {limits.REQUEST_ID_CHARS_MAX} long"
    )
    found.append({"name": "X-Request-ID", "in": "header", "description": about, "schema": {"type": "string"}})
    return found


def _responses(endpoint: Endpoint) -> Json:
    done: Json = {
        "description": "Done.",
        "headers": {"X-Request-ID": {"$ref": "#/components/headers/X-Request-ID"}},
    }
    responses: Json = {}
    if endpoint.empty != "always":
        responses["200"] = done | {"content": {endpoint.media: {"schema": _answer_schema(endpoint)}}}
    if endpoint.ranged:
        about = "The part that `Range` asks for; one that is none of the file is 422."
        responses["206"] = responses["200"] | {"description": about}
    if endpoint.empty != "never":
        responses["204"] = done
    by_status: dict[int, list[type[Refusal]]] = {}
    for refusal in endpoint.all_refusals():
        by_status.setdefault(refusal.status, []).append(refusal)
    for status, refusals in sorted(by_status.items()):
        responses[str(status)] = _problem_response(status, refusals)
    if endpoint.name == "health_ready":
        responses["503"]["description"] += " Or: it does not serve yet, with the checks that say why."
        responses["503"]["content"][JSON] = {"schema": {"$ref": _REF + "HealthAnswer"}}
    return responses


def _answer_schema(endpoint: Endpoint) -> Json:
    if endpoint.answers:
        return _one_of(endpoint.answers)
    if endpoint.media in _TEXT_TYPES:
        return {"type": "string", "description": _TEXT_TYPES[endpoint.media]}
    if endpoint.media == JSON:
        return {"type": "object"}
    return {"type": "string", "contentMediaType": endpoint.media}


def _problem_response(status: int, refusals: list[type[Refusal]]) -> Json:
    headers = {"X-Request-ID": {"$ref": "#/components/headers/X-Request-ID"}}
    if any(refusal.retryable for refusal in refusals):
        headers["Retry-After"] = {"$ref": "#/components/headers/Retry-After"}
    if status == 401:
        headers["WWW-Authenticate"] = {"$ref": "#/components/headers/WWW-Authenticate"}
    codes = [refusal.code for refusal in refusals]
    narrowed = {"properties": {"code": {"enum": codes}, "status": {"const": status}}}
    return {
        "description": " ".join(f"`{refusal.code}`: {refusal.title}." for refusal in refusals),
        "headers": headers,
        "content": {PROBLEM: {"schema": {"allOf": [{"$ref": _REF + "Problem"}, narrowed]}}},
        "x-codes": codes,
    }


def _headers() -> Json:
    text: Json = {"type": "string"}
    return {
        "X-Request-ID": {"description": "The client's, or a new one.", "required": True, "schema": text},
        "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}},
        "WWW-Authenticate": {"description": "Bearer.", "schema": text},
    }


def _error(refusal: type[Refusal]) -> Json:
    return {
        "code": refusal.code,
        "status": refusal.status,
        "title": refusal.title,
        "hint": refusal.hint,
        "retryable": refusal.retryable,
    }


def _schemas() -> Json:
    """The messages of both libraries under their own names; two of one name would be a mistake."""
    requests = {message for endpoint in ENDPOINTS for message in endpoint.requests}
    answers = {message for endpoint in ENDPOINTS for message in endpoint.answers} | {wire.Problem}
    modes: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        (kind, "validation" if kind in requests else "serialization")
        for kind in sorted(requests | answers, key=lambda kind: kind.__name__)
        if issubclass(kind, BaseModel)
    ]
    _, found = models_json_schema(modes, ref_template=_REF + "{model}")
    structs = sorted(
        (k for k in requests | answers if issubclass(k, msgspec.Struct)), key=lambda kind: kind.__name__
    )
    _, ours = msgspec.json.schema_components(structs, ref_template=_REF + "{name}")
    models: Json = found["$defs"]
    assert not models.keys() & ours.keys(), "two messages have one name"
    schemas: Json = {name: _tidy(schema) for name, schema in sorted({**models, **ours}.items())}
    _say_what_ops_must_be(schemas)
    return schemas


def _tidy(schema: Any) -> Any:
    """Without the titles that only repeat a member's name, and closed where every key has a pattern."""
    if isinstance(schema, list):
        return [_tidy(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    tidied = {key: _tidy(part) for key, part in schema.items()}
    for member in tidied.get("properties", {}).values():
        member.pop("title", None)
    if "patternProperties" in tidied:
        tidied.setdefault("additionalProperties", False)
    return tidied


def _say_what_ops_must_be(schemas: Json) -> None:
    """The rules of an op that `medxz.op` holds beyond its types, and where an op is judged by itself."""
    uuid: Json = {"type": "string", "pattern": f"^{UUID_PATTERN}$"}
    count: Json = {"type": "integer", "minimum": 1, "maximum": limits.INTEGER_MAX}
    members = schemas["Operation"]["properties"]
    for name in ("op_id", "clinic_id", "device_id", "user_id", "entity_id"):
        members[name] = uuid
    members["entity_type"]["pattern"] = f"^{op.ENTITY_TYPE_PATTERN}$"
    members["op_type"]["enum"] = list(op.OP_TYPES)
    members["parents"] = {"type": "array", "items": uuid, "uniqueItems": True, "maxItems": limits.PARENTS_MAX}
    members["device_time"]["pattern"] = f"^{TIME_PATTERN}$"
    members["device_seq"] = members["schema_version"] = count
    members["payload"] = {"type": "object", "description": "Kept and passed on byte for byte."}
    for name, pattern in (("hash", op.HASH_PATTERN), ("signature", op.SIGNATURE_PATTERN)):
        members[name]["anyOf"][0]["pattern"] = f"^{pattern}$"
    push = schemas["PushRequest"]
    push["anyOf"] = [
        {"properties": {"ops": {"minItems": 1}}},
        {"required": ["dead_letters"], "properties": {"dead_letters": {"minItems": 1}}},
    ]
    push["properties"]["ops"]["items"] = {
        "anyOf": [{"$ref": _REF + "Operation"}, {}],
        "description": "Anything else is rejected by itself, and does not keep the others from being stored.",
    }
