"""One request on its way to a server, before it has a token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `client_address` is whose it is that is passed on; `silent_s`: how silent an answer may be as it comes."""

    method: str
    path: str
    query: Mapping[str, str] | None = None
    headers: Mapping[str, str] | None = None
    body: bytes | None = None
    longer_s: float = 0
    client_address: str | None = None
    with_token: bool = True
    silent_s: float = 0
