"""Putting something of a library or of the product in another's place, for as long as a world runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

Change = tuple[object, str, object]
"""Of what, which attribute, and what it is meanwhile."""


@contextmanager
def changed(changes: Sequence[Change]) -> Iterator[None]:
    """While this stands these are as they are given; then they are as they were."""
    before = [
        (of, name, vars(of)[name] if isinstance(of, type) else getattr(of, name)) for of, name, _ in changes
    ]
    for of, name, value in changes:
        setattr(of, name, value)
    try:
        yield
    finally:
        for of, name, value in before:
            setattr(of, name, value)
