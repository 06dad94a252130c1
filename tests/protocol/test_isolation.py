"""Two clinics in one cloud: nothing that one says or has is told to the other, not even that it is there."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import tempfile
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import orjson
import pytest
import pytest_asyncio

from medxz.clock import SystemClock
from medxz.endpoints import ENDPOINTS
from medxz.ids import RandomIds
from medxz.store.dictionaries import shipped_dictionary
from medxz.web import App, make_log
from medxz.web.pages import STATIC_PATHS
from medxz.wire.live import LIVE_PATH, Packer, Unpacker
from medxz.work import InlineWorker
from tests.protocol.probes import PROBES, READERS, Request
from tests.protocol.two_clinics import Clinic, Cloud, Names, nobodys, two_clinics
from tests.unit.web.fakes import FakeServices

pytestmark = pytest.mark.slow
in_one_loop = pytest.mark.asyncio(loop_scope="module")

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z")
# what is new in each answer, or counts what was written meanwhile
_PASSING = frozenset(
    {
        "access_token",
        "refresh_token",
        "server_seq",
        "next_cursor",
        "cursor",
        "number",
        "hash",
        "previous_hash",
    }
)
# who follows a list meets what the probes before have left in it
_GROWING = frozenset({"audit", "audit_verify", "metrics", "health", "status", "watermarks", "code"})
_ASKED_LAST = ("enroll", "push")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["sqlite", "postgresql"])
async def cloud(request: pytest.FixtureRequest) -> AsyncIterator[Cloud]:
    database = None
    if request.param == "postgresql":
        database = request.getfixturevalue("postgres_url")
    with tempfile.TemporaryDirectory(prefix="medxz-two-") as folder:
        async with two_clinics(Path(folder) / "cloud", database) as running:
            yield running


async def asked(ours: Clinic, request: Request) -> httpx.Response:
    """The answer; of a stream its beginning."""
    token = {"Authorization": f"Bearer {ours.tokens[request.role]}"} if request.role is not None else {}
    return await ours.cloud.http.request(
        request.method, request.path, json=request.json, params=request.params, headers=token
    )


def shape(answer: httpx.Response, names: Names) -> tuple[int, Any]:
    """What an answer tells, whoever's names were in the request."""
    text = answer.text.replace(answer.headers["X-Request-ID"], "")
    for name in ("site_name", "word", "email"):
        text = text.replace(getattr(names, name), f"<{name}>")
    text = _TIME.sub("<time>", _UUID.sub("<id>", text))
    try:
        return answer.status_code, _lasting(json.loads(text))
    except ValueError:
        return answer.status_code, text


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _lasting(part) for name, part in value.items() if name not in _PASSING}
    return [_lasting(part) for part in value] if isinstance(value, list) else value


def assert_silent(answer: httpx.Response, request: Request, theirs: Names) -> None:
    """Nothing of theirs is in it that the request did not say itself."""
    said = json.dumps([request.path, request.json, request.params])
    told = [
        text for text in theirs.strings() if text not in said and text in answer.text + str(answer.headers)
    ]
    assert told == [], (request, answer.status_code)


def test_every_endpoint_is_probed() -> None:
    """An endpoint that this file does not know is not served."""
    assert PROBES.keys() == {endpoint.name for endpoint in ENDPOINTS}
    clock = SystemClock()
    app = App(FakeServices(), make_log(BytesIO(), clock), ids=RandomIds(), clock=clock, worker=InlineWorker())  # type: ignore[arg-type]
    beside = app._routes._exact.keys() - {endpoint.path for endpoint in ENDPOINTS} - STATIC_PATHS.keys()
    assert beside == {LIVE_PATH}, "what is served beside the table has tests of its own below"


@in_one_loop
@pytest.mark.parametrize("name", sorted(PROBES, key=lambda name: (name in _ASKED_LAST, name)))
async def test_nothing_is_told(cloud: Cloud, name: str) -> None:
    """Whatever is asked about the other clinic is answered as if it were not there, and no answer has a word of it."""
    ours, theirs = cloud.ours, cloud.theirs.names
    nobody = nobodys(theirs)
    requests = [*PROBES[name](ours, theirs)]
    assert requests
    for request, twin in zip(requests, PROBES[name](ours, nobody), strict=True):
        answer, other = await asked(ours, request), await asked(ours, twin)
        assert answer.status_code < 500, answer.text
        assert_silent(answer, request, theirs)
        if name in _GROWING and answer.status_code == 200:
            assert other.status_code == 200
        else:
            assert shape(answer, theirs) == shape(other, nobody), request


