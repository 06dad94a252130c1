from __future__ import annotations

import io

import orjson
import pytest

from medxz.clock import SystemClock
from medxz.web.log import make_log, told


class Stopped(SystemClock):
    def now_ms(self) -> int:
        return 1_700_000_000_123


@pytest.mark.parametrize(("level", "count"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_one_json_object_a_line(level, count):
    """What is at least of the level is one JSON object a line, with the clock's time."""
    stream = io.BytesIO()
    log = make_log(stream, Stopped(), level)
    log.debug("a", n=1)
    log.info("b", n=None)
    log.warning("c", text="é\n")
    log.error("d")
    lines = [orjson.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["a", "b", "c", "d"][-count:]
    assert lines[-1] == {"time": "2023-11-14T22:13:20.123Z", "level": "error", "event": "d"}


def test_bound_values_stay():
    """What is bound to a logger stands in all its lines."""
    stream = io.BytesIO()
    make_log(stream, Stopped()).bind(request_id="r").info("x")
    assert orjson.loads(stream.getvalue())["request_id"] == "r"


def test_things_are_named_by_their_type():
    """An object that is no JSON is told by its type, never by its content."""
    stream = io.BytesIO()
    make_log(stream, Stopped()).info("x", thing=ValueError("Mrs Example"))
    assert orjson.loads(stream.getvalue())["thing"] == "ValueError"


def test_an_exception_is_told_without_its_text():
    """Types and places are told, causes too; texts are not."""

    def inner() -> None:
        int("Mrs Example")

    def outer() -> None:
        try:
            inner()
        except ValueError as cause:
            raise RuntimeError("about Mrs Example") from cause

    with pytest.raises(RuntimeError) as raised:
        outer()
    details = told(raised.value)
    assert details["error"] == "RuntimeError"
    assert details["causes"] == ["ValueError"]
    assert "test_log.py" in str(details["stack"])
    assert "Example" not in str(details)
