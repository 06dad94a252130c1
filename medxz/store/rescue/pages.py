"""The pages of an encrypted SQLite file and of its write-ahead log, as they lie there; each is proved by its MAC.

The format is SQLCipher 4's with its usual settings and a raw key. Closing a file drops the locks that this process has
on it, those of its connections too: whoever reads beside a connection closes after it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from medxz.store.rescue.wal import Wal, read_wal

PAGE_BYTES: Final = 4_096
SALT_BYTES: Final = 16
_IV_BYTES: Final = 16
_MAC_BYTES: Final = 64
USABLE_BYTES: Final = PAGE_BYTES - _IV_BYTES - _MAC_BYTES
_MAGIC: Final = b"SQLite format 3\0"
_SALT_MASK: Final = 0x3A
_MAC_ROUNDS: Final = 2
_UNREADABLE: Final = b"?"


class PageCipher:
    """Opens pages of one file."""

    def __init__(self, key: bytes, salt: bytes) -> None:
        self._key: Final = AES(key)
        masked = bytes(byte ^ _SALT_MASK for byte in salt)
        self._mac_key: Final = hashlib.pbkdf2_hmac("sha512", key, masked, _MAC_ROUNDS, len(key))

    def proves(self, number: int, page: bytes) -> bool:
        """Whether it is what was written there."""
        if len(page) != PAGE_BYTES:
            return False
        about = page[_start(number) : -_MAC_BYTES] + number.to_bytes(4, "little")
        return hmac.compare_digest(hmac.digest(self._mac_key, about, "sha512"), page[-_MAC_BYTES:])

    def open(self, number: int, page: bytes) -> bytes | None:
        """What is in a page; None where it is not what was written there."""
        if not self.proves(number, page):
            return None
        text, iv = page[_start(number) : USABLE_BYTES], page[USABLE_BYTES:-_MAC_BYTES]
        opened = Cipher(self._key, CBC(iv)).decryptor().update(text)
        return _MAGIC + opened if number == 1 else opened


class PageCheck:
    """The pages of a file that is in use, held against their MACs. `close` it after every connection to the file."""

    def __init__(self, path: Path, key: bytes) -> None:
        self.path: Final = path
        self._file: Final = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._cipher: Final = PageCipher(key, os.pread(self._file, SALT_BYTES, 0).ljust(SALT_BYTES, b"\0"))

    @property
    def count(self) -> int:
        return os.fstat(self._file).st_size // PAGE_BYTES

    def damaged(self, numbers: Iterable[int]) -> list[int]:
        """Those of these pages that are not what was written. One that was never written is empty, and sound."""
        return [number for number in numbers if not self._is_sound(number)]

    def _is_sound(self, number: int) -> bool:
        page = _read(self._file, (number - 1) * PAGE_BYTES)
        return self._cipher.proves(number, page) or not any(page)

    def close(self) -> None:
        os.close(self._file)


class DamagedFile:
    """A file and its write-ahead log, read. `close` it."""

    def __init__(self, path: Path, key: bytes, salt: bytes | None = None) -> None:
        """`salt` is the one that was kept, for where the file's own is damaged."""
        self._main: Final = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._wal_path: Final = path.with_name(path.name + "-wal")
        self._wal: Final = (
            os.open(self._wal_path, os.O_RDONLY | os.O_CLOEXEC) if self._wal_path.exists() else None
        )
        self.wal: Final = read_wal(self._wal_path)
        first = self.raw(1)
        own = PageCipher(key, first[:SALT_BYTES].ljust(SALT_BYTES, b"\0"))
        kept = PageCipher(key, salt) if salt is not None and own.open(1, first) is None else None
        self._cipher: Final = kept or own
        self._in_wal: Final = _places(self.wal, is_current=True)
        self._before: Final = _places(self.wal, is_current=False)
        self.count: Final = max(-(-os.fstat(self._main).st_size // PAGE_BYTES), max(self._in_wal, default=0))

    def close(self) -> None:
        os.close(self._main)
        if self._wal is not None:
            os.close(self._wal)

    def raw(self, number: int) -> bytes:
        """A page of the file as it lies there; shorter where the file ends."""
        return _read(self._main, (number - 1) * PAGE_BYTES)

    def raw_in_wal(self, offset: int) -> bytes:
        return _read(self._wal, offset) if self._wal is not None else b""

    def page(self, number: int) -> bytes | None:
        """The newest version that is sound."""
        return next(self.versions(number), None)

    def versions(self, number: int) -> Iterator[bytes]:
        """Each that is sound, the newest first."""
        for offset in reversed(self._in_wal.get(number, ())):
            yield from self._opened(number, self.raw_in_wal(offset))
        yield from self._opened(number, self.raw(number))
        for offset in reversed(self._before.get(number, ())):
            yield from self._opened(number, self.raw_in_wal(offset))

    def _opened(self, number: int, page: bytes) -> Iterator[bytes]:
        opened = self._cipher.open(number, page)
        if opened is not None:
            yield opened

    def is_in_file(self, number: int, offset: int) -> bool:
        """Whether what lies there in the write-ahead log was copied into the file."""
        return self.raw_in_wal(offset) == self.raw(number)


def _read(file: int, offset: int) -> bytes:
    """A page; shorter where the file ends, and nothing of it where the disk itself can't read it."""
    try:
        return os.pread(file, PAGE_BYTES, offset)
    except OSError:
        return _UNREADABLE


def _start(number: int) -> int:
    """The first page begins with the salt, which is not encrypted."""
    return SALT_BYTES if number == 1 else 0


def _places(wal: Wal | None, *, is_current: bool) -> dict[int, list[int]]:
    places: dict[int, list[int]] = {}
    for frame in wal.frames[: wal.committed] if wal is not None else ():
        if frame.is_current == is_current:
            places.setdefault(frame.number, []).append(frame.offset)
    return places
