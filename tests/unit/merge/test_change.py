"""A payload's members are cut out of it as they stand."""

import msgspec
import pytest

from medxz.merge.change import change_of, members_of, object_json
from tests.making import make_op


def written(op_type: str, payload: bytes) -> tuple[dict[str, bytes | None], bytes | None]:
    one = change_of(msgspec.structs.replace(make_op(1), op_type=op_type, payload=msgspec.Raw(payload)))
    return one.fields, one.reason


def test_members_are_slices() -> None:
    """Numbers keep their text, strings their escapes, objects their spaces; a name is what it says."""
    text = b'{"a" : 120.50 ,"b":12345678901234567890123, "\\u0063": {"k" :  [ 1e3 ]}, "d":"\\u00e9\\/", "e":null}'
    members = members_of(text)
    assert members == {
        "a": b"120.50",
        "b": b"12345678901234567890123",
        "c": b'{"k" :  [ 1e3 ]}',
        "d": b'"\\u00e9\\/"',
        "e": b"null",
    }
    assert members_of(object_json(members)) == members


@pytest.mark.parametrize(
    ("op_type", "payload", "fields", "reason"),
    [
        ("create", b'{"a":1,"b":null}', {"a": b"1", "b": None}, None),
        ("update", b'{"a": null }', {"a": None}, None),
        ("retract", b'{"reason":"twice","a":1}', {}, b'"twice"'),
        ("retract", b"{}", {}, None),
        ("retract", b'{"reason":null}', {}, None),
        ("resolve", b'{"a":1,"_resolve":{"reason":"seen", "x":1}}', {"a": b"1"}, b'"seen"'),
        ("resolve", b'{"_resolve":{}}', {}, b"{}"),
        ("resolve", b'{"_resolve":"seen"}', {}, b'"seen"'),
        ("resolve", b'{"_resolve":null,"reason":"r"}', {"reason": b'"r"'}, None),
        ("update", b'{"_resolve":{"reason":"seen"},"b":[]}', {"b": b"[]"}, b'"seen"'),
    ],
)
def test_what_an_op_writes(op_type, payload, fields, reason) -> None:
    """A retract writes nothing, null removes, and `_resolve` is no field but the place of a reason."""
    assert written(op_type, payload) == (fields, reason)


def test_the_envelope_is_kept() -> None:
    """A change has its op's place in the graph, its author, both times and the server's number."""
    op = msgspec.structs.replace(
        make_op(3), op_type="update", parents=("a", "b"), server_seq=9, server_received_at="2025"
    )
    one = change_of(op)
    shared = set(one.__struct_fields__) - {"fields", "reason"}
    assert {name: getattr(one, name) for name in shared} == {name: getattr(op, name) for name in shared}
