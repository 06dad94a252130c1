"""What bad bodies get: their code from the protocol, never a 500, and the server goes on serving."""

from __future__ import annotations

import gzip
import json
import resource
import time
from collections.abc import AsyncIterator, Iterator

import pytest
import zstandard

from medxz import limits
from medxz.web.encoding import DCZ_MAGIC
from tests.making import DEVICE, as_json, fixed_id, make_op, run_of
from tests.protocol.conftest import Caller, Server
from tests.protocol.refused import assert_refused, assert_well

PUSH = ("POST", "/v1/sync/push")
GOOD = b'{"ops":[%b]}' % make_op(1).json()
LAST = fixed_id(0xDF)
DEEP = 100_000


@pytest.fixture(autouse=True)
async def _goes_on_serving(server: Server) -> AsyncIterator[None]:
    """Whatever a test sends: another device's push is stored afterwards, and nothing broke inside."""
    yield
    other = await server.caller(device_id=LAST)
    assert (await other.push(make_op(1, device_id=LAST))).statuses == ["accepted"]
    assert_well(server)


def with_text(field: str, text: str, number: int = 1) -> bytes:
    """A push of one op in which a field is this very text."""
    op = json.dumps(as_json(make_op(number)) | {field: "HERE"}, ensure_ascii=False)
    return b'{"ops":[%b]}' % op.replace('"HERE"', text).encode()


