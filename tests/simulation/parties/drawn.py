"""Randomness and time of a whole process, drawn from a world's seed and told by its loop.

The programs take their clock and their ids as arguments. What they and their libraries take from the process itself
(keys, nonces, codes, signatures, how long an answer took) is the same twice too, as long as this stands.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import HashAlgorithm

from tests.simulation.parties.changed import changed

_EC_SECRET_BITS = 255


@contextmanager
def drawn(seed: object) -> Iterator[None]:
    """Everything random comes from this seed, the module `random` included."""
    source = random.Random(f"{seed} process")
    before = random.getstate()
    random.seed(f"{seed} module")

    def generate(_cls: type) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(source.randbytes(32))

    def generate_private_key(curve: ec.EllipticCurve, _backend: object = None) -> ec.EllipticCurvePrivateKey:
        return ec.derive_private_key(source.getrandbits(_EC_SECRET_BITS) + 1, curve)

    changes: list[tuple[object, str, object]] = [
        (os, "urandom", source.randbytes),
        (random, "_urandom", source.randbytes),  # what `secrets` draws from
        (Ed25519PrivateKey, "generate", classmethod(generate)),
        (ec, "generate_private_key", generate_private_key),
        (ec.ECDSA, "__init__", _begin_ecdsa),
        (x509.CertificateBuilder, "sign", _always_alike(x509.CertificateBuilder.sign)),
        (
            x509.CertificateSigningRequestBuilder,
            "sign",
            _always_alike(x509.CertificateSigningRequestBuilder.sign),
        ),
    ]
    try:
        with changed(changes):
            yield
    finally:
        random.setstate(before)


@contextmanager
def told_by(now_s: Callable[[], float]) -> Iterator[None]:
    """How long something took is told by this: the loop's time."""
    with changed([(time, "monotonic", now_s), (time, "perf_counter", now_s)]):
        yield


_BEGIN_ECDSA = ec.ECDSA.__init__


def _begin_ecdsa(self: ec.ECDSA, algorithm: HashAlgorithm, deterministic_signing: bool = True) -> None:
    _BEGIN_ECDSA(self, algorithm, deterministic_signing)


def _always_alike(sign: Callable[..., Any]) -> Callable[..., Any]:
    """Signing a certificate or a request, so that the same one is signed alike."""

    def signed(*args: Any, **options: Any) -> Any:
        return sign(*args, **options | {"ecdsa_deterministic": True})

    return signed
