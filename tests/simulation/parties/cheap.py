"""What would only cost time in a world is made cheap, in this one place: Argon2, whose price is against who guesses.

Everything else is as in life. With the real price a world would spend its time on hashing passwords.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from argon2 import PasswordHasher

from medxz.accounts import passwords
from medxz.device import locking

_KIB = 8


@contextmanager
def cheap_passwords() -> Iterator[None]:
    """While this stands, a password costs next to nothing wherever one is hashed or checked."""
    cheap = PasswordHasher(time_cost=1, memory_cost=_KIB, parallelism=1)
    changed: list[tuple[object, str, object]] = [
        (passwords.HASHER, "_parameters", cheap._parameters),
        # a hub that began alone brings its hashes to the cloud, which takes none that are too cheap
        (passwords, "_MEMORY_KIB", range(_KIB, 1_024 * 1_024)),
        (locking, "_TIME_COST", 1),
        (locking, "_MEMORY_KIB", _KIB),
    ]
    before = [(of, name, getattr(of, name)) for of, name, _ in changed]
    for of, name, value in changed:
        setattr(of, name, value)
    try:
        yield
    finally:
        for of, name, value in before:
            setattr(of, name, value)
