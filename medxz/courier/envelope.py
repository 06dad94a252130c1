"""One slice, a file of its own: who made it for whom (a signed line), and what is in it, frame by frame, encrypted.

    MEDXZ-COURIER-1 ⏎  header as JSON ⏎  signature of both lines ⏎  then frames: length, ciphertext

The key of the frames is drawn for the slice, and wrapped for its receiver by HPKE (RFC 9180, P-256); the header that
is signed has it in it. Only maker and receiver can know it, so a frame that opens is the maker's. Each frame is bound to
the header, to its place and to whether it is the last: nothing can be cut out, swapped or cut off unnoticed. Refused:
a slice for somebody else, by somebody else, altered, or not whole.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, Final, Literal

import msgspec
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from medxz import limits
from medxz.clock import parse_time
from medxz.errors import CourierRefused
from medxz.ids import UUID_PATTERN

MAGIC: Final = b"MEDXZ-COURIER-1\n"
ENDING: Final = ".courier"
HEADER_BYTES_MAX: Final = 64 * limits.KIB
SIGNATURE_CHARS_MAX: Final = 128
FRAME_BYTES_MAX: Final = limits.COURIER_FRAME_BYTES_MAX

_KEY_BYTES: Final = 32
_LENGTH: Final = struct.Struct(">I")
_NONCE: Final = struct.Struct(">3xQB")
_SUITE: Final = Suite(KEM.P256, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
_HOW: Final = ECDSA(hashes.SHA256())

Way = Literal["up", "down"]
_Id = Annotated[str, msgspec.Meta(pattern=f"^{UUID_PATTERN}$")]


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What anybody may read of a slice: between whom it goes, when it was made, and its place in what was made then.

    `set_id` is a UUIDv7: of one maker the later is the greater. `wrapped` is the key of the frames; `for_key` says for
    which key it was wrapped. `chain`, of a cloud, proves the key that signed.
    """

    way: Way
    clinic_id: _Id
    hub_id: _Id
    cloud_id: _Id
    set_id: _Id
    number: Annotated[int, msgspec.Meta(ge=1, le=limits.COURIER_SLICES_MAX)]
    made_at: str
    for_key: str = ""
    wrapped: str = ""
    chain: tuple[str, ...] = ()

    @property
    def file_name(self) -> str:
        """By which slices lie in their order, those of one way and hub together."""
        return f"medxz-{self.way}-{self.hub_id}-{self.set_id}-{self.number:04d}{ENDING}"


_decode: Final = msgspec.json.Decoder(Header).decode


def key_name(key: EllipticCurvePublicKey) -> str:
    """By which a receiver finds the key that something was wrapped for."""
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()[:16]


class SliceWriter:
    """Writes one. It is none before `close`: a file without its last frame is not whole."""

    def __init__(
        self, file: BinaryIO, header: Header, receiver: EllipticCurvePublicKey, maker: EllipticCurvePrivateKey
    ) -> None:
        key = os.urandom(_KEY_BYTES)
        sealed = msgspec.structs.replace(header, for_key=key_name(receiver))
        wrapped = _SUITE.encrypt(key, receiver, _bound(sealed))
        head = MAGIC + msgspec.json.encode(msgspec.structs.replace(sealed, wrapped=_text(wrapped))) + b"\n"
        if len(head) > HEADER_BYTES_MAX:
            raise AssertionError("a header is short")
        self._file: Final = file
        self._cipher: Final = ChaCha20Poly1305(key)
        signed = head + _text(maker.sign(head, _HOW)).encode() + b"\n"
        self._associated: Final = hashlib.sha256(signed).digest()
        self._count = 0
        self.size = file.write(signed)

    def add(self, content: bytes) -> None:
        self._write(content, is_last=False)

    def close(self, content: bytes) -> None:
        """The last frame. The file is the caller's to bring to the disk."""
        self._write(content, is_last=True)

    def _write(self, content: bytes, *, is_last: bool) -> None:
        if len(content) > FRAME_BYTES_MAX:
            raise CourierRefused(f"a frame of {len(content)} bytes does not fit a courier's file")
        frame = self._cipher.encrypt(_NONCE.pack(self._count, is_last), content, self._associated)
        self._count += 1
        self.size += self._file.write(_LENGTH.pack(len(frame)) + frame)


