"""What a hub is to run, as its cloud tells it."""

from __future__ import annotations

from medxz.wire.forms import Answer


class UpdateAnswer(Answer):
    """A bundle: its SHA-256 names it, its own signature is what a hub trusts. `go_back`: it is older, and meant."""

    version: str
    compatible: str
    size: int
    sha256: str
    added_at: str
    go_back: bool = False
