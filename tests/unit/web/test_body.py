from __future__ import annotations

import asyncio
import gzip
import json

import httpx
import pytest
import zstandard

from medxz import limits
from medxz.errors import BadJson, Invalid
from medxz.web.body import read_model
from medxz.web.encoding import Deflater, Dictionary
from medxz.wire import ResumeRequest
from tests.unit.web.fakes import DEVICE_ID, DICTIONARY, DICTIONARY_ID
from tests.unit.web.raw import answer, exchange, is_problem, until

PUSH = "/v1/sync/push"
BODY = b'{"ops":[{"op_id":"x"}]}'
OURS = Dictionary.of(DICTIONARY_ID, DICTIONARY)
LOGIN = b'{"email":"a@example.org","password":"correct horse","device_id":"%b"}' % DEVICE_ID.encode()
HEAD = b"POST /v1/sync/push HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer good\r\n"


@pytest.fixture
def nobody(face):
    """A client without a token."""
    del face.client.headers["Authorization"]
    return face.client


def assert_problem(response: httpx.Response, status: int, code: str) -> None:
    assert response.status_code == status, response.text
    assert is_problem(dict(response.headers), response.content, code)


@pytest.mark.parametrize("coding", ["gzip", "zstd", "dcz", "GZIP"])
@pytest.mark.parametrize("times", [1, 40_000], ids=["small", "beyond inline work"])
async def test_codings_of_a_request(face, coding, times):
    """A body in each coding reaches the service as it was before, small ones and long ones."""
    body = BODY * times
    sent = Deflater().deflate(coding.lower(), body, OURS)
    response = await face.client.post(PUSH, content=sent, headers={"Content-Encoding": coding})
    assert response.status_code == 200
    assert face.services.push.bodies == [body]


@pytest.mark.parametrize("coding", ["identity", ""])
async def test_no_coding(face, coding):
    """`identity` is no coding."""
    response = await face.client.post(PUSH, content=BODY, headers={"Content-Encoding": coding})
    assert response.status_code == 200
    assert face.services.push.bodies == [BODY]


@pytest.mark.parametrize("coding", ["br", "deflate", "gzip, zstd", "gzip,gzip", "x" * 300])
async def test_unknown_codings(face, coding):
    """Another coding, and more than one, is 415 with what would be read."""
    response = await face.client.post(PUSH, content=BODY, headers={"Content-Encoding": coding})
    assert_problem(response, 415, "unsupported_media")
    assert response.headers["Accept-Encoding"] == "zstd, gzip, dcz"


async def test_two_coding_headers_are_two_codings(face):
    """A second Content-Encoding line is not overlooked."""
    request = HEAD + b"Content-Encoding: gzip\r\nContent-Encoding: zstd\r\nContent-Length: 2\r\n\r\n{}"
    status, headers, body = await exchange(face.port, request)
    assert status == 415
    assert is_problem(headers, body, "unsupported_media")


