"""What stands in the frames of a slice: JSON in the forms of the protocol, each frame one message, packed with zstd.

Up goes what a hub would push, and what it has; down comes what a cloud would answer, its directory included. Refused:
a frame that is none of these.
"""

from __future__ import annotations

import io
from typing import Annotated, Final

import msgspec
import zstandard

from medxz import limits
from medxz.errors import CourierRefused
from medxz.have import WireNumbers
from medxz.wire import PushResult, WireDeadLetter

ZSTD_LEVEL: Final = 6
NONE: Final = b"null"


class HubState(msgspec.Struct, frozen=True, kw_only=True, tag="hub"):
    """Where a hub stood: its log's epoch, how far it had read which log of the cloud, what it has, what it asks for.

    `knows` names what it had heard of the cloud by then: an answer that names the same is newer than that. `csr` asks for a certificate, where that is due; `url` is where devices of its site find it.
    """

    epoch: str
    cloud_epoch: str | None
    cursor: str | None
    have: dict[str, WireNumbers]
    knows: str = ""
    csr: str | None = None
    url: str | None = None


class Letters(msgspec.Struct, frozen=True, tag="letters"):
    """What the hub rejected for good."""

    letters: Annotated[list[WireDeadLetter], msgspec.Meta(max_length=limits.PUSH_OPS_MAX)]


class Ops(msgspec.Struct, frozen=True, tag="ops"):
    """Ops as their authors sent them, in the order of the hub's log."""

    ops: Annotated[list[msgspec.Raw], msgspec.Meta(max_length=limits.PUSH_OPS_MAX)]


class CloudState(msgspec.Struct, frozen=True, kw_only=True, tag="cloud"):
    """What the cloud is and has, as it answers over the wire: `/v1/info`, its watermarks, its directory, the certificate
    that was asked for. `have` is what the hub must have that reads on in this file, `asked` what it knew when it asked.
    """

    info: msgspec.Raw
    epoch: str
    marks: dict[str, int]
    directory: msgspec.Raw
    have: dict[str, WireNumbers]
    asked: str = ""
    renewal: msgspec.Raw = msgspec.Raw(NONE)


class Answers(msgspec.Struct, frozen=True, tag="answers"):
    """What the cloud answered to ops that were carried to it, and the numbers whose dead letters were."""

    results: list[PushResult]
    letters: list[tuple[str, int]] = []


class Page(msgspec.Struct, frozen=True, kw_only=True, tag="page"):
    """Ops of the cloud's log behind a cursor, and the cursor behind them."""

    after: str
    ops: list[msgspec.Raw]
    next_cursor: str


class End(msgspec.Struct, frozen=True, tag="end"):
    """The last frame of a slice."""


Content = HubState | Letters | Ops | CloudState | Answers | Page | End

_decode: Final = msgspec.json.Decoder(Content).decode
_encode: Final = msgspec.json.Encoder().encode


def packed(content: Content) -> bytes:
    return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(_encode(content))


def unpacked(frame: bytes, name: str) -> Content:
    """What a frame of the slice of that name says."""
    try:
        with zstandard.ZstdDecompressor(max_window_size=limits.ZSTD_WINDOW_BYTES_MAX).stream_reader(
            io.BytesIO(frame)
        ) as reader:
            text = reader.read(limits.COURIER_FRAME_BYTES_MAX + 1)
        if len(text) > limits.COURIER_FRAME_BYTES_MAX:
            raise CourierRefused(f"{name}: a frame of it inflates beyond its bounds")
        content: Content = _decode(text)
    except (zstandard.ZstdError, msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise CourierRefused(
            f"{name}: it says something that this version does not understand",
            "bring hub and cloud to the same version",
        ) from None
    return content
