"""What comes in pieces: live lines and their WebSocket frames, the events of a stream, the lines of a snapshot.

However the bytes are cut on their way, what comes out is the same. An input's first byte chooses how they are cut.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from functools import cache
from typing import Any, Final, TypeVar

import msgspec
import zstandard

from medxz import limits
from medxz.device.store.snapshot import _row
from medxz.errors import PeerUnreachable
from medxz.merge.entity import Entity
from medxz.merge.history import history_of
from medxz.merge.line import changes_of_line, line_of
from medxz.merge.members import member
from medxz.merge.view import view_of
from medxz.peer.events import EventParser, stream_page
from medxz.peer.frames import Frames
from medxz.peer.lines import read_snapshot
from medxz.peer.websocket import WebSocket
from medxz.store.dictionaries import shipped_dictionary
from medxz.web.encoding import Deflating
from medxz.wire.live import BrokenLine, Packer, Unpacker
from tests.fuzz.surface import Surface, holds
from tests.fuzz.surfaces.ops import op_seeds
from tests.making import CLINIC, DEVICE, fixed_id
from tests.unit.merge.worlds import World

T = TypeVar("T")
_LENGTH: Final = 3  # bytes that tell how long a message of an input is


def at_once(awaited: Coroutine[Any, Any, T]) -> T:
    """What a coroutine comes to that waits for nothing."""
    try:
        awaited.send(None)
    except StopIteration as done:
        return done.value
    awaited.close()
    raise AssertionError("it waits")


def cuts(data: bytes) -> tuple[list[bytes], list[bytes]]:
    """The input without its first byte: in one piece, and in pieces of the length that it says."""
    size, rest = max(1, data[0]), data[1:]
    return [rest], [rest[at : at + size] for at in range(0, len(rest), size)]


def however_it_is_cut(data: bytes, told: Callable[[Iterable[bytes]], str]) -> str:
    """What it comes to; Wrong where that depends on how it was cut."""
    if not data:
        return "nothing"
    whole, pieces = (told(cut) for cut in cuts(data))
    holds("cutting changes nothing", whole == pieces, whole, pieces)
    return whole.split("\n")[0]


# ------------------------------------------------------------------------------------------------ live lines


@cache
def live_seeds() -> Sequence[bytes]:
    packer = Packer(shipped_dictionary(), up=True)
    bodies = [b'{"ops":[%b]}' % op for op in op_seeds()] + [b"", b"x" * limits.LIVE_TEXT_BYTES_MAX]
    packed = [packer.pack(body) for body in bodies]
    return [_framed(packed[:count]) for count in range(1, len(packed) + 1)]


def _framed(messages: Iterable[bytes]) -> bytes:
    return b"".join(len(one).to_bytes(_LENGTH, "big") + one for one in messages)


def take_live(data: bytes) -> str:
    """Each message is what the other end packed, or the line is broken; what is read can be packed again."""
    stream, again = Unpacker(shipped_dictionary(), up=True), Unpacker(shipped_dictionary(), up=True)
    packer = Packer(shipped_dictionary(), up=True)
    count = at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + _LENGTH], "big")
        packed = data[at + _LENGTH : at + _LENGTH + length]
        at += _LENGTH + length
        try:
            text = stream.unpack(packed)
        except BrokenLine as broken:
            return f"{min(count, 3)} {str(broken)[:30]}"
        holds("a message is within its bound", len(text) <= limits.LIVE_TEXT_BYTES_MAX)
        holds("what was packed is unpacked", again.unpack(packer.pack(text)) == text)
        count += 1
    return f"{min(count, 3)}"


class Wire:
    """A connection out of bytes, and what was written to it."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = [piece for piece in pieces if piece]
        self.written = b""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        return self._pieces.pop(0) if self._pieces else b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        self.written += buffer


def frame_seeds() -> Sequence[bytes]:
    def frame(kind: int, payload: bytes) -> bytes:
        length = len(payload)
        head = bytes((kind, length)) if length < 126 else bytes((kind, 126)) + length.to_bytes(2, "big")
        return head + payload

    some = [frame(0x82, b"hello"), frame(0x81, "ü".encode()), frame(0x89, b"ping"), frame(0x88, b"\x03\xe8"),
            frame(0x82, b"x" * 400), frame(0x8A, b""), b"\x82\x7f" + (1 << 40).to_bytes(8, "big")]  # fmt: skip
    return [b"\x03" + b"".join(some[:count]) for count in range(1, len(some) + 1)] + [
        b"\x01" + one for one in some
    ]


def take_frames(data: bytes) -> str:
    """Whole messages within their bound, or a line that broke off."""

    def told(pieces: Iterable[bytes]) -> str:
        wire = Wire(pieces)
        socket = WebSocket(wire, limits.LIVE_PACKED_BYTES_MAX)
        messages: list[object] = []
        for _ in range(1_000):
            try:
                message = at_once(socket.receive(1.0))
            except PeerUnreachable as error:
                kinds = "".join(sorted({type(one).__name__[0] for one in messages}))
                return f"{str(error)[:40]} {kinds}\n{messages}"
            holds("a message is within its bound", len(message) <= limits.LIVE_PACKED_BYTES_MAX)
            messages.append(message)
        return "many"

    return however_it_is_cut(data, told)


# --------------------------------------------------------------------------------------------------- streams