@pytest.mark.parametrize(
    ("content_type", "is_read"),
    [
        (None, True),
        ("application/json", True),
        ("Application/JSON; charset=UTF-8", True),
        ("text/json", False),
        ("application/json; charset=latin-1", False),
        ("application/x-www-form-urlencoded", False),
        ("", False),
    ],
)
async def test_content_types(face, content_type, is_read):
    """JSON in UTF-8, or no type at all, is read; else 415."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    response = await face.client.post(PUSH, content=BODY, headers=headers)
    if is_read:
        assert response.status_code == 200
    else:
        assert_problem(response, 415, "unsupported_media")


async def test_a_declared_length_beyond_the_limit_is_refused_at_once(face):
    """9 MiB announced is 413 before a byte of it is sent."""
    status, headers, body = await exchange(face.port, HEAD + b"Content-Length: 9437184\r\n\r\n")
    assert status == 413
    assert is_problem(headers, body, "too_large")


async def test_a_chunked_body_is_cut_at_the_limit(face):
    """A body of unknown length is read up to 8 MiB, and then 413."""
    mebibyte = b"x" * limits.MIB

    async def parts():
        for _ in range(9):
            yield mebibyte

    response = await face.client.post(PUSH, content=parts())
    assert_problem(response, 413, "too_large")
    assert face.services.push.bodies == []


async def test_the_largest_body_is_read(face):
    """8 MiB as sent are read."""
    body = b"x" * limits.BODY_BYTES_MAX
    assert (await face.client.post(PUSH, content=body)).status_code == 200
    assert face.services.push.bodies == [body]


@pytest.mark.parametrize("coding", ["gzip", "zstd", "zstd of unknown size"])
async def test_bombs(face, coding):
    """33 MiB out of a few kilobytes is 413, and the service sees nothing of it."""
    size = limits.BODY_INFLATED_BYTES_MAX + limits.MIB
    if coding == "gzip":
        bomb = gzip.compress(b"\0" * size, 9)
    elif coding == "zstd":
        bomb = zstandard.compress(b"\0" * size)
    else:
        bomb = zstandard.ZstdCompressor(write_content_size=False).compress(b"\0" * size)
    response = await face.client.post(PUSH, content=bomb, headers={"Content-Encoding": coding.split()[0]})
    assert_problem(response, 413, "too_large")
    assert face.services.push.bodies == []


async def test_the_largest_inflated_body_is_read(face):
    """32 MiB without their coding are read."""
    body = b"x" * limits.BODY_INFLATED_BYTES_MAX
    response = await face.client.post(
        PUSH, content=zstandard.compress(body), headers={"Content-Encoding": "zstd"}
    )
    assert response.status_code == 200
    assert len(face.services.push.bodies[0]) == limits.BODY_INFLATED_BYTES_MAX


@pytest.mark.parametrize("coding", ["gzip", "zstd", "dcz"])
async def test_broken_streams(face, coding):
    """What is not in the coding that it says is 400."""
    response = await face.client.post(PUSH, content=BODY, headers={"Content-Encoding": coding})
    assert_problem(response, 400, "bad_json")


async def test_an_unknown_dictionary(face):
    """A dcz body whose dictionary nobody named is 415."""
    other = Dictionary.of("ab" * 32, b"another")
    sent = Deflater().deflate("dcz", BODY, other)
    response = await face.client.post(PUSH, content=sent, headers={"Content-Encoding": "dcz"})
    assert_problem(response, 415, "unsupported_media")


async def test_all_bodies_together_are_bounded(face):
    """Where the bodies in flight would take too much memory, the next is 503 with Retry-After; later it is taken."""
    face.app._bodies.known.bytes_max = 3 * limits.MIB
    face.services.push.hold = asyncio.Event()
    body = b"x" * (2 * limits.MIB)
    first = asyncio.ensure_future(face.client.post(PUSH, content=body))
    await face.services.push.began.wait()
    second = await face.client.post(PUSH, content=body)
    assert_problem(second, 503, "overloaded")
    assert int(second.headers["Retry-After"]) >= 1
    face.services.push.hold.set()
    assert (await first).status_code == 200
    assert (await face.client.post(PUSH, content=body)).status_code == 200


async def test_nothing_is_read_of_strangers(face):
    """Without a good token the body is not waited for: the answer comes first."""
    request = b"POST /v1/sync/push HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n"
    status, headers, body = await exchange(face.port, request)
    assert status == 401
    assert is_problem(headers, body, "token_missing")


WITHOUT_A_TOKEN = [
    ("/v1/auth/login", limits.ANONYMOUS_BODY_BYTES_MAX),
    ("/v1/auth/refresh", limits.ANONYMOUS_BODY_BYTES_MAX),
    ("/v1/auth/logout", limits.ANONYMOUS_BODY_BYTES_MAX),
    ("/v1/auth/hub", limits.ANONYMOUS_BODY_BYTES_MAX),
    ("/v1/enroll", limits.ANONYMOUS_BODY_BYTES_MAX),
    ("/v1/hubs/claim", limits.CLAIM_BYTES_MAX),
]


@pytest.mark.parametrize(("path", "bytes_max"), WITHOUT_A_TOKEN)
@pytest.mark.parametrize("how", ["declared", "in chunks", "inflated", "bomb"])
async def test_bodies_without_a_token_are_short(face, nobody, path, bytes_max, how):
    """Who shows no token sends so much and no more, as it travels and inflated; that much is read."""
    for size, is_read in ((bytes_max, True), (bytes_max + 1, False)):
        body, headers = b" " * size, {}
        if how == "in chunks":
            content = _in_two(body)
        elif how == "declared":
            content = body
        else:
            coding = zstandard.ZstdCompressor(write_content_size=how == "inflated")
            content, headers = coding.compress(body), {"Content-Encoding": "zstd"}
        response = await nobody.post(path, content=content, headers=headers)
        assert_problem(response, *((400, "bad_json") if is_read else (413, "too_large")))


async def _in_two(body):
    yield body[:1_000]
    yield body[1_000:]


async def test_strangers_keep_nobody_out(face):
    """Whatever is sent without a token, those with one push on, and a short login is read as well."""
    face.app._bodies.anonymous.bytes_max = 256 * limits.KIB
    held = [await _begun(face.port, 64 * limits.KIB - 1) for _ in range(4)]
    await until(lambda: face.app._bodies.anonymous.held > 200 * limits.KIB)
    status, headers, body = await exchange(
        face.port, b"POST /v1/auth/login HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n" + b" " * 60_000
    )
    assert status == 503
    assert is_problem(headers, body, "overloaded")
    status, _, _ = await exchange(
        face.port,
        b"POST /v1/auth/login HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(LOGIN) + LOGIN,
    )
    assert status == 200
    assert (await face.client.post(PUSH, content=b"x" * limits.MIB)).status_code == 200
    for writer in held:
        writer.close()
    await until(lambda: face.app._bodies.anonymous.held == 0)


async def _begun(port, count):
    """A connection that sends all but a byte of a body without a token."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /v1/auth/login HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % (count + 1))
    writer.write(b" " * count)
    await writer.drain()
    return writer


