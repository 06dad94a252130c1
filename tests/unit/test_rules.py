"""What an author hands in as a payload, and what may stand in an op's envelope beside the rules of each field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from medxz.errors import OpInvalid
from medxz.rules import are_lawful, check, decode_op, explain
from tests.making import as_json, fixed_id, make_op


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


@pytest.mark.parametrize("text", [b'{"op_id":"\x80"}', b"\xff", b'{"a\xc3":1}', b"[" * 5_000])
def test_bytes_that_are_no_text_are_no_op(text: bytes) -> None:
    """They are refused as an op, however far somebody has read before he finds out."""
    with pytest.raises(OpInvalid):
        decode_op(text)


SEVERAL = (fixed_id(1), fixed_id(2))


@pytest.mark.parametrize("entity_type", ["Patient", "Condition", "Observation", "Spaceship"])
@pytest.mark.parametrize("op_type", ["update", "amend", "retract", "resolve"])
@pytest.mark.parametrize("parents", [(), SEVERAL[:1], SEVERAL])
def test_the_policy_of_a_type_says_what_an_op_may_be(
    entity_type: str, op_type: str, parents: tuple[str, ...]
) -> None:
    """An appended type is never updated, and several parents are named by a resolve or under merge alone."""
    op = make_op(1, entity_type=entity_type, op_type=op_type, parents=parents)
    expected = None
    if op_type == "update" and entity_type in {"Observation", "Spaceship"}:
        expected = "op_type"
    elif len(parents) > 1 and op_type != "resolve" and entity_type != "Patient":
        expected = "parents"
    if expected is None:
        check(op)
        return
    with pytest.raises(OpInvalid) as refused:
        check(op)
    assert refused.value.field == expected
    assert not are_lawful([make_op(2), op])


@pytest.mark.parametrize("entity_type", ["Patient", "Condition", "Observation"])
@pytest.mark.parametrize("op_type", ["create", "update", "amend", "retract", "resolve"])
def test_nothing_is_its_own_parent_and_a_create_has_none(entity_type: str, op_type: str) -> None:
    """Under every policy."""
    own = make_op(1, entity_type=entity_type, op_type=op_type, op_id=fixed_id(3), parents=(fixed_id(3),))
    begun = make_op(1, entity_type=entity_type, parents=(fixed_id(4),))
    for op in (own, begun):
        with pytest.raises(OpInvalid) as refused:
            check(op)
        assert refused.value.field == "parents"