@cache
def stream_seeds() -> Sequence[bytes]:
    ops = b"[" + b",".join(op_seeds()[:3]) + b"]"
    plain = (
        b'event: ops\nid: c-1\ndata: %b\n\nevent: ping\n\n: c\r\nevent: directory\r\ndata: {"revision":7}\r\n\r\n'
        % ops
    )
    return [b"\x05p" + plain, b"\xffp" + plain, b"\x01p" + plain.replace(b"id: c-1\n", b""), *_dcz(plain)]


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _dcz(plain: bytes) -> list[bytes]:
    content = shipped_dictionary()
    raw = zstandard.ZstdCompressionDict(content, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    frames = zstandard.ZstdCompressor(dict_data=raw).compress(plain)
    header = bytes.fromhex("5e2a4d1820000000" + _sha(content))
    return [b"\x07d" + header + frames, b"\x40d" + header + frames * 3, b"\x01d" + header]


def take_stream(data: bytes) -> str:
    """Events and the ops in them, held against the rules, or a server that is left."""
    if len(data) < 2:
        return "nothing"
    is_coded = data[1:2] == b"d"

    def told(pieces: Iterable[bytes]) -> str:
        frames = Frames(shipped_dictionary()) if is_coded else None
        parser, seen = EventParser(1 << 16), []
        try:
            for piece in pieces:
                for event in parser.feed(piece if frames is None else frames.feed(piece)):
                    page = stream_page(event)
                    seen.append((page.cursor, [op.json() for op in page.ops], page.revision))
        except PeerUnreachable as error:
            return (
                f"{str(error)[:30]} {len(seen) > 0}" if frames is None else "coded, refused"
            )  # sooner or later
        return f"{len(seen) > 0} {any(ops for _, ops, _ in seen)}\n{seen}"

    return however_it_is_cut(data[:1] + data[2:], told)


# ------------------------------------------------------------------------------------------------- snapshots


@cache
def line_seeds() -> Sequence[bytes]:
    entities = [Entity(CLINIC, kind, fixed_id(0x77)) for kind in ("Patient", "Condition", "Observation")]
    made = []
    for seed in range(9):
        world = World(seed, entities[seed % 3], 1 + seed)
        world.changes = [_with_ids(one) for one in world.changes]
        made.append(line_of(entities[seed % 3], world.changes))
    return made


def _with_ids(change: Any) -> Any:
    def named(op_id: str) -> str:
        return fixed_id(int(op_id, 16) if op_id != "gone" else 0xF)

    return msgspec.structs.replace(
        change, op_id=named(change.op_id), parents=tuple(sorted(map(named, change.parents)))
    )


def take_line(data: bytes) -> str:
    """A line that a device puts away can be read again whenever somebody looks at its entity."""
    try:
        row = _row(data, 1)
    except PeerUnreachable:
        return "unreachable"
    entity, changes = changes_of_line(CLINIC, bytes(row[4]))
    view = view_of(entity, changes)
    json.loads(view.to_wire_json())
    for name in view.state:
        member(view.state, name)
    for entry in history_of(entity, changes).entries:
        json.loads(entry.to_wire_json())
    line = line_of(entity, changes)
    holds("one line", b"\n" not in line or b"\n" in data)
    again, others = changes_of_line(CLINIC, line)
    holds("a line round-trips", (again, view_of(again, others)) == (entity, view), line)
    return f"{len(changes) > 1} {len(view.conflicts)} {view.retracted is not None}"


@cache
def snapshot_seeds() -> Sequence[bytes]:
    head = json.dumps(
        {"cursor": "c", "have": {DEVICE: 3}, "server_id": fixed_id(1), "epoch": fixed_id(2), "scope": "full",
         "entities": len(line_seeds())}
    ).encode()  # fmt: skip
    plain = b"\n".join([head, *line_seeds(), b""])
    one = head.replace(b'"entities": 9', b'"entities": 1') + b"\n" + line_seeds()[0] + b"\n"
    found = []
    for mark, coding in ((b"i", None), (b"g", "gzip"), (b"z", "zstd")):
        for text in (plain, one):
            deflating = Deflating(coding)
            found.append(b"\x09" + mark + deflating.add(text) + deflating.end())
    return found


_CODINGS: Final = {b"g": "gzip", b"z": "zstd", b"i": "identity"}


def take_snapshot(data: bytes) -> str:
    """All of its lines, as many as its head says, or none of it counts."""
    if len(data) < 2:
        return "nothing"
    coding = _CODINGS.get(data[1:2], "br")

    async def parts(pieces: Iterable[bytes]) -> str:
        lines: list[bytes] = []
        head = None
        try:
            async for part in read_snapshot(coding, _each(pieces)):
                head = part.head
                lines += part.lines
        except PeerUnreachable as error:
            return (
                f"{coding} {str(error)[:40]}" if coding == "identity" else f"{coding} refused"
            )  # sooner or later
        holds("as many lines as the head says", head is not None and len(lines) == head.entities)
        return f"{coding} read\n{head} {lines}"

    return however_it_is_cut(data[:1] + data[2:], lambda pieces: at_once(parts(pieces)))


async def _each(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


SURFACES: Final = (
    Surface("live", "live line: Unpacker", take_live, live_seeds, is_json=False),
    Surface(
        "frames", "live line: WebSocket of a client", take_frames, frame_seeds, is_json=False, bytes_max=1_024
    ),
    Surface("stream", "Frames, EventParser, stream_page", take_stream, stream_seeds),
    Surface("line", "a line put away, read, merged", take_line, line_seeds, bytes_max=8_192),
    Surface("snapshot", "read_snapshot in each coding", take_snapshot, snapshot_seeds, bytes_max=8_192),
)