async def test_a_body_without_a_token_has_a_deadline(face, monkeypatch):
    """A stranger who sends byte after byte without a pause is left after a while; with a token one may be slow."""
    monkeypatch.setattr(limits, "ANONYMOUS_BODY_S", 0.3)
    anonymous = b"POST /v1/auth/login HTTP/1.1\r\nHost: h\r\n"
    reader, writer = await _drop_by_drop(face.port, anonymous)
    async with asyncio.timeout(10):
        assert await _rest(reader) == b""
    writer.close()
    reader, writer = await _drop_by_drop(face.port, HEAD)
    assert (await answer(reader))[0] == 200
    writer.close()


async def _drop_by_drop(port, head):
    """A request whose body is slower in all than the deadline, and never idle."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head + b"Content-Length: 23\r\n\r\n")
    for at in range(23):
        await asyncio.sleep(0.03)
        if reader.at_eof() or writer.is_closing():
            break
        writer.write(BODY[at : at + 1])
    return reader, writer


async def _rest(reader):
    """What still comes before the connection ends."""
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


async def test_expect_continue(face):
    """A client that asks first is told to go on, and is told no where its request is refused anyway."""
    reader, writer = await asyncio.open_connection("127.0.0.1", face.port)
    writer.write(HEAD + b"Expect: 100-continue\r\nContent-Length: 23\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    writer.write(BODY)
    status, _, _ = await answer(reader)
    assert status == 200
    assert face.services.push.bodies == [BODY]
    writer.write(
        b"POST /v1/sync/push HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 23\r\n\r\n"
    )
    status, headers, _ = await answer(reader)
    assert status == 401
    assert headers["connection"] == "close"
    writer.close()


async def test_an_expectation_that_nobody_knows_means_nothing(face):
    """Expect: something else is no reason to fail."""
    request = HEAD + b"Expect: the-spanish-inquisition\r\nContent-Length: 23\r\n\r\n" + BODY
    status, _, _ = await exchange(face.port, request)
    assert status == 200


async def test_a_body_that_stalls_is_given_up(face, monkeypatch):
    """A client that sends nothing for long is left; one that sends slowly is not."""
    monkeypatch.setattr(limits, "STALLED_S", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", face.port)
    writer.write(HEAD + b"Content-Length: 23\r\n\r\n" + BODY[:5])
    async with asyncio.timeout(10):
        assert await reader.read() == b""  # closed, without an answer
    writer.close()
    assert face.services.push.bodies == []
    reader, writer = await asyncio.open_connection("127.0.0.1", face.port)
    writer.write(HEAD + b"Content-Length: 23\r\n\r\n")
    for at in range(0, 23, 4):
        await asyncio.sleep(0.06)  # slower in all than the bound, never idle that long
        writer.write(BODY[at : at + 4])
    status, _, _ = await answer(reader)
    assert status == 200
    writer.close()


async def test_broken_chunks(face):
    """A body whose chunks can't be told apart is 400."""
    request = HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabc\r\nzz\r\n\r\n"
    status, headers, body = await exchange(face.port, request)
    assert status == 400
    assert is_problem(headers, body, "bad_request")