@dataclass(frozen=True, slots=True)
class Slice:
    """One that was found. Nothing of it is to be believed before `signed_by`, nothing read before `unlocked`."""

    path: Path
    header: Header
    head: bytes
    signature: bytes
    begins_at: int
    associated: bytes

    @property
    def name(self) -> str:
        return self.path.name

    def signed_by(self, key: EllipticCurvePublicKey) -> bool:
        """Whether this key signed the header as it is."""
        try:
            key.verify(self.signature, self.head, _HOW)
        except InvalidSignature:
            return False
        return True

    def unlocked(self, keys: Iterable[EllipticCurvePrivateKey]) -> Unlocked:
        """By that of the receiver's keys that it was wrapped for; CourierRefused where that is none of them."""
        header = self.header
        for key in keys:
            if key_name(key.public_key()) == header.for_key:
                try:
                    return Unlocked(self, _SUITE.decrypt(_bytes(header.wrapped), key, _bound(header)))
                except (InvalidTag, ValueError):
                    break
        raise CourierRefused(
            f"{self.name}: it was encrypted for a key that is not here",
            "carry a new file the other way first, then make this one again",
        )


@dataclass(frozen=True, slots=True)
class Unlocked:
    """A slice with the key of its frames."""

    slice: Slice
    key: bytes

    def frames(self) -> Iterator[bytes]:
        """One after another, the last included; CourierRefused where one was altered or is missing."""
        cipher, name = ChaCha20Poly1305(self.key), self.slice.name
        with self.slice.path.open("rb") as file:
            file.seek(self.slice.begins_at)
            count, is_last = 0, False
            while not is_last:
                frame = _frame(file, name)
                content, is_last = _opened(cipher, frame, count, self.slice.associated, name)
                count += 1
                yield content
            if file.read(1):
                raise CourierRefused(f"{name}: something was put behind its end", _AGAIN)


_AGAIN: Final = "copy it again, or make it again"


def _frame(file: BinaryIO, name: str) -> bytes:
    length = file.read(_LENGTH.size)
    size = _LENGTH.unpack(length)[0] if len(length) == _LENGTH.size else 0
    if size > FRAME_BYTES_MAX + _KEY_BYTES:
        raise CourierRefused(f"{name}: it was altered or damaged on its way", _AGAIN)
    frame = file.read(size)
    if not size or len(frame) < size:
        raise CourierRefused(f"{name}: it is not whole, its end is missing", _AGAIN)
    return frame


def _opened(
    cipher: ChaCha20Poly1305, frame: bytes, count: int, associated: bytes, name: str
) -> tuple[bytes, bool]:
    for is_last in (False, True):
        try:
            return cipher.decrypt(_NONCE.pack(count, is_last), frame, associated), is_last
        except InvalidTag:
            continue
    raise CourierRefused(f"{name}: it was altered or damaged on its way", _AGAIN)


def read_slice(path: Path) -> Slice:
    """What a file says it is; CourierRefused where it is none of these files."""
    try:
        with path.open("rb") as file:
            magic, line = file.readline(len(MAGIC)), file.readline(HEADER_BYTES_MAX)
            text = file.readline(SIGNATURE_CHARS_MAX + 1)
            begins_at = file.tell()
    except OSError as error:
        raise CourierRefused(f"{path}: {error.strerror}", "is the medium still there?") from None
    if magic != MAGIC:
        raise CourierRefused(
            f"{path.name}: it is no file of a courier", "name the folder that `export` wrote"
        )
    altered = CourierRefused(f"{path.name}: it was altered or damaged on its way", _AGAIN)
    if not (line.endswith(b"\n") and text.endswith(b"\n")):
        raise altered
    try:
        header, signature = _decode(line), _bytes(text[:-1].decode("ascii"))
        parse_time(header.made_at)
    except (msgspec.MsgspecError, ValueError, binascii.Error):
        raise altered from None
    head = magic + line
    return Slice(path, header, head, signature, begins_at, hashlib.sha256(head + text).digest())


def _bound(header: Header) -> bytes:
    """What the wrapped key is bound to. The signature binds it to the rest, members of later versions included."""
    return MAGIC + f"{header.set_id}\n{header.number}\n{header.for_key}\n".encode()


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


assert FRAME_BYTES_MAX > limits.PULL_PAGE_BYTES_MAX
