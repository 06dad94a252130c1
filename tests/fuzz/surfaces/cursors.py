"""What a reader hands back: cursors of the log and of lists, the query of a request, and what it says it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from medxz.endpoints import ENDPOINTS
from medxz.errors import BadCursor, CursorEpochChanged, CursorScopeChanged, Invalid
from medxz.ids import uuid_bytes
from medxz.service.cursor import Cursors
from medxz.service.list_cursor import ListCursors
from medxz.store.base import Position
from medxz.web.query import read_query
from tests.fuzz.surface import Surface, holds
from tests.making import fixed_id


@dataclass(frozen=True)
class Log:
    """What cursors look at of a log."""

    server_id: str = fixed_id(0x51)
    epoch: str = fixed_id(0xEE)
    cursor_key: bytes = bytes(range(32))


LOG: Any = Log()
CURSORS: Final = Cursors(LOG)
OTHERS: Final = (
    Cursors(Log(epoch=fixed_id(0xEF))),  # type: ignore[arg-type]
    Cursors(Log(server_id=fixed_id(0x52))),  # type: ignore[arg-type]
    Cursors(Log(cursor_key=bytes(32))),  # type: ignore[arg-type]
)
LISTS: Final = ListCursors(LOG)
NAMED: Final = ("entities", "Patient", "'a'", "None")
PLACES: Final = (
    Position(0, b""),
    Position(1, uuid_bytes(fixed_id(7))),
    Position(2**53 - 1, bytes(range(16))),
)


def cursor_seeds() -> Sequence[bytes]:
    made = [
        one.make(place, scope).encode()
        for one in (CURSORS, *OTHERS)
        for place in PLACES
        for scope in ("full", "front_desk")
    ]
    return [*made, b"", b"AAAA", b"=" * 8]


def take_cursor(data: bytes) -> str:
    """It is one that was made here, letter by letter, or it is refused."""
    text = data.decode("utf-8", "surrogateescape")
    made = {one for one in cursor_seeds() if one}
    outcomes = []
    for scope in ("full", "front_desk"):
        try:
            position = CURSORS.read(text, scope)
        except (BadCursor, CursorEpochChanged, CursorScopeChanged) as refusal:
            outcomes.append(refusal.code)
        else:
            holds("nobody makes a cursor but the server", data in made, text)
            holds("a cursor is its position", position in PLACES, position)
            outcomes.append("read")
    return " ".join(outcomes)


def list_seeds() -> Sequence[bytes]:
    places = ("019a8c5e", "ä\n", "x" * 300)
    return [
        *((LISTS.following(place, *NAMED) or "").encode() for place in places),
        (LISTS.following("019a8c5e", "conflicts") or "").encode(),
        b"", b"AAAA", b"=====",
    ]  # fmt: skip


def take_list_cursor(data: bytes) -> str:
    """The place that it was sealed with, for that list alone."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        place = LISTS.read(text, *NAMED)
    except BadCursor:
        return "bad_cursor"
    sealed = LISTS.following(place, *NAMED) or ""
    holds(
        "nobody makes a cursor but the server",
        sealed.rstrip("=")[:-1] == text.rstrip("=")[: len(sealed) - 1],
        text,
    )
    return "read"


QUERIES: Final = tuple(endpoint.parameters for endpoint in ENDPOINTS if endpoint.parameters)


def query_seeds() -> Sequence[bytes]:
    told = [
        {"cursor": "a b", "limit": "1000", "wait": "1e1"}, {"wait": "0.5"}, {"q": "müller 1980", "limit": "1"},
        {"patient": fixed_id(3), "from": "2026-01-01", "to": "2026-02-30"}, {"state": "open"}, {"ping": "1"},
        {"user": fixed_id(3), "device": fixed_id(4), "encounter": fixed_id(5)}, {"after": "7"},
    ]  # fmt: skip
    return [urlencode(one).encode() for one in told] + [
        b"a=1&a=2",
        b"limit=%31",
        b"limit=\xff",
        b"&&;=",
        b"%zz=%ff",
    ]


def take_query(data: bytes) -> str:
    """By the table of each endpoint: what is read is of the table's types and within its bounds."""
    text = data.decode("utf-8", "surrogateescape")
    told = set()
    for parameters in QUERIES:
        try:
            values = read_query(parameters, text)
        except Invalid as refusal:
            told.add(f"{refusal.field if refusal.field in _NAMES else '?'}")
            continue
        schemas = {one.name: one.schema for one in parameters}
        for name, value in values.items():
            schema: dict[str, Any] = schemas[name]
            low, high = schema.get("minimum"), schema.get("maximum")
            holds("a number is within its bounds", not isinstance(low, int) or float(value) >= low)
            holds("a number is within its bounds", not isinstance(high, int) or float(value) <= high)
            holds("of the table's choice", "enum" not in schema or value in schema["enum"])
            holds("text that can be sent", not isinstance(value, str) or value.encode() is not None)
        told.add("read")
    return " ".join(sorted(told))


_NAMES: Final = {parameter.name for parameters in QUERIES for parameter in parameters}

SURFACES: Final = (
    Surface("cursor", "Cursors.read", take_cursor, cursor_seeds, is_json=False, bytes_max=600),
    Surface("list-cursor", "ListCursors.read", take_list_cursor, list_seeds, is_json=False, bytes_max=600),
    Surface("query", "read_query, every endpoint", take_query, query_seeds, is_json=False, bytes_max=1_024),
)
