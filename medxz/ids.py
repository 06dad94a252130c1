"""Identities: canonical lowercase UUID text, and where new ones come from.

Randomness is a constructor argument everywhere; `RandomIds` is the one that a running program uses.
"""

from __future__ import annotations

import random
import re
from typing import Protocol

from uuid_utils import uuid7

from medxz.clock import Clock

UUID_PATTERN = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_UUID = re.compile(UUID_PATTERN)


class Ids(Protocol):
    """A source of UUIDv7s, each greater than the last."""

    def uuid7(self) -> str: ...


class RandomIds:
    """UUIDv7s from the machine's clock and randomness."""

    def uuid7(self) -> str:
        return str(uuid7())


class SeededIds:
    """UUIDv7s from a given clock and seed, for worlds that must be the same twice."""

    def __init__(self, clock: Clock, seed: int) -> None:
        self._clock = clock
        self._random = random.Random(seed)
        self._last_ms = 0
        self._count = 0

    def uuid7(self) -> str:
        now_ms = max(self._clock.now_ms(), self._last_ms)
        self._count = (self._count + 1) & 0xFFF if now_ms == self._last_ms else 0
        if self._count == 0 and now_ms == self._last_ms:
            now_ms += 1
        self._last_ms = now_ms
        number = (now_ms << 80) | (7 << 76) | (self._count << 64) | (2 << 62) | self._random.getrandbits(62)
        return uuid_text(number.to_bytes(16, "big"))


def is_uuid(text: object) -> bool:
    """Whether this is a UUID in the one spelling that the protocol has."""
    return isinstance(text, str) and _UUID.fullmatch(text) is not None


def made_ms_of(text: str) -> int:
    """When a UUIDv7 was made, by the clock of whoever made it."""
    return int(text[:8] + text[9:13], 16)


def uuid_bytes(text: str) -> bytes:
    """The 16 bytes of a canonical UUID."""
    return bytes.fromhex(text.replace("-", ""))


def uuid_text(raw: bytes) -> str:
    """The canonical text of 16 bytes."""
    digits = raw.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
