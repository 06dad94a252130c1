"""The recovery key: what opens a hub's backups where the box, and the key of its store with it, are gone.

34 letters and digits that nobody takes for others (166 bits), and two more by which a slip of the pen is found out;
written in groups of four. It is made once and kept among the hub's secrets, so that a timer can make backups and an
operator can see it again. Refused: one that was mistyped.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from medxz.program.errors import CommandFailed
from medxz.store.authority.secrets import SEALING_KEY_BYTES

# that of pairing codes, which a hub that serves need not load for it
ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
CHARS: Final = 36
SECRET: Final = "recovery_key"  # noqa: S105  the name of a secret, not one
SHOWN: Final = "recovery_key_shown"
_CHECK_CHARS: Final = 2
_GROUP: Final = 4
_ABOUT: Final = b"medxz-backup-1"


def make_recovery_key() -> str:
    text = "".join(secrets.choice(ALPHABET) for _ in range(CHARS - _CHECK_CHARS))
    return text + _check(text)


def printed(text: str) -> str:
    """As people write it down."""
    return "-".join(text[first : first + _GROUP] for first in range(0, len(text), _GROUP))


def read_recovery_key(typed: str) -> str:
    """What was typed, without what people put between; CommandFailed where that can't be one."""
    text = "".join(typed.upper().replace("-", " ").split())
    strange = sorted(set(text) - set(ALPHABET))
    if strange:
        raise CommandFailed(
            f"a recovery key has no {' or '.join(map(repr, strange))} in it",
            "its letters and digits are " + ALPHABET,
            "recovery_key",
        )
    if len(text) != CHARS or _check(text[:-_CHECK_CHARS]) != text[-_CHECK_CHARS:]:
        raise CommandFailed(
            f"this is not a recovery key: {len(text)} of {CHARS} letters and digits, or one of them is another",
            "type it as it was written down: nine groups of four",
            "recovery_key",
        )
    return text


def sealing_key(text: str) -> bytes:
    """What backups are sealed with."""
    return HKDF(SHA256(), SEALING_KEY_BYTES, salt=None, info=_ABOUT).derive(text.encode())


def name_of(text: str) -> str:
    """By which a key is told from another one, and which says nothing of it."""
    return hashlib.sha256(b"name\n" + sealing_key(text)).hexdigest()[:8]


def _check(text: str) -> str:
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return ALPHABET[number % 30] + ALPHABET[number // 30 % 30]


assert len(ALPHABET) == 30
