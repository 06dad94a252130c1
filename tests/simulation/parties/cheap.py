"""What would only cost time in a world is made cheap, in this one place. Everything else is as in life.

Argon2 has its price against who guesses. The system's roots are read for a TLS that worlds do not have.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from argon2 import PasswordHasher

import hub.claim
from hub.clock import HubClock
from hub.uplink.peer import cloud_context
from medxz.accounts import passwords
from medxz.device import locking
from tests.simulation.parties.changed import changed

_KIB = 8


@contextmanager
def cheap() -> Iterator[None]:
    """While this stands, none of it costs anything to speak of."""
    hasher = PasswordHasher(time_cost=1, memory_cost=_KIB, parallelism=1)
    changes: list[tuple[object, str, object]] = [
        (passwords.HASHER, "_parameters", hasher._parameters),
        # a hub that began alone brings its hashes to the cloud, which takes none that are too cheap
        (passwords, "_MEMORY_KIB", range(_KIB, 1_024 * 1_024)),
        (locking, "_TIME_COST", 1),
        (locking, "_MEMORY_KIB", _KIB),
        (hub.claim, "cloud_context", _without_roots),
    ]
    with changed(changes):
        yield


def _without_roots(ca: str | None, clock: HubClock) -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if ca is None else cloud_context(ca, clock)
