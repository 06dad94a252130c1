"""The load client, the echo and the limits, in real processes and on real files."""

import asyncio

import orjson
import pytest

from bench import load, works
from bench.limits import RawInsert, RawPages, fdatasync_seconds
from bench.programs import EchoProcess, store_key
from bench.stage import Loop, prepare

TOKEN = "t"


@pytest.fixture(scope="module")
def echo():
    with EchoProcess() as running:
        yield running


def answer_with(port: int, name: str, body: bytes) -> None:
    asyncio.run(load.run(port, [load.Sends([load.post(f"/answers/{name}", TOKEN, body, "PUT")])]))


def test_every_request_gets_its_answer(echo) -> None:
    """Each connection gets as many answers as it sent requests, byte for byte, large ones too."""
    for body in (b"{}", b"x" * 3_000_000):
        answer_with(echo.port, "push", body)
        scripts = [load.Sends([load.post("/v1/sync/push", TOKEN, b"[]")] * 20) for _ in range(4)]
        run = asyncio.run(load.run(echo.port, scripts))
        assert len(run.latencies) == 80
        assert all(script.answers == [body] * 20 for script in scripts)
        assert 0 < run.percentile(0.5) <= run.percentile(0.99) <= run.seconds


@pytest.mark.parametrize(
    "form", ['{"ops":[%s],"next_cursor":"%s","has_more":%s}', '{"has_more":%s,"next_cursor":"%s","ops":[%s]}']
)
def test_a_reader_follows_the_cursor(echo, form) -> None:
    """Pages are asked for by the cursor of the one before, and from the start again after the last."""
    filling = "1," * 5_000 + "1"
    for name, following, more in (("first", "b", "true"), ("b", "c", "true"), ("c", "d", "false")):
        words = (filling, following, more) if form.startswith('{"ops"') else (more, following, filling)
        answer_with(echo.port, name, (form % words).encode())
    script = load.Pulls(TOKEN, 500, pages=5, keep=True)
    asyncio.run(load.run(echo.port, [script]))
    assert script.cursors == [None, b"b", b"c", None, b"b"]


def test_a_refusal_ends_the_run(echo) -> None:
    """An answer that is not 200 is not counted: it is raised with its text."""
    with pytest.raises(load.Unexpected, match="404"):
        asyncio.run(load.run(echo.port, [load.Sends([load.get("/nowhere", TOKEN)])]))


def test_appends_are_timed_one_by_one(tmp_path) -> None:
    """As many times come back as appends were asked for, and the file is gone."""
    assert len(fdatasync_seconds(tmp_path, 5)) == 5
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_works_and_limits_on_a_hub(tmp_path) -> None:
    """A log is filled, pushed to, replayed, pulled from and streamed; its rows fit into a raw file of the same schema."""
    loop = Loop()
    told: list[int] = []
    try:
        prepared = prepare(loop, tmp_path / "hub", 4_000, told.append)
        assert (prepared.ops, sum(told)) == (4_000, 4_000)
        with prepared.copied() as subject:
            raw = RawInsert(tmp_path, subject.hub.store, store_key(subject.hub.data))
            pushed = loop.run(works.push(subject, clients=3, requests=2, ops_each=100))
            loop.run(works.replay(subject, pushed, 100))
            rows = raw.rows_after(4_000)
            assert len(rows) == pushed.ops == 600
            assert all(rate > 0 for rate in raw.rows_a_second(rows).values())
            raw.close()
            pages = loop.run(works.pages(subject, None))
            assert len(orjson.loads(pages.answers[0])["ops"]) == 500
            reading = RawPages(subject.hub.store, store_key(subject.hub.data))
            assert all(seconds > 0 for seconds in reading.seconds([0, 500], 500).values())
            reading.close()
            assert len(loop.run(works.until_streamed(subject, 3))) == 3
        with prepared.itself() as subject:
            assert loop.run(works.push(subject, clients=1, requests=1, ops_each=1)).ops == 1
    finally:
        loop.close()
