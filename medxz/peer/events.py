"""A stream as it arrives: Server-Sent Events out of bytes, and pages of ops out of events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from medxz.errors import PeerUnreachable
from medxz.op import Operation
from medxz.peer.answers import ANSWER_BYTES_MAX, check_ops
from medxz.replicate import StreamPage

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Event:
    """One Server-Sent Event."""

    name: str
    data: str
    last_id: str | None


class EventParser:
    """Bytes in, whole events out. Comments and fields without a meaning here are passed over."""

    def __init__(self, data_bytes_max: int = ANSWER_BYTES_MAX) -> None:
        self._rest = b""
        self._fields: dict[str, list[str]] = {}
        self._held = 0
        self._max = data_bytes_max

    def feed(self, chunk: bytes) -> Iterator[Event]:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            yield from self._line(line.removesuffix(b"\r"))
        if self._held + len(self._rest) > self._max:
            raise PeerUnreachable(f"an event of the stream has more than {self._max} bytes")

    def _line(self, line: bytes) -> Iterator[Event]:
        if line:
            try:
                name, _, value = line.decode().partition(":")
            except UnicodeDecodeError:
                raise PeerUnreachable("the stream is not UTF-8") from None
            self._fields.setdefault(name, []).append(value.removeprefix(" "))
            self._held += len(line)
            return
        fields, self._fields, self._held = self._fields, {}, 0
        if "event" in fields or "data" in fields:
            last_id = fields["id"][-1] if "id" in fields else None
            name = fields.get("event", ["message"])[-1]
            yield Event(name, "\n".join(fields.get("data", [])), last_id)


class _Directory(msgspec.Struct, frozen=True):
    revision: int


def stream_page(event: Event) -> StreamPage:
    """What an event means here. One of a kind that is not known says that the stream stands, and no more."""
    match event.name:
        case "ops":
            return _ops_page(event)
        case "directory":
            return StreamPage(cursor=None, ops=[], revision=_decoded(event, _Directory).revision)
        case _:
            return StreamPage(cursor=None, ops=[])


def _decoded(event: Event, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(event.data, type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise PeerUnreachable("the stream is not in this protocol") from None


def _ops_page(event: Event) -> StreamPage:
    ops = _decoded(event, list[Operation])
    if not event.last_id:
        raise PeerUnreachable("an event of the stream has no cursor")
    check_ops(ops)
    return StreamPage(cursor=event.last_id, ops=ops)
