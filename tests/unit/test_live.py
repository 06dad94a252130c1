"""What a live line is made of: messages that are packed and unpacked in order, and frames as RFC 6455 has them."""

from __future__ import annotations

import pytest

from medxz.errors import PeerUnreachable
from medxz.peer.websocket import Handshake, WebSocket
from medxz.store.dictionaries import shipped_dictionary
from medxz.wire.live import BrokenLine, Packer, Unpacker
from tests.making import make_op

DICTIONARY = shipped_dictionary()


@pytest.mark.parametrize("up", [True, False])
def test_messages_come_out_as_they_went_in(up: bool) -> None:
    """Every message comes out whole by itself, an empty one and a long one too, and what repeats is not sent again."""
    packer, unpacker = Packer(DICTIONARY, up=up), Unpacker(DICTIONARY, up=up)
    texts = [make_op(number).json() for number in range(200)] + [b"", bytes(range(256)) * 200, b"{}"]
    packed = [packer.pack(text) for text in texts]
    assert [unpacker.unpack(message) for message in packed] == texts
    assert sum(map(len, packed[100:200])) < 0.3 * sum(map(len, texts[100:200]))


def test_what_is_longer_than_its_bound() -> None:
    """A message that inflates beyond the bound is cut off, however short it came."""
    bomb = Packer(DICTIONARY, up=True).pack(bytes(1 << 26))
    assert len(bomb) < 10_000
    with pytest.raises(BrokenLine):
        Unpacker(DICTIONARY, up=True).unpack(bomb)


@pytest.mark.parametrize("packed", [b"\x00" * 20, b"not zstd at all"])
def test_what_was_not_packed(packed: bytes) -> None:
    """Bytes of another making break the line."""
    with pytest.raises(BrokenLine):
        Unpacker(DICTIONARY, up=True).unpack(packed)


def test_another_dictionary() -> None:
    """Two ends with different dictionaries notice it."""
    packed = Packer(DICTIONARY, up=True).pack(make_op(1).json())
    with pytest.raises(BrokenLine):
        Unpacker(DICTIONARY[:-1_000] + bytes(1_000), up=True).unpack(packed)


class Scripted:
    """A connection that gives these bytes, in pieces, and keeps what is written."""

    def __init__(self, gives: bytes, piece: int = 1 << 16) -> None:
        self.gives, self.piece = gives, piece
        self.written = b""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        taken, self.gives = self.gives[: self.piece], self.gives[self.piece :]
        return taken

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        self.written += buffer


def unmasked(frame: bytes) -> tuple[int, bytes]:
    """A client's frame as a server reads it; every one is final and masked."""
    assert frame[1] & 0x80
    length, at = frame[1] & 0x7F, 2
    if length > 125:
        size = 2 if length == 126 else 8
        length, at = int.from_bytes(frame[at : at + size], "big"), at + size
    mask, payload = frame[at : at + 4], frame[at + 4 :]
    assert len(payload) == length
    return frame[0], bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65_535, 65_536])
async def test_what_is_sent(length: int) -> None:
    """A message is one final binary frame of the shortest form, under a mask of its own."""
    message = bytes(place % 251 for place in range(length))
    connection = Scripted(b"")
    socket = WebSocket(connection, 1 << 20)
    await socket.send(message, 1)
    assert unmasked(connection.written) == (0x82, message)
    assert len(connection.written) == length + (6 if length < 126 else 8 if length < 65_536 else 14)


@pytest.mark.parametrize("piece", [1, 3, 1 << 16])
async def test_what_is_received(piece: int) -> None:
    """Frames come out however they are cut; a ping is answered meanwhile, a pong passed over."""
    long = bytes(300)
    given = b"\x89\x02hi" + b"\x8a\x00" + b"\x82\x03abc" + b"\x81\x02no" + b"\x82\x7e\x01\x2c" + long
    connection = Scripted(given, piece)
    socket = WebSocket(connection, 1 << 20)
    assert [await socket.receive(1) for _ in range(3)] == [b"abc", "no", long]
    assert unmasked(connection.written) == (0x8A, b"hi")


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"\x88\x02\x03\xe8",
        b"\x02\x01a",
        b"\xc2\x01a",
        b"\x82\x81aaaaa",
        b"\x82\x7e\x10\x00",
        b"\x82\x05ab",
    ],
    ids=["nothing", "close", "fragment", "extension", "masked", "long", "cut"],
)
async def test_what_is_no_message(given: bytes) -> None:
    """What ends the line, or is not as it was agreed on, is no message."""
    with pytest.raises(PeerUnreachable):
        await WebSocket(Scripted(given), 1_000).receive(1)


def test_the_handshake() -> None:
    """Only the answer to this very key opens it: RFC 6455's own example."""
    handshake = Handshake()
    handshake._key = b"dGhlIHNhbXBsZSBub25jZQ=="
    assert handshake.is_answered_by("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    assert not handshake.is_answered_by("s3pPLMBiTxaQ9kYGzzhZRbK+xOa=")
    assert len(Handshake().headers()["Sec-WebSocket-Key"]) == 24
