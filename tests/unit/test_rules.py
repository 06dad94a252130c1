"""What an author hands in as a payload, and what may stand in an op's envelope beside the rules of each field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from medxz.errors import OpInvalid
from medxz.rules import check, explain
from tests.making import as_json, make_op


@pytest.mark.parametrize(
    "text", ['{"a":1},{"b":2}', '{"a":1} {"b":2}', '{"a":1},', ',{"a":1}', '{"a":[1', "", "{}]"]
)
def test_a_payload_is_one_object(text: str) -> None:
    """A text that only looks lawful in a list would break the whole push that it travels in."""
    with pytest.raises(OpInvalid) as refused:
        check(make_op(1, payload=text or " "))
    assert refused.value.field == "payload"


@pytest.mark.parametrize(
    ("field", "value"), [("server_seq", "x"), ("server_seq", [1]), ("server_received_at", 5)]
)
def test_a_server_s_field_of_another_type_is_named(field: str, value: Any) -> None:
    """It is not the payload that is blamed for it."""
    assert explain(json.dumps(as_json(make_op(1)) | {field: value}).encode()).field == field
