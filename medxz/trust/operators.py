"""The tokens of operators: opaque, long-lived, told from others by how they begin; a server keeps their hashes alone."""

from __future__ import annotations

import base64
import hashlib
import os
from typing import Final

PREFIX: Final = "medxz-operator-"
_BYTES: Final = 32


def new_operator_token() -> str:
    return PREFIX + base64.urlsafe_b64encode(os.urandom(_BYTES)).rstrip(b"=").decode("ascii")


def is_operators(bearer: str | None) -> bool:
    """Whether it is meant as an operator's, good or not."""
    return bearer is not None and bearer.startswith(PREFIX)


def operator_token_hash(token: str) -> bytes:
    """A token has 256 random bits, so that nothing slower than SHA-256 is needed."""
    return hashlib.sha256(token.encode()).digest()