MODEL_CASES = [
    (b"", BadJson, None),
    (b"{", BadJson, None),
    (b'{"have":{}} x', BadJson, None),
    (b"\xef\xbb\xbf{}", BadJson, None),
    (b'{"have":{"\xff":1}}', BadJson, None),
    (b'{"have":{"a":NaN}}', BadJson, None),
    (b'{"have":{"a":-Infinity}}', BadJson, None),
    (b'{"have":' + b"[" * 100_000, BadJson, None),
    (b'{"have":' + b"[" * 900 + b"]" * 900 + b"}", Invalid, "have"),
    (b'{"have":{"a":' + b"9" * 5_000 + b"}}", BadJson, None),
    (b'{"have":{},"have":{}}', Invalid, None),
    (b"[]", Invalid, None),
    (b"null", Invalid, None),
    (b"{}", Invalid, "have"),
    (b'{"have":{},"more":1}', Invalid, "more"),
    (b'{"have":{"not-a-uuid":1}}', Invalid, "have.not-a-uuid.[key]"),
    (b'{"have":{"\\ud800":1}}', Invalid, "have."),
    (b'{"have":{"%b":true}}' % DEVICE_ID.encode(), Invalid, f"have.{DEVICE_ID}"),
    (b'{"have":{"%b":1.0}}' % DEVICE_ID.encode(), Invalid, f"have.{DEVICE_ID}"),
    (b'{"have":{"%b":-1}}' % DEVICE_ID.encode(), Invalid, f"have.{DEVICE_ID}"),
    (b'{"have":{"%b":99999999999999999999999999}}' % DEVICE_ID.encode(), Invalid, f"have.{DEVICE_ID}"),
    (b'{"have":{"%b":[[1]]}}' % DEVICE_ID.encode(), Invalid, f"have.{DEVICE_ID}"),
]


@pytest.mark.parametrize(("body", "error", "field"), MODEL_CASES, ids=lambda case: str(case)[:40])
def test_what_is_no_message(body, error, field):
    """Text that is no JSON is BadJson, another message is Invalid with the field; nothing else is ever raised."""
    with pytest.raises(error) as raised:
        read_model(ResumeRequest, body)
    if field is not None:
        assert str(raised.value.field).startswith(field)


@pytest.mark.parametrize(
    "body", [case[0] for case in MODEL_CASES if len(case[0]) < 10_000], ids=lambda body: str(body)[:40]
)
async def test_what_is_no_message_is_a_problem(face, body):
    """Each of those is a problem document over HTTP, and never a 500."""
    response = await face.client.post("/v1/sync/resume", content=body)
    assert response.status_code in {400, 422}
    assert is_problem(dict(response.headers), response.content, response.json()["code"])


async def test_a_message(face):
    """A lawful message reaches the service, long ones by way of the worker."""
    have = {f"{number:08x}{DEVICE_ID[8:]}": number for number in range(8_000)}
    body = json.dumps({"have": have}).encode()
    assert len(body) > limits.INLINE_CODING_BYTES_MAX
    response = await face.client.post("/v1/sync/resume", content=body)
    assert response.json() == {"cursor": "c-1"}
    assert face.services.pull.resumed[0].have == have