NOT_JSON = {
    "nothing": b"",
    "blanks": b" \n ",
    "half of it": GOOD[: len(GOOD) // 2],
    "all but the end": GOOD[:-1],
    "more behind it": GOOD + b"x",
    "twice": GOOD + GOOD,
    "no JSON at all": b"ops",
    "another language": b"<ops/>",
    "single quotes": b"{'ops':[]}",
    "a comma too many": b'{"ops":[1,],}',
    "a comment": b'{"ops":[] /* none */}',
    "an array cut off": b"[1,",
    "a form": b"ops=1",
    "NUL bytes": bytes(64),
    "a byte order mark": b"\xef\xbb\xbf" + GOOD,
    "UTF-16": GOOD.decode().encode("utf-16"),
    "no UTF-8": b"\xff\xfe\xfd",
    "no UTF-8 in a name": GOOD.replace(b'"ops"', b'"op\xc0"'),
    "NaN": b'{"ops":[NaN]}',
    "NaN in a payload": with_text("payload", '{"a":NaN}'),
    "Infinity in a payload": with_text("payload", '{"a":Infinity}'),
    "-Infinity in a payload": with_text("payload", '{"a":[-Infinity]}'),
    "NaN for a number": with_text("device_seq", "NaN"),
    "100,000 levels": b"[" * DEEP + b"]" * DEEP,
    "100,000 levels and no end": b"[" * DEEP,
    "100,000 objects": b'{"ops":' * DEEP + b"1" + b"}" * DEEP,
    "100,000 levels of ops": b'{"ops":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "100,000 levels beside the ops": b'{"ops":[],"a":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "100,000 levels in a payload": with_text("payload", '{"a":' * DEEP + "1" + "}" * DEEP),
    "100,000 levels of parents": with_text("parents", "[" * DEEP + "]" * DEEP),
}


async def test_what_is_not_json(device: Caller) -> None:
    """bad_json, whatever the text is instead."""
    for name, body in NOT_JSON.items():
        print(name)
        assert_refused(await device.push_raw(body), 400, "bad_json", of=PUSH)
    assert (await device.status())["received_through"] == 0


NO_PUSH = {
    "a list": b"[]",
    "null": b"null",
    "a number": b"7",
    "a text": b'"ops"',
    "nothing in it": b"{}",
    "another member": b'{"op":[]}',
    "no ops": b'{"ops":[]}',
    "no ops and no dead letters": b'{"ops":[],"dead_letters":[]}',
    "null for ops": b'{"ops":null}',
    "an object for ops": b'{"ops":{}}',
    "one op bare": b'{"ops":%b}' % make_op(1).json(),
    "a member more": GOOD[:-1] + b',"more":1}',
    "a name of NUL more": GOOD[:-1] + b',"\\u0000":1}',
    "a name of a lone surrogate more": GOOD[:-1] + b',"\\ud800":1}',
    "ops twice": GOOD[:-1] + b"," + GOOD[1:],
    "ops twice, the first one empty": b'{"ops":[],' + GOOD[1:],
    "a number for dead letters": GOOD[:-1] + b',"dead_letters":7}',
    "a broken dead letter": GOOD[:-1] + b',"dead_letters":[{"device_id":"x"}]}',
}


async def test_what_is_no_push(server: Server, device: Caller) -> None:
    """invalid, for the push as a whole: nothing of it is stored."""
    for name, body in NO_PUSH.items():
        print(name)
        assert_refused(await device.push_raw(body), 422, "invalid", of=PUSH)
    assert server.log.last_seq == 0


async def test_too_many_ops(server: Server, device: Caller) -> None:
    """1,000 ops are a push, and 1,001 are too_large."""
    ops = b",".join(op.json() for op in run_of(1, 1_001))
    assert_refused(await device.push_raw(b'{"ops":[%b]}' % ops), 413, "too_large", field="ops", of=PUSH)
    assert_refused(await device.push_raw(b'{"ops":[%b]}' % b",".join([b"7"] * 1_001)), 413, "too_large")
    assert server.log.last_seq == 0
    most = ops[: ops.rindex(b',{"op_id"')]
    assert set((await device.push_raw(b'{"ops":[%b]}' % most)).statuses) == {"accepted"}


async def test_items_that_are_no_ops(device: Caller) -> None:
    """Each is rejected by itself, without an op_id to name it by, and the good one among them is stored."""
    items = [b"7", b"null", b'"x"', b"[]", b"{}", b"1e999", b'{"op_id":"x"}', b"[[[]]]", b"true"]
    answer = await device.push_raw(b'{"ops":[%b]}' % b",".join([*items, make_op(1).json(), *items]))
    assert answer.statuses == ["invalid"] * 9 + ["accepted"] + ["invalid"] * 9
    assert {result["op_id"] for result in answer.body["results"] if result["status"] == "rejected"} == {None}


TEXTS = {
    "NUL": '"\\u0000"',
    "NUL at the end": '"%s\\u0000"',
    "a raw NUL": '"%s\x00"',
    "a line break at the end": '"%s\\n"',
    "a lone surrogate": '"\\ud800"',
    "a lone surrogate at the end": '"%s\\udfff"',
    "surrogates the wrong way round": '"\\udc00\\ud800"',
    "a number": "7",
    "a number without end": "9" * 5_000,
    "a list": '["%s"]',
    "an object": '{"%s":1}',
    "a truth": "true",
    "nothing": '""',
    "200 levels": "[" * 200 + "]" * 200,
}
FIELDS = (
    "op_id", "clinic_id", "device_id", "user_id", "entity_type", "entity_id", "op_type", "parents", "device_time",
    "hash", "signature",
)  # fmt: skip


@pytest.mark.parametrize("field", FIELDS)
async def test_texts_of_the_envelope(device: Caller, field: str) -> None:
    """NUL, surrogates and other types in a field of the envelope are invalid and named; the neighbour is stored."""
    whole = as_json(make_op(1)) | {"hash": "0" * 64, "signature": "A" * 86, "parents": fixed_id(1)}
    for number, (name, pattern) in enumerate(TEXTS.items(), 1):
        text = pattern.replace("%s", str(whole[field]))
        if field == "parents" and name != "200 levels":
            text = f"[{text}]"
        print(name, text[:80])
        good = make_op(number).json()
        bad = with_text(field, text)[8:-2]
        answer = await device.push_raw(b'{"ops":[%b,%b]}' % (bad, good))
        assert answer.status == 200, answer.body
        assert answer.statuses == ["invalid", "accepted"]
        assert answer.body["results"][0]["field"] == field


async def test_numbers_of_the_envelope(server: Server, device: Caller) -> None:
    """device_seq and schema_version are whole numbers from 1 to 2^53 - 1, written plainly."""
    wrong = ("1" * 26, "9" * 5_000, "-1", "0", "1.5", "1e400", "true", "null", '"1"', str(2**53), "[1]", "{}")
    for field in ("device_seq", "schema_version"):
        for text in wrong:
            print(field, text[:40])
            answer = await device.push_raw(with_text(field, text))
            assert answer.statuses == ["invalid"]
            assert answer.body["results"][0]["field"] == field
            assert answer.body["results"][0]["op_id"] is not None
    assert server.log.last_seq == 0


@pytest.mark.parametrize("name", ["colour", "\\u0000", "\\ud800", "server_\\ud800seq", "x" * 5_000, ""])
async def test_unknown_fields_of_the_envelope(device: Caller, name: str) -> None:
    """A field that no op has makes it invalid, whatever it is called; what is said of it can be stored and sent."""
    good, bad = make_op(1).json(), make_op(2).json()
    answer = await device.push_raw(b'{"ops":[%b,"%b":1},%b]}' % (bad[:-1], name.encode(), good))
    assert answer.statuses == ["invalid", "accepted"]
    assert len(answer.body["results"][0]["field"]) <= 64


async def test_a_payload_of_200_levels(device: Caller) -> None:
    """Deeper than 64 levels is invalid, for that op alone; 64 are not too deep."""
    shapes = [("[", "]"), ('{"a":', "}")]
    cases = [(levels, *shape) for levels in (64, 65, 200, 900) for shape in shapes]
    for number, (levels, opening, closing) in enumerate(cases, 1):
        payload = '{"a":' + opening * (levels - 1) + "1" + closing * (levels - 1) + "}"
        answer = await device.push_raw(with_text("payload", payload, number))
        assert answer.statuses == ["accepted" if levels <= 64 else "invalid"], (levels, opening)


async def test_a_payload_that_is_not_utf_8(device: Caller) -> None:
    """It is invalid by itself, and its neighbour is stored."""
    bad = make_op(2).json().replace(b"final", b"fi\xffal")
    answer = await device.push_raw(b'{"ops":[%b,%b]}' % (bad, make_op(1).json()))
    assert answer.statuses == ["invalid", "accepted"]
    assert answer.body["results"][0]["field"] == "payload"


def _bombs() -> Iterator[tuple[str, bytes]]:
    zeros = bytes(limits.BODY_INFLATED_BYTES_MAX + 1)
    yield "gzip", gzip.compress(zeros, 9)
    members = gzip.compress(bytes(limits.MIB), 9)
    yield "gzip", members * 33
    yield "gzip", gzip.compress(b'{"ops":[' + b" " * limits.BODY_INFLATED_BYTES_MAX)
    yield "zstd", zstandard.compress(zeros)
    yield "zstd", zstandard.ZstdCompressor(write_content_size=False).compress(zeros)
    much = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(128 * limits.MIB))
    yield "zstd", much * 32


async def test_bombs(server: Server, device: Caller) -> None:
    """A body that unfolds beyond the limit is too_large, in any coding, and takes no memory to find that out."""
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for coding, bomb in _bombs():
        assert len(bomb) < limits.BODY_BYTES_MAX
        assert_refused(await device.push_raw(bomb, **{"Content-Encoding": coding}), 413, "too_large", of=PUSH)
    info = (await device.ask("GET", "/v1/info")).body
    dictionary = info["dictionaries"][0]
    content = (await server.http.get(dictionary["url"])).content
    raw = zstandard.ZstdCompressionDict(content, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    for size in (True, False):
        compressor = zstandard.ZstdCompressor(dict_data=raw, write_content_size=size)
        bomb = compressor.compress(bytes(limits.BODY_INFLATED_BYTES_MAX + 1))
        bomb = DCZ_MAGIC + bytes.fromhex(dictionary["id"]) + bomb
        assert_refused(await device.push_raw(bomb, **{"Content-Encoding": "dcz"}), 413, "too_large", of=PUSH)
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
    assert (
        grown_kib * limits.KIB < 8 * limits.BODY_INFLATED_BYTES_MAX
    )  # the bombs were made in this process too


async def test_a_body_of_9_mib(server: Server, device: Caller) -> None:
    """too_large, told at once where the length is, and on the way where it is not."""
    body = b'{"ops":[' + b" " * (9 * limits.MIB) + b"]}"

    async def in_parts() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 65_536):
            yield body[at : at + 65_536]

    assert_refused(await device.push_raw(body), 413, "too_large", of=PUSH)
    assert_refused(await device.ask(*PUSH, content=in_parts()), 413, "too_large", of=PUSH)
    assert server.services.metrics.render()


async def test_types_and_codings(device: Caller) -> None:
    """Another type or coding is unsupported_media; a coding that the body does not have is bad_json."""
    for content_type in ("text/plain", "application/xml", "application/json; charset=utf-16", "", "x"):
        answer = await device.push_raw(GOOD, **{"Content-Type": content_type})
        assert_refused(answer, 415, "unsupported_media", of=PUSH)
    for coding in ("br", "deflate", "gzip, gzip", "gzip, zstd", "x-none"):
        answer = await device.push_raw(GOOD, **{"Content-Encoding": coding})
        assert_refused(answer, 415, "unsupported_media", of=PUSH)
        assert answer.headers["accept-encoding"] == "zstd, gzip, dcz"
    packed = {"gzip": gzip.compress(GOOD), "zstd": zstandard.compress(GOOD)}
    for coding, whole in packed.items():
        for broken in (GOOD, b"", whole[:-3], whole + b"more", whole[:10] + bytes(20) + whole[30:]):
            answer = await device.push_raw(broken, **{"Content-Encoding": coding})
            assert_refused(answer, 400, "bad_json", of=PUSH)
    unknown = DCZ_MAGIC + bytes(32) + packed["zstd"]
    assert_refused(await device.push_raw(unknown, **{"Content-Encoding": "dcz"}), 415, "unsupported_media")
    assert_refused(await device.push_raw(GOOD, **{"Content-Encoding": "dcz"}), 400, "bad_json")


NO_HAVE = {
    "a list": "[]",
    "null": "null",
    "a number": "7",
    "a device that is none": '{"x":1}',
    "a device in capitals": '{"DEVICE":1}'.replace("DEVICE", DEVICE.upper()),
    "a device of NUL": '{"\\u0000":1}',
    "a device of a lone surrogate": '{"\\ud800":1}',
    "below 0": '{"DEVICE":-1}',
    "beyond 2^53": '{"DEVICE":9007199254740992}',
    "26 digits": '{"DEVICE":11111111111111111111111111}',
    "a fraction": '{"DEVICE":1.5}',
    "a text": '{"DEVICE":"1"}',
    "a truth": '{"DEVICE":true}',
    "nothing": '{"DEVICE":null}',
    "an object": '{"DEVICE":{}}',
    "a bare range": '{"DEVICE":[1,2]}',
    "half a range": '{"DEVICE":[[1]]}',
    "a range of three": '{"DEVICE":[[1,2,3]]}',
    "a range back": '{"DEVICE":[[5,1]]}',
    "a range from 0": '{"DEVICE":[[0,5]]}',
    "a device twice": '{"DEVICE":1,"DEVICE":2}',
    "200 levels": '{"DEVICE":' + "[" * 200 + "]" * 200 + "}",
    "too many devices": json.dumps({fixed_id(n): 1 for n in range(limits.HAVE_DEVICES_MAX + 1)}),
    "too many ranges": json.dumps({DEVICE: [[n, n] for n in range(1, limits.HAVE_RANGES_MAX + 2)]}),
}


async def test_nonsense_to_resume_by(device: Caller) -> None:
    """A have-vector that is none is invalid; a body that is no JSON is bad_json."""
    resume = ("POST", "/v1/sync/resume")
    for name, have in NO_HAVE.items():
        print(name)
        answer = await device.ask(*resume, content=b'{"have":%b}' % have.replace("DEVICE", DEVICE).encode())
        assert_refused(answer, 422, "invalid", of=resume)
    for body in (b"{}", b"[]", b'{"have":{},"more":1}', b'{"have":{},"have":{}}', b'"have"'):
        assert_refused(await device.ask(*resume, content=body), 422, "invalid", of=resume)
    for body in (
        b"",
        b"{",
        b'{"have":{"x":NaN}}',
        b"\xff",
        b"[" * DEEP,
        b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    ):
        assert_refused(await device.ask(*resume, content=body), 400, "bad_json", of=resume)
    lawful = {"have": {DEVICE: [[1, 5], [3, 9], [2**53 - 1, 2**53 - 1]], fixed_id(9): 0}}
    assert (await device.ask(*resume, json=lawful)).status == 200


async def test_a_have_vector_without_end(device: Caller) -> None:
    """More ranges than a have-vector has are refused before they cost anything; as many as it has, in any order, pass."""
    resume = ("POST", "/v1/sync/resume")
    ranges = [[3 * n + 1, 3 * n + 1] for n in range(limits.HAVE_RANGES_MAX, 0, -1)]
    began = time.monotonic()
    assert (await device.ask(*resume, json={"have": {DEVICE: ranges}})).status == 200
    answer = await device.ask(*resume, json={"have": {DEVICE: [*ranges, [1, 1]]}})
    assert_refused(answer, 422, "invalid", of=resume)
    answer = await device.ask(*resume, json={"have": {DEVICE: ranges, fixed_id(9): [[1, 1]]}})
    assert_refused(answer, 422, "invalid", field="have", of=resume)
    body = b'{"have":{"%b":[%b]}}' % (
        DEVICE.encode(),
        b",".join([b"[1,1]"] * (limits.MESSAGE_BYTES_MAX // 6)),
    )
    coded = {"Content-Encoding": "gzip"}
    answer = await device.ask(*resume, content=gzip.compress(body), headers=coded)
    assert_refused(answer, 413, "too_large", of=resume)
    assert time.monotonic() - began < 5


async def test_nonsense_to_enrol_with(device: Caller) -> None:
    """A name or a key that is none is invalid, and no device comes of it."""
    enrol = ("POST", "/v1/enroll")
    key = "A" * 42 + "E"
    for name, public_key in (
        ("", key),
        ("x" * 121, key),
        (7, key),
        (None, key),
        ("a", ""),
        ("a", "A" * 44),
        ("a", 7),
    ):
        answer = await device.ask(*enrol, json={"name": name, "public_key": public_key})
        assert_refused(answer, 422, "invalid", of=enrol)
    for body in (b"", b"{", b"\xff"):
        assert_refused(await device.ask(*enrol, content=body), 400, "bad_json", of=enrol)