@in_one_loop
@pytest.mark.parametrize("name", ["entity", "entity_ops", "history", "conflict"])
async def test_the_probes_would_find_it(cloud: Cloud, name: str) -> None:
    """Asked by its own people, what the probes ask for is there."""
    for request in PROBES[name](cloud.theirs, cloud.theirs.names):
        answer = await asked(cloud.theirs, request)
        assert answer.status_code == 200, (request, answer.text)
        with pytest.raises(AssertionError):
            assert_silent(answer, Request(None, "GET", ""), cloud.theirs.names)


@in_one_loop
@pytest.mark.parametrize("role", READERS)
async def test_a_stream_has_nothing_of_the_other(cloud: Cloud, role: str) -> None:
    """While the other clinic writes and changes, a stream is silent; and then tells what its own clinic writes."""
    ours, theirs = cloud.ours, cloud.theirs
    cursor = (await ours.good(role, "GET", "/v1/sync/pull", params={"limit": 1_000}))["next_cursor"]
    headers = {"Authorization": f"Bearer {ours.tokens[role]}", "Last-Event-ID": cursor}
    async with cloud.http.stream("GET", "/v1/sync/stream", headers=headers) as stream:
        lines = stream.aiter_lines()
        await theirs.push(theirs.op({"status": "final"}), role="hub")
        await theirs.good("clinician", "POST", "/v1/enroll", json={"name": "t", "public_key": "A" * 43})
        await ours.push(ours.op({"status": "final", "valueString": "ours"}), role="hub")
        heard = ""
        async with asyncio.timeout(20):
            async for line in lines:
                heard += line + "\n"
                if line.startswith("data: ["):
                    break
    assert heard.count("event: ops") == 1
    assert heard.count("event: directory") == (1 if role == "hub" else 0)
    [op] = json.loads(heard[heard.index("data: [") + 6 :])
    assert op["clinic_id"] == ours.clinic_id
    assert not [text for text in theirs.names.strings() if text in heard]


async def test_a_live_line_tells_as_little(tmp_path: Path) -> None:
    """What a hub pushes over its line is answered as if the other clinic were not there."""
    async with two_clinics(tmp_path / "cloud") as cloud:
        ours, theirs = cloud.ours, cloud.theirs.names
        told = []
        for names in (theirs, nobodys(theirs)):
            asked_for = [request for request in PROBES["push"](ours, names) if request.role == "hub"]
            pushes = [orjson.dumps(request.json) for request in asked_for if request.json["ops"]]
            answers = [answer.decode() for answer in await pushed_live(ours, pushes)]
            said = str(pushes)
            assert not [text for text in theirs.strings() if text in str(answers) and text not in said]
            told.append([_lasting(json.loads(_UUID.sub("<id>", answer))) for answer in answers])
    assert told[0] == told[1]
    assert [answer["results"][0]["status"] for answer in told[0]].count("rejected") == 3, "their clinic's"


async def pushed_live(ours: Clinic, pushes: list[bytes]) -> list[bytes]:
    """What the line answers to each."""
    dictionary = shipped_dictionary()
    url = str(ours.cloud.http.base_url.join(LIVE_PATH))
    url += f"?dictionary={hashlib.sha256(dictionary).hexdigest()}"
    up, down = Packer(dictionary, up=True), Unpacker(dictionary, up=False)
    token = {"Authorization": f"Bearer {ours.tokens['hub']}"}
    answers = []
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, headers=token, compress=0) as socket,
    ):
        for push in pushes:
            await socket.send_bytes(up.pack(push))
            answers.append(down.unpack(await socket.receive_bytes(timeout=10)))
    return answers


@in_one_loop
async def test_they_never_noticed(cloud: Cloud) -> None:
    """After all of it the other clinic has its session, its log and its audit, and nobody of the first is in them."""
    ours, theirs = cloud.ours, cloud.theirs
    whole = json.dumps(
        [
            await theirs.good("hub", "GET", "/v1/sync/pull", params={"limit": 1_000}),
            await theirs.good("hub", "GET", "/v1/hubs/directory"),
            await theirs.good("admin", "GET", "/v1/reviews"),
            await theirs.good("admin", "GET", "/v1/audit", params={"limit": 500}),
        ]
    )
    named = [text for text in ours.names.strings() - theirs.names.strings() if text in whole]
    assert named == [], [whole[max(0, (at := whole.index(text)) - 300) : at + 300] for text in named]
    assert (await theirs.good("admin", "GET", "/v1/audit/verify"))["ok"]
    await theirs.good(None, "POST", "/v1/auth/refresh", json={"refresh_token": theirs.refresh_token})
    for role in READERS:
        await theirs.good(role, "GET", "/v1/config")
