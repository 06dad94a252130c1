"""What every refusal looks like, whatever was wrong."""

from __future__ import annotations

import json

from medxz.endpoints import ENDPOINTS
from tests.protocol.conftest import Answer, Server

_REFUSALS: dict[tuple[str, str], set[str]] = {
    (endpoint.method, endpoint.path): {refusal.code for refusal in endpoint.all_refusals()}
    for endpoint in ENDPOINTS
}


def assert_refused(
    answer: Answer, status: int, code: str, *, field: str | None = None, of: tuple[str, str] | None = None
) -> None:
    """A problem document with that status and code, which /openapi.json names for that endpoint."""
    assert (answer.status, answer.code) == (status, code), answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.body["status"] == status
    assert answer.body["request_id"] == answer.headers["x-request-id"]
    assert answer.body["type"] == f"/docs#error-{code}"
    assert answer.body["title"]
    assert "Traceback" not in answer.body["detail"]
    if field is not None:
        assert answer.body["field"] == field
    if of is not None:
        assert code in _REFUSALS[of], f"{code} is not described for {of}"


def assert_well(server: Server) -> None:
    """The server met no mistake of its own so far, and each line of its log is one JSON object."""
    for line in server.said.getvalue().splitlines():
        event = json.loads(line)
        assert isinstance(event, dict)
        assert event["level"] in {"debug", "info", "warning"}, event
        assert event.get("status", 0) < 500, event
