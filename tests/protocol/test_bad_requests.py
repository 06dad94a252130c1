"""What bad tokens, cursors, parameters and requests get, and that nothing of a request is ever in a log."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from medxz import limits
from medxz.endpoints import ENDPOINTS
from medxz.ids import RandomIds
from medxz.trust.tokens import key_id
from tests.making import CLINIC, DEVICE, OTHER_DEVICE, USER, as_json, fixed_id, make_op, run_of
from tests.protocol.conftest import SITE, Answer, Caller, Server
from tests.protocol.refused import assert_refused, assert_well
from tests.unit.web.raw import exchange, is_problem

PULL = ("GET", "/v1/sync/pull")
LAST = fixed_id(0xDF)


@pytest.fixture(autouse=True)
async def _goes_on_serving(server: Server) -> AsyncIterator[None]:
    """Whatever a test sends: another device's push is stored afterwards, and nothing broke inside."""
    yield
    other = await server.caller(device_id=LAST)
    assert (await other.push(make_op(1, device_id=LAST))).statuses == ["accepted"]
    assert_well(server)


class Forge:
    """Makes tokens of every kind that a server must not take."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.kid = key_id(server.key.public_key())
        now_s = int(time.time())
        self.claims: dict[str, Any] = {
            "iss": server.server_id, "sub": USER, "cid": CLINIC, "did": DEVICE, "sid": RandomIds().uuid7(),
            "site": SITE, "roles": ["clinician"], "iat": now_s, "exp": now_s + 600,
        }  # fmt: skip

    def token(
        self, *, key: Ed25519PrivateKey | None = None, header: dict[str, Any] | None = None, **claims: Any
    ) -> str:
        """An EdDSA token; a claim given as None is left out."""
        signed = self._signed(header or {}, claims)
        return f"{signed}.{_base64url((key or self.server.key).sign(signed.encode()))}"

    def hmac_token(self, secret: bytes, algorithm: str = "HS256") -> str:
        signed = self._signed({"alg": algorithm}, {})
        return f"{signed}.{_base64url(hmac.digest(secret, signed.encode(), hashlib.sha256))}"

    def unsigned(self, algorithm: str) -> str:
        return self._signed({"alg": algorithm}, {}) + "."

    def _signed(self, header: dict[str, Any], claims: dict[str, Any]) -> str:
        header = {"typ": "JWT", "alg": "EdDSA", "kid": self.kid} | header
        body = {name: value for name, value in (self.claims | claims).items() if value is not None}
        return ".".join(_base64url(json.dumps(part).encode()) for part in (header, body))


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


async def asked_with(server: Server, authorization: str, encoding: str = "ascii") -> Answer:
    headers = {b"Authorization": authorization.encode(encoding)}
    response = await server.http.get("/v1/sync/pull", headers=headers)
    return Answer(response.status_code, response.headers, response.json())


async def test_the_forge_is_a_good_one(server: Server, device: Caller) -> None:
    """A token made as the forge makes them, with nothing wrong, is taken: what follows fails for its reason."""
    assert (await asked_with(server, f"Bearer {Forge(server).token()}")).status == 200


async def test_forged_tokens(server: Server, device: Caller) -> None:
    """Another key, `none`, HMAC with the public key, tampered claims and all the rest are token_invalid."""
    forge = Forge(server)
    public = server.key.public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    stranger = Ed25519PrivateKey.generate()
    good = forge.token()
    head, body, seal = good.split(".")
    forged = {
        "another key under our name": forge.token(key=stranger),
        "another key under its own": forge.token(key=stranger, header={"kid": key_id(stranger.public_key())}),
        "no name of a key": forge.token(header={"kid": None}),
        "a number for a key": forge.token(header={"kid": 7}),
        "none": forge.unsigned("none"),
        "None": forge.unsigned("None"),
        "none, with the old seal": forge.unsigned("none") + seal,
        "EdDSA without a seal": f"{head}.{body}.",
        "no third part": f"{head}.{body}",
        "HS256 with the raw public key": forge.hmac_token(public.public_bytes_raw()),
        "HS256 with the PEM public key": forge.hmac_token(pem),
        "HMAC that says EdDSA": forge.hmac_token(public.public_bytes_raw(), "EdDSA"),
        "RS256": forge.token(header={"alg": "RS256"}),
        "an extension": forge.token(header={"crit": ["exp"]}),
        "other claims under the seal": f"{head}.{forge.token(roles=['admin']).split('.')[1]}.{seal}",
        "a key of its own in the header": forge.token(
            key=stranger, header={"jwk": {"kty": "OKP", "crv": "Ed25519", "x": _base64url(public.public_bytes_raw())}}
        ),
        "nobody": forge.token(sub=None),
        "no device": forge.token(did=None),
        "no clinic": forge.token(cid=None),
        "no end": forge.token(exp=None),
        "an end that is a text": forge.token(exp="9999999999"),
        "an end of 26 digits": forge.token(exp=10**25),
        "a begin to come": forge.token(iat=int(time.time()) + 600, exp=int(time.time()) + 900),
        "a role that is none": forge.token(roles=["owner"]),
        "no role": forge.token(roles=[]),
        "a hub with a device": forge.token(roles=["hub"]),
        "a user that is no id": forge.token(sub="' OR 1=1 --"),
        "claims that are a list": ".".join([head, _base64url(b"[]"), seal]),
        "no JWT": "token",
        "dots": "...",
        "blanks inside": good.replace(".", ". "),
        "more behind it": good + "x",
    }  # fmt: skip
    for name, token in forged.items():
        print(name)
        answer = await asked_with(server, f"Bearer {token}")
        assert_refused(answer, 401, "token_invalid", of=PULL)
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert_refused(await asked_with(server, "Bearer töken", "latin-1"), 401, "token_invalid")
    assert_refused(await asked_with(server, "Bearer " + "a" * limits.TOKEN_CHARS_MAX), 401, "token_invalid")


async def test_tokens_that_do_not_hold_here(server: Server, device: Caller) -> None:
    """None, ended, revoked, for another clinic, of a device unknown here: each has its code."""
    forge = Forge(server)
    for authorization in ("", "Bearer", "Basic YTpi", "token"):
        assert_refused(await asked_with(server, authorization), 401, "token_missing", of=PULL)
    missing = await server.http.get("/v1/sync/pull")
    assert missing.json()["code"] == "token_missing"
    ended = forge.token(iat=int(time.time()) - 900, exp=int(time.time()) - 60)
    assert_refused(await asked_with(server, f"Bearer {ended}"), 401, "token_expired", of=PULL)
    for elsewhere in (forge.token(cid=fixed_id(0xC2)), forge.token(did=fixed_id(0xD77))):
        assert_refused(await asked_with(server, f"Bearer {elsewhere}"), 403, "forbidden", of=PULL)
    await server.registry.revoke_session(device.session_id)
    assert_refused(await device.pull(), 401, "session_revoked", of=PULL)


async def test_every_endpoint_asks_who_it_is(server: Server) -> None:
    """Without a token, whatever needs one is token_missing, before anything of the request is looked at."""
    for endpoint in ENDPOINTS:
        if endpoint.access not in {"anyone", "optional"}:
            response = await server.http.request(
                endpoint.method, endpoint.path, content=b"\xff", params={"x": "y"}
            )
            answer = Answer(response.status_code, response.headers, response.json())
            assert_refused(answer, 401, "token_missing", of=(endpoint.method, endpoint.path))


async def test_cursors_from_nowhere(server: Server, device: Caller, tmp_path: Path) -> None:
    """Garbage and tampered ones are bad_cursor, another server's or epoch's are cursor_epoch_changed."""
    await device.push(*run_of(1, 3))
    good = (await device.pull(limit=2)).body["next_cursor"]
    raw = bytearray(base64.urlsafe_b64decode(good + "=" * (-len(good) % 4)))
    tampered = [
        raw[:-1] + bytes([raw[-1] ^ 1]),
        raw[:-24] + bytes([raw[-24] ^ 1]) + raw[-23:],
        b"\xff" + raw[1:],
    ]
    nowhere = [
        "x", "1", "0", "null", "nö", "🦄", "\0", "%00", "../../etc/passwd", "' OR 1=1 --", good[:-4], good + "AAAA",
        good + "=", good.swapcase(), " " + good, good + "\n", "A" * len(good), *map(_base64url, map(bytes, tampered)),
    ]  # fmt: skip
    for cursor in nowhere:
        print(repr(cursor))
        assert_refused(await device.pull(cursor), 400, "bad_cursor", of=PULL)
        answer = await device.ask("GET", "/v1/sync/stream", params={"cursor": cursor})
        assert_refused(answer, 400, "bad_cursor", of=("GET", "/v1/sync/stream"))
        if cursor.isprintable() and cursor == cursor.strip():
            header = {"Last-Event-ID": cursor.encode()}
            assert_refused(await device.ask("GET", "/v1/sync/stream", headers=header), 400, "bad_cursor")
    long = "A" * (limits.CURSOR_CHARS_MAX + 1)
    assert_refused(await device.pull(long), 400, "bad_cursor", of=PULL)
    other = await Server(server.kind, tmp_path / "other.db", server_id=fixed_id(0xA2)).start()
    there = await other.caller()
    await there.push(*run_of(1, 3))
    theirs = (await there.pull(limit=2)).body["next_cursor"]
    await other.stop()
    assert_refused(await device.pull(theirs), 409, "cursor_epoch_changed", of=PULL)
    assert len((await device.pull(good)).body["ops"]) == 1


async def test_parameters_out_of_their_bounds(device: Caller) -> None:
    """What is beyond its bounds, no number, unknown or there twice is invalid and named."""
    for field, values in {
        "limit": ("0", "1001", "-1", "1.5", "", " 5", "0x10", "1e2", "9" * 26, "NaN", "true", "٣", "5;"),
        "wait": ("-1", "31", "30.001", "NaN", "inf", "Infinity", "1e999", "", "0x1", "-0.1", "9" * 26),
        "since": ("1",),
    }.items():
        for value in values:
            print(field, repr(value))
            assert_refused(await device.pull(**{field: value}), 422, "invalid", field=field, of=PULL)
    for query in ("limit=1&limit=2", "wait=0&wait=0", "cursor=a&cursor=b"):
        answer = await device.ask("GET", f"/v1/sync/pull?{query}")
        assert_refused(answer, 422, "invalid", field=query.split("=", maxsplit=1)[0], of=PULL)
    for query in ("%ff", "limit=%ff", "&".join(f"a{n}=1" for n in range(100)), "%00=1", "[]"):
        assert_refused(await device.ask("GET", f"/v1/sync/pull?{query}"), 422, "invalid", of=PULL)
    status = ("GET", "/v1/sync/status")
    assert_refused(await device.ask(*status, params={"limit": 5}), 422, "invalid", field="limit", of=status)


async def test_methods_and_paths(server: Server, device: Caller) -> None:
    """Another method is method_not_allowed and told which are; another path is not_found."""
    for endpoint in ENDPOINTS:
        served = {beside.method for beside in ENDPOINTS if beside.path == endpoint.path}
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"} - served:
            answer = await device.ask(method, endpoint.path)
            assert_refused(answer, 405, "method_not_allowed")
            assert endpoint.method in answer.headers["allow"]
    for path in (
        "/", "/v1", "/v1/sync/push/", "//v1/sync/push", "/v1/sync/%70ush", "/v1/sync/../sync/push/x", "/V1/sync/push",
        "/v2/sync/push", "/.env", "/docs/../hub.db", "/docs/%2e%2e/hub.db", "/v1/dictionaries/", "/v1/entities/",
        "/%ff", "/" + "a" * 4_000,
    ):  # fmt: skip
        print(path[:40])
        for method in ("GET", "POST"):
            assert_refused(await device.ask(method, path), 404, "not_found")
    for name in ("x", "0" * 64, "..%2f..%2fhub.db", "%00", "%ff", "A" * 64):
        assert_refused(await device.ask("GET", f"/v1/dictionaries/{name}"), 404, "not_found")


@pytest.mark.parametrize(
    "head",
    [
        b"GET /health HTTP/1.1\r\nHost: x\r\nX-Much: %b\r\n\r\n" % (b"a" * 100_000),
        b"GET /health HTTP/1.1\r\nHost: x\r\n%b\r\n" % b"".join(b"X-%d: y\r\n" % n for n in range(1_000)),
        b"GET /health?%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"a" * 100_000),
        b"GET /health HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nX : b\r\n\r\n",
        b"GET /health HTTP/9.9\r\nHost: x\r\n\r\n",
        b"POST /v1/sync/push HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/sync/push HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST /v1/sync/push HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100) + b"\r\n\r\n",
        b"\0" * 1_000 + b"\r\n\r\n",
    ],
    ids=[
        "a long header", "many headers", "a long query", "NUL in a header", "a blank in a name", "HTTP/9.9",
        "a negative length", "two lengths", "a length and chunks", "TLS", "NULs",
    ],
)  # fmt: skip
async def test_what_is_not_http(server: Server, head: bytes) -> None:
    """Heads that are too large or no HTTP are bad_request, in a problem document, and the connection ends."""
    port = httpx.URL(server.http.base_url).port
    assert port is not None
    status, headers, body = await exchange(port, head)
    assert status == 400
    assert is_problem(headers, body, "bad_request")


MARK = "Wanjiru"


async def test_nothing_of_a_request_is_in_a_log(server: Server, device: Caller) -> None:
    """Payloads, broken bodies, have-vectors, cursors, queries, paths and tokens appear in no line, at any level."""
    answers = [await device.push(make_op(1, payload=f'{{"name":"{MARK}"}}'))]
    broken: list[dict[str, Any]] = [
        {"op_type": MARK}, {MARK: 1}, {"hash": "0" * 64}, {"clinic_id": fixed_id(9)}, {"user_id": fixed_id(9)},
        {"device_id": OTHER_DEVICE}, {"op_id": MARK}, {"parents": [MARK]}, {"device_time": MARK},
    ]  # fmt: skip
    for number, changes in enumerate(broken, 2):
        op = as_json(make_op(number, payload=f'{{"name":"{MARK}"}}'))
        answers.append(await device.push(op | changes))
    whole = json.dumps({"ops": [as_json(make_op(50, payload=f'{{"name":"{MARK}"}}'))]}).encode()
    for body in (
        whole[:-1], whole[:-2] + b"NaN]}", whole[:-1] + b',"%b":1}' % MARK.encode(), MARK.encode(), whole + whole,
        whole.replace(b"Wanjiru", b"Wanjiru\xff"), whole.replace(b"Wanjiru", b"Wanjiru\\ud800"), b'["%b"]' % MARK.encode(),
        whole.replace(b'"Wanjiru"', b'"Wanjiru",' + b'"Wanjiru":1'), b"[" * 100_000 + MARK.encode(),
    ):  # fmt: skip
        answers.append(await device.push_raw(body))
        answers.append(await device.push_raw(body, **{"Content-Encoding": "zstd"}))
        answers.append(await device.ask("POST", "/v1/sync/resume", content=body))
        answers.append(await device.ask("POST", "/v1/enroll", content=body))
    answers.append(await device.ask("POST", "/v1/sync/resume", json={"have": {MARK: 1}}))
    answers.append(await device.ask("POST", "/v1/enroll", json={"name": MARK, "public_key": MARK}))
    answers.append(await device.pull(MARK))
    answers.append(await device.pull(**{MARK: MARK}))
    answers.append(await device.ask("GET", f"/{MARK}"))
    answers.append(await device.ask(MARK.upper(), "/v1/sync/push"))
    answers.append(await device.ask("PATCH", "/v1/sync/push", content=MARK))
    answers.append(await device.ask("GET", f"/v1/dictionaries/{MARK}"))
    bad_token = Forge(server).token(site=MARK)
    answers.append(await asked_with(server, f"Bearer {bad_token}"))
    page = await device.pull()
    cursor = page.body["next_cursor"]
    await device.pull(cursor[:-4] + "AAAA")
    await device.ask("GET", "/v1/sync/stream", headers={"Last-Event-ID": cursor[:-4]})
    assert {answer.status for answer in answers} >= {200, 400, 401, 404, 405, 422}
    assert max(answer.status for answer in answers) < 500
    said = server.said.getvalue().decode()
    assert said.count("\n") > 20
    for secret in (
        MARK,
        MARK.upper(),
        device.token,
        device.token.split(".")[1],
        bad_token,
        cursor,
        cursor[:40],
    ):
        assert secret not in said
    assert MARK not in (await server.http.get("/metrics")).text
