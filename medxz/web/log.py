"""Structured logs: one JSON object a line, on the stream that a program hands in.

A line names events, ids, endpoints, statuses and times. It never holds a body, a query, a token or an exception's
text: an exception is told by its type and by where it came from, because its text may quote what it choked on.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, BinaryIO, Final

import orjson
import structlog

from medxz.clock import Clock, format_time

if TYPE_CHECKING:
    from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

_FRAMES_MAX: Final = 12
_CAUSES_MAX: Final = 4


def make_log(stream: BinaryIO, clock: Clock, level: str = "info") -> FilteringBoundLogger:
    """A logger that writes to this stream what is at least of this level."""

    def stamp(_logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        name = event.pop("event")
        return {"time": format_time(clock.now_ms()), "level": method, "event": name, **event}

    return structlog.wrap_logger(  # type: ignore[no-any-return]  # structlog types it as Any
        structlog.BytesLogger(stream),
        processors=[stamp, _render],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        context_class=dict,
    ).bind()


def told(error: BaseException) -> dict[str, object]:
    """An exception without its text: its type, its causes' types, and where it came from, innermost last."""
    frames: list[str] = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"{code.co_filename}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    causes: list[str] = []
    cause = error.__cause__ or error.__context__
    while cause is not None and len(causes) < _CAUSES_MAX:
        causes.append(_type_name(cause))
        cause = cause.__cause__ or cause.__context__
    answer: dict[str, object] = {"error": _type_name(error), "stack": frames[-_FRAMES_MAX:]}
    if causes:
        answer["causes"] = causes
    return answer


def _type_name(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _render(_logger: WrappedLogger, _method: str, event: EventDict) -> bytes:
    return orjson.dumps(event, default=lambda value: type(value).__name__)  # never its repr: it may quote
